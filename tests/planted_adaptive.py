"""Data sets for adaptive optimizers, with causes that trainings at every rate have proven to be in them."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

import idjax
from idjax.settings import Optimizer

CAUSES = ("", "step-too-small", "step-too-large", "adam-bounce", "collinear", "null-modes", "target-not-linear")
RATES = tuple(float(rate) for rate in 10 ** np.arange(-4, 0.5, 0.5))
ROWS, COLUMNS = 400, 4


class Adaptive(NamedTuple):
    """Rows, targets, settings, and the causes that training has shown to be in them."""

    x: np.ndarray
    y: np.ndarray
    settings: idjax.DiagnosisSettings
    causes: frozenset[str]


def planted_adaptive(cause: str, optimizer: Optimizer, batch: int, seed: int) -> Adaptive:
    """One data set with this cause, and no other: what the best of all rates learns says how many epochs are given."""
    rng = np.random.default_rng([seed, batch, *map(ord, cause + optimizer)])
    white = rng.normal(size=(ROWS, COLUMNS))
    y = white @ np.sign(rng.normal(size=(COLUMNS, 2))) / 2 + 0.02 * rng.normal(size=(ROWS, 2))
    run = idjax.DiagnosisSettings(optimizer=optimizer, batch_size=batch, epochs=60, seed=seed)
    rate, epochs = fastest(white, y, run)
    x = white
    if cause == "adam-bounce":
        x = x + 10 ** rng.uniform(2, 2.5) * np.sign(rng.normal(size=COLUMNS))
    if cause == "collinear":
        x = (x * [1, 1, 1, 10 ** rng.uniform(-2.5, -2)]) @ np.linalg.qr(rng.normal(size=(COLUMNS, COLUMNS)))[0]
    if cause == "null-modes":
        x = np.concatenate([x, 2 * x[:, :1], np.full((ROWS, 1), 0.5)], axis=1)
    if cause == "target-not-linear":
        y = (white**2 - 1) @ np.sign(rng.normal(size=(COLUMNS, 2)))
    rate *= {"step-too-small": 0.003, "step-too-large": 300.0}.get(cause, 1.0)
    run = idjax.DiagnosisSettings(
        optimizer=optimizer, batch_size=batch, learning_rate=rate, epochs=max(2, math.ceil(3 * epochs)), seed=seed
    )
    if cause in ("adam-bounce", "collinear"):
        assert not math.isfinite(fastest(x, y, run)[1]), "some rate learns it"
    while cause.startswith("step") and learns(x, y, run):  # not yet far enough from the rate that learns
        rate *= 0.1 if cause == "step-too-small" else 10.0
        run = dataclasses.replace(run, learning_rate=rate)
    return Adaptive(x, y, run, frozenset([cause] if cause else []))


def fastest(x: np.ndarray, y: np.ndarray, run: idjax.DiagnosisSettings) -> tuple[float, float]:
    """The rate that learns in the fewest epochs and stays there, by training at all; infinitely many if none does."""
    times = [learns(x, y, dataclasses.replace(run, learning_rate=rate)) or math.inf for rate in RATES]
    best = int(np.argmin(times))
    return RATES[best], times[best]


def learns(x: np.ndarray, y: np.ndarray, run: idjax.DiagnosisSettings) -> float:
    """Epochs to learn, 0 where the run does not, or does not stay there."""
    curve = idjax.train(x, run, target=y)
    enough = run.learned_at * curve.reachable
    return curve.epochs_to_learn if curve.explained_variance[-1] >= enough else 0.0
