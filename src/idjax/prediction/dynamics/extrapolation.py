"""A recorded loss beyond its record: by its own decay, where the first part of the record tells the rest of it."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

REACHES = (4, 2)
"""Times the record that is reached, if a part so many times shorter tells all of it."""
AS_GOOD = 0.03
"""Relative error of what the part tells, up to which it does."""
FEWEST = 8
"""Records of a part that a decay is taken from."""
Decay = Callable[[Float[np.ndarray, " t"]], Float[np.ndarray, " t"]]


def extrapolated(values: Float[np.ndarray, " t"], count: int) -> Float[np.ndarray, " e"]:
    """The values, one an epoch, and what follows them up to so many: NaN where nothing tells it.

    Example:
      >>> fall = 1 + np.exp(-np.arange(40.0) / 20)
      >>> float(np.round(extrapolated(fall, 80)[79] - 1, 3)) == float(np.round(np.exp(-79 / 20), 3))
      True
    """
    known = min(len(values), count)
    values, times = values[:known], np.arange(1.0, count + 1)
    rest = np.full(count - known, np.nan)
    if known == count or not np.isfinite(values).all():
        return np.append(values, rest)
    for reach in REACHES:
        part = known // reach
        if part < FEWEST:
            continue
        for decay in (_to_a_floor, _by_a_power):
            told = decay(times[:part], values[:part])
            if told is None or not np.all(np.abs(told(times[:known]) / values - 1)[part:] <= AS_GOOD):
                continue
            last = decay(times[:known], values)
            if last is not None:
                end = min(count, reach * known)
                rest[: end - known] = last(times[known:end])
                return np.append(values, rest)
    return np.append(values, rest)


def _to_a_floor(times: Float[np.ndarray, " t"], values: Float[np.ndarray, " t"]) -> Decay | None:
    """c + a exp(-k t) through the means of three thirds of the last half; a constant where they do not fall."""
    third = max(1, len(times) // 6)
    a, b, c = (values[len(values) - third * back : len(values) - third * (back - 1)].mean() for back in (3, 2, 1))
    if not (a > b > c > 0) or (b - c) >= (a - b):
        level = values[-3 * third :].mean()
        return (lambda at: np.full_like(at, level)) if abs(a - c) <= AS_GOOD / 3 * c else None
    share = (b - c) / (a - b)
    floor = c - (b - c) * share / (1 - share)
    if floor < 0:
        return None
    middle = times[-third:].mean()
    return lambda at: floor + (c - floor) * share ** ((at - middle) / third)


def _by_a_power(times: Float[np.ndarray, " t"], values: Float[np.ndarray, " t"]) -> Decay | None:
    """a t^-k, of the last three quarters in logarithms."""
    first = len(times) // 4
    if (values[first:] <= 0).any():
        return None
    slope, level = np.polyfit(np.log(times[first:]), np.log(values[first:]), 1)
    return (lambda at: np.exp(level + slope * np.log(at))) if slope < 0 else None
