"""Data sets with a planted cause, pairs of causes, or none: what a diagnosis has to find, and nothing else."""

import math
from typing import NamedTuple

import numpy as np

from idjax.diagnosis.data import DiagnosisSettings

ALONE = (
    "mean-dominated", "unequal-scales", "collinear", "step-too-small", "step-too-large", "noise-floor", "null-modes",
    "adam-bounce", "adam-epsilon", "float-stall", "data-resolution", "unreachable-output", "over-budget", "heavy-tails",
    "target-not-linear", "hidden-outputs",
)  # fmt: skip
PAIRS = (
    ("mean-dominated", "null-modes"), ("mean-dominated", "step-too-small"), ("unequal-scales", "step-too-small"),
    ("unequal-scales", "null-modes"), ("collinear", "step-too-small"), ("collinear", "null-modes"),
    ("step-too-small", "null-modes"), ("step-too-large", "null-modes"), ("noise-floor", "null-modes"),
    ("adam-bounce", "null-modes"), ("data-resolution", "null-modes"), ("unreachable-output", "null-modes"),
    ("mean-dominated", "collinear"), ("unequal-scales", "collinear"), ("over-budget", "null-modes"),
    ("heavy-tails", "null-modes"), ("data-resolution", "step-too-small"), ("adam-epsilon", "null-modes"),
)  # fmt: skip

SHOWN = {
    **{code: ((code,), 3 + seed) for seed, code in enumerate(ALONE)},
    **dict.fromkeys(("slow-bias", "better-solved"), (("adam-bounce",), 10)),
    "misleading-loss": (("adam-bounce",), 9),
}
"""For each code of a finding the causes and the seed of data that show it."""
QUICK = {"p": 6, "rows": 1000, "batch": 8}
"""One size, so that few programs are compiled."""


class Planted(NamedTuple):
    """Rows, targets (None for an autoencoder), settings, budget, and the causes that are in them."""

    x: np.ndarray
    y: np.ndarray | None
    settings: DiagnosisSettings
    budget: float
    causes: frozenset[str]


