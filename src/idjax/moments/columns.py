"""Moments of each column by itself, up to the fourth, and its range: exact, and mergeable in any grouping.

Source: Pébay 2008, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical
moments", here with moments divided by the number of rows.
"""

import dataclasses

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class ColumnStats:
    """Statistics of each of k columns over `count` rows.

    low, high:             the smallest and the largest number.
    mean:                  E v.
    second, third, fourth: central moments E (v - mean)^2, 3, 4; the fourth is infinite where it overflows.
    """

    count: int
    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]
    mean: Float[np.ndarray, " k"]
    second: Float[np.ndarray, " k"]
    third: Float[np.ndarray, " k"]
    fourth: Float[np.ndarray, " k"]

    @property
    def deviation(self) -> Float[np.ndarray, " k"]:
        """Standard deviations."""
        return np.sqrt(self.second)

    @property
    def kurtosis(self) -> Float[np.ndarray, " k"]:
        """E (v - mean)^4 / second²: 3 for a normal distribution, NaN for a constant."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return self.fourth / self.second / self.second

    def shifted(self, by: Float[np.ndarray, " k"]) -> "ColumnStats":
        """Statistics with these numbers added to the mean; ranges stay as they are."""
        return dataclasses.replace(self, mean=self.mean + by)

    def of(self, columns: slice) -> "ColumnStats":
        """Statistics of some of the columns."""
        names = ("low", "high", "mean", "second", "third", "fourth")
        return ColumnStats(self.count, *(getattr(self, name)[columns].copy() for name in names))


def merge_columns(a: ColumnStats, b: ColumnStats) -> ColumnStats:
    """Statistics of both sets of rows together."""
    count = a.count + b.count
    share_a, share_b = a.count / count, b.count / count
    both = share_a * share_b
    with np.errstate(over="ignore", invalid="ignore"):
        step = b.mean - a.mean
        return ColumnStats(
            count=count,
            low=np.minimum(a.low, b.low),
            high=np.maximum(a.high, b.high),
            mean=a.mean + share_b * step,
            second=share_a * a.second + share_b * b.second + both * step**2,
            third=share_a * a.third
            + share_b * b.third
            + both * step * (3 * (b.second - a.second) + (share_a - share_b) * step**2),
            fourth=share_a * a.fourth
            + share_b * b.fourth
            + both * step * (4 * (b.third - a.third) + 6 * step * (share_b * a.second + share_a * b.second))
            + both * (1 - 3 * both) * step**4,
        )


@dataclasses.dataclass(frozen=True)
class ColumnFacts:
    """Names, stored types, ranges and moments of each column of x and of the target."""

    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    feature_dtypes: tuple[np.dtype, ...]
    target_dtypes: tuple[np.dtype, ...]
    inputs: ColumnStats
    targets: ColumnStats
