"""What the tests of bands share: rows, settings, and how often a band holds."""

import dataclasses

import numpy as np

from idjax import Settings
from idjax.data import prescribed
from idjax.results.curve import Band


def rows(mean: float, deviation: float, inputs: int = 8, seed: int = 5) -> np.ndarray:
    return prescribed(np.full(inputs, mean), np.full(inputs, deviation**2), 1000, seed)


BASE = Settings(batch_size=10, validation_split=0.2, epochs=12, dtype="float64")

RNG = np.random.default_rng(8)
SCALED = prescribed(0.3 * RNG.normal(size=10), np.logspace(0, -2, 10), 1000, 5)
SUM = SCALED @ RNG.normal(size=(10, 1)) + 1


def covered(losses: np.ndarray, band: Band) -> float:
    """The share of losses that lie in the band, the middle and the end of a run taken together."""
    at = [len(band.low) // 2, -1]
    return float(np.mean((losses[:, at] >= band.low[at]) & (losses[:, at] <= band.high[at])))


def middle_third(band: Band) -> Band:
    """The negative control of coverage: a band that is too narrow."""
    third = (band.high - band.low) / 6
    return dataclasses.replace(band, low=band.median - third, high=band.median + third)