def planted(
    causes: tuple[str, ...], seed: int, p: int | None = None, rows: int | None = None, batch: int | None = None
) -> Planted:
    """One data set of a random size, layout and dtype in which these causes hold, and no other by design."""
    rng = np.random.default_rng([seed, *map(ord, "".join(causes))])
    wanted = frozenset(causes)
    p = p or int(rng.choice([6, 12, 24]))
    rows = rows or int(rng.choice([1000, 4000]))
    batch = batch or int(rng.choice([8, 32]))
    full_batch = "float-stall" in wanted
    regression = bool(rng.integers(2)) or bool(
        wanted & {"noise-floor", "unequal-scales", "collinear", "heavy-tails", "target-not-linear"}
    )
    if wanted & {"unreachable-output", "hidden-outputs"}:
        regression = False
    batch = rows if full_batch else int(rng.choice([2, 4])) if "noise-floor" in wanted else batch

    # White rows, and the directions that the target asks for.
    white = rng.normal(size=(rows, p))
    if "heavy-tails" in wanted:
        white *= np.sqrt(3 / rng.chisquare(3.0, size=(rows, 1)))
        white /= white.std(axis=0)
    base = white * np.sqrt(rng.uniform(1, 1.5, size=p))
    if "collinear" in wanted:
        turn = np.linalg.qr(rng.normal(size=(p, p)))[0]
        thin = np.ones(p)
        thin[: max(1, p // 4)] = 10 ** rng.uniform(-2, -1.5)
        base = (white * thin) @ turn
        base /= base.std(axis=0)
    outputs = 3 if regression else p
    y = None
    if regression:
        y = white @ np.sign(rng.normal(size=(p, outputs))) / math.sqrt(p)  # every direction counts alike
        if "target-not-linear" in wanted:
            y = (white**2 - 1) @ np.sign(rng.normal(size=(p, outputs))) / math.sqrt(2 * p)
        noise = 1.0 if "noise-floor" in wanted else 0.02
        y = y + noise * rng.normal(size=y.shape)
    x = base
    if "unequal-scales" in wanted:
        x = x * np.geomspace(1, 10 ** rng.uniform(1.7, 2.3), p) / 30
    if "hidden-outputs" in wanted:
        # The loss has forgotten these columns before they move.
        x = x * np.where(np.arange(p) < p // 2, 1.0, 1e-3)
    if "adam-epsilon" in wanted:
        x = x * 1e-5
        y = None if y is None else y * 1e-5
    if wanted & {"mean-dominated", "adam-bounce"}:
        # From a mean of a hundred deviations on no learning rate of Adam learns in time: rates are tried in a test.
        size = rng.uniform(2.0, 2.5) if "adam-bounce" in wanted else rng.uniform(1.2, 1.8)
        x = x + 10**size * np.sign(rng.normal(size=p))
    normalize = "none"
    if "data-resolution" in wanted:
        # A few units in the last place of float32 around a large mean; standardised inside the model.
        x, normalize = x + 2.0 ** rng.integers(21, 23), "feature"
    if "null-modes" in wanted:
        copy, constant = x[:, :1] * rng.uniform(0.5, 2), np.full((rows, 1), x.mean())
        x = np.concatenate([x, copy, constant], axis=1)[:, rng.permutation(p + 2)]
        if y is None:
            outputs = p + 2

    # A well-chosen rate, and the epochs that it takes on these rows once every planted cause is cured.
    seen = x if normalize == "none" else (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 1e-9, x.std(axis=0), np.inf)
    rate = _good_rate(seen, outputs, batch)
    cured = white * np.sqrt(1.25)
    steps = _steps(cured, _good_rate(cured, outputs, batch), outputs)
    if "collinear" in wanted or "unequal-scales" in wanted:
        steps *= 2
    learned_at = 0.999999 if "float-stall" in wanted else 0.99
    epochs = steps * math.log(1 - learned_at) / math.log(0.01) * (2 if full_batch else 1) / math.ceil(rows / batch)
    budget = 0.2 * epochs if "over-budget" in wanted else 4 * epochs
    numbers: dict[str, object] = {}
    if "step-too-small" in wanted:
        rate /= 10 ** rng.uniform(1.3, 3)
    if "step-too-large" in wanted:
        rate *= 10 ** rng.uniform(1.3, 2)
    if "heavy-tails" in wanted:
        rate *= 3.5
    if wanted & {"adam-bounce", "adam-epsilon"}:
        numbers, rate = {"optimizer": "adam"}, 10 ** rng.uniform(-3, -2.5)
        budget = 4000 / math.ceil(rows / batch)
    if "float-stall" in wanted:
        rate *= 0.5
        numbers["dtype"] = "bfloat16"
    if "unreachable-output" in wanted:
        numbers["activation"] = str(rng.choice(["relu", "sigmoid"]))
    dtype = np.float32 if "data-resolution" in wanted or rng.integers(2) else np.float64
    layout = str(rng.choice(["C", "F"]))
    settings = DiagnosisSettings(
        batch_size=batch, learning_rate=float(rate), epochs=max(1, math.ceil(budget)), normalize=normalize,
        learned_at=learned_at, seed=int(rng.integers(1000)), **numbers,
    )  # fmt: skip
    return Planted(
        np.asarray(x, dtype, order=layout), None if y is None else np.asarray(y, dtype, order=layout),
        settings, float(budget), wanted,
    )  # fmt: skip


def _good_rate(x: np.ndarray, outputs: int, batch: int) -> float:
    """A fifth of about the largest stable rate: q/2 of 2/(λ₁ + tr(M)/B)."""
    stacked = np.append(x, np.ones((len(x), 1)), axis=1)
    values = np.linalg.eigvalsh(stacked.T @ stacked / len(x))
    noise = 0.0 if batch == len(x) else (values.sum() + values[-1]) / batch
    return 0.2 * outputs / (values[-1] + noise)


def _steps(x: np.ndarray, rate: float, outputs: int) -> float:
    """Updates until 99% of the slowest mode's loss is gone."""
    slowest = np.linalg.eigvalsh(np.cov(x.T))[0]
    return math.log(100) / (2 * rate * 2 / outputs * slowest)
