"""Explained variance that least squares has of a target that is noise; docs/theory.md (139)."""

import math
from typing import NamedTuple


class Chance(NamedTuple):
    """Mean and standard deviation of an explained variance."""

    mean: float
    deviation: float


def explained_by_chance(columns: int, rows: int) -> Chance:
    """R² of least squares on columns of noise: Beta(p/2, (N - 1 - p)/2), of mean p/(N - 1).

    Args:
      columns: that are independent of each other, the constant apart.
      rows: of normal noise; at most columns + 1 of them are always explained.

    Source:
      Fisher 1924, "The influence of rainfall on the yield of wheat at Rothamsted".

    Example:
      >>> explained_by_chance(5, 1001).mean
      0.005
    """
    free = rows - 1
    if columns >= free:
        return Chance(1.0, 0.0)
    return Chance(columns / free, math.sqrt(2 * columns * (free - columns) / (free**2 * (free + 2))))
