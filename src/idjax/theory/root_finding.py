"""The end of the interval in which a condition holds, by Brent's method on a margin smooth at its zero."""

import math
from collections.abc import Callable

import numpy as np
import scipy.optimize

TINY = float(np.finfo(np.float64).tiny)
MOST = 1000
"""Values of a margin that are asked for: many where all but a few of them are TINY."""


def signed(holds: bool, size: float) -> float:
    """A margin of this size, positive where the condition holds; never 0 nor infinite, whatever the size."""
    size = TINY if math.isnan(size) else min(max(abs(float(size)), TINY), 1e300)
    return size if holds else -size


def last_where(margin: Callable[[float], float], high: float, tolerance: float, low: float = 0.0) -> float:
    """The end, within `tolerance`, of what holds between low and high; high if all of it does, low if none of it.

    margin is positive up to that end and negative beyond. Just above 0 it holds: 0 itself is not looked at, which may
    be where the margin has no value. By Brent's method: as safe as bisection, and quick where the
    margin is smooth at its zero. Brent 1973, "Algorithms for Minimization without Derivatives", chapter 4.
    """
    if (beyond := margin(high)) > 0:
        return high
    if (before := margin(low) if low else -beyond) < 0:
        return low
    known = {low: before, high: beyond}

    def size(at: float) -> float:
        return known[at] if at in known else margin(at)

    return float(np.asarray(scipy.optimize.brentq(size, low, high, xtol=tolerance, maxiter=MOST)))
