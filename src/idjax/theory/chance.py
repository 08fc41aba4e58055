"""Explained variance that least squares has of a target that is noise; docs/theory.md (139)."""

import scipy.special


def explained_by_chance(columns: int, rows: int) -> float:
    """The mean R² of least squares on columns of noise: p/(N - 1).

    Args:
      columns: that are independent of each other, the constant apart.
      rows: of normal noise; at most columns + 1 of them are always explained.

    Source:
      Fisher 1924, "The influence of rainfall on the yield of wheat at Rothamsted".

    Example:
      >>> explained_by_chance(5, 1001)
      0.005
    """
    return min(1.0, columns / (rows - 1))


def chance_to_explain(share: float, columns: int, rows: int) -> float:
    """The probability that columns of noise explain this share or more: R² is Beta(p/2, (N - 1 - p)/2).

    Args:
      share: R², at most 1, of one target.
      columns, rows: as for `explained_by_chance`.

    Example:
      >>> chance_to_explain(1.0, 1, 4)
      0.0
      >>> round(chance_to_explain(0.95, 1, 4), 3)
      0.025
    """
    free = rows - 1 - columns
    return 1.0 if free <= 0 else float(scipy.special.betainc(free / 2, columns / 2, 1 - max(0.0, min(1.0, share))))
