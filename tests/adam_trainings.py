"""Random settings of Adam on inputs dominated by their mean: predicted, and trained on a few draws of the rows."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from idjax.prediction.predict import predict
from idjax.results.curve import Curve
from idjax.settings import Settings
from idjax.training.train import train

EPOCH_STEPS = 500
MOST_STEPS, LEAST_STEPS = 12_000, 3000
WORK = 1e11
"""Multiplications that one training may cost: a few seconds."""
MEDIAN, WORST, SHARE = 0.03, 0.15, 0.8
"""Bars: relative error of the epoch losses, median and worst, and the share of the points that predict covers."""


class Point(NamedTuple):
    """Rows x_ij ~ N(1, 1/ratio²), independent, into an autoencoder trained by Adam."""

    learning_rate: float
    beta_1: float
    batch_size: int
    d: int
    ratio: float

    @property
    def settings(self) -> Settings:
        """An epoch is half a memory of v, and a run up to 12 of them."""
        steps = WORK / (3 * self.batch_size * self.d**2)
        return Settings(
            optimizer="adam",
            learning_rate=self.learning_rate,
            beta_1=self.beta_1,
            batch_size=self.batch_size,
            epochs=int(np.clip(steps, LEAST_STEPS, MOST_STEPS)) // EPOCH_STEPS,
            validation_split=0.0,
        )

    @property
    def draws(self) -> int:
        """Sets of rows: the noise of the batches is averaged over d outputs too."""
        return -(-80 // self.d)

    def rows(self, draw: int) -> np.ndarray:
        size = (EPOCH_STEPS * self.batch_size, self.d)
        rng = np.random.default_rng([draw, 91])
        return (1 + rng.standard_normal(size, np.float32) / self.ratio).astype(np.float32)

    def describe(self) -> str:
        return (
            f"lr={self.learning_rate:.1e} b1={self.beta_1:.2f} B={self.batch_size:3d} d={self.d:3d} "
            f"mean/std={self.ratio:6.1f}"
        )


def draw_points(count: int = 60) -> list[Point]:
    """Learning rate 1e-4 to 1e-2, batch 4 to 256, d 10 to 200 and mean 30 to 3000 deviations, evenly in the logarithm;
    β₁ evenly from 0 to 0.95.
    """
    rng = np.random.default_rng(90)
    return [
        Point(
            learning_rate=10 ** rng.uniform(-4, -2),
            beta_1=rng.uniform(0, 0.95),
            batch_size=round(4 * 64 ** rng.random()),
            d=round(10 * 20 ** rng.random()),
            ratio=30 * 100 ** rng.random(),
        )
        for _ in range(count)
    ]


def predicted(point: Point, **changes: float) -> Curve:
    """Predicted from the first draw of the rows, with other settings if these are given."""
    return predict(point.rows(0), dataclasses.replace(point.settings, **changes), band=False)


@functools.cache
def trained(point: Point) -> np.ndarray:
    """The epoch losses of every draw (draws, epochs), from one start."""
    return np.array([train(point.rows(draw), point.settings).train for draw in range(point.draws)])


def errors(point: Point, curve: Curve) -> np.ndarray:
    """Relative errors of a prediction's epoch losses; NaN where it says that it does not apply."""
    return np.abs(curve.train / trained(point).mean(axis=0) - 1)


def holds(found: list[np.ndarray]) -> bool:
    """Whether the errors of these points are within the bars."""
    inside = [point for point in found if np.isfinite(point).all()]
    if len(inside) < SHARE * len(found):
        return False
    epochs = np.concatenate(inside)
    return bool(np.median(epochs) <= MEDIAN and np.max(epochs) <= WORST)
