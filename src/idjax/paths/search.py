"""When a loss first falls to a level: of a path known at every step, and of one recorded epoch by epoch."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

LARGEST_STEP = 1e18


def first_step(reached: Callable[[Float[np.ndarray, " t"]], Bool[np.ndarray, " t"]]) -> float:
    """The first whole step at which a condition that stays true holds: bisects its power of two, then cuts into 32."""

    def holds(step: float) -> bool:
        return bool(reached(np.array([step]))[0])

    if holds(0.0):
        return 0.0
    if not holds(LARGEST_STEP):
        return float("inf")
    low, high = -1, int(np.ceil(np.log2(LARGEST_STEP)))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(2.0**middle) else (middle, high)
    first, last = 2.0**low if low >= 0 else 0.0, 2.0**high
    while last - first > max(1.0, 1e-12 * last):
        between = np.floor(np.linspace(first, last, 33))[1:-1]
        after = int(np.argmax(np.append(reached(between), True)))
        # As many candidates each time: their number is compiled. Some are alike where few are left.
        first, last = (between[after - 1] if after else first), (between[after] if after < len(between) else last)
    return float(last)


def crossing(steps: Float[np.ndarray, " t"], losses: Float[np.ndarray, " t"], level: float) -> float:
    """The step at which recorded losses first are at most `level`, between records by their decay; inf if never."""
    reached = np.flatnonzero(losses <= level)
    if not len(reached):
        return float("inf")
    index = int(reached[0])
    if index == 0 or losses[index] <= 0 or level <= 0:
        return float(steps[index])
    before, after = np.log(losses[index - 1]), np.log(losses[index])
    share = (before - np.log(level)) / (before - after)
    return float(steps[index - 1] + share * (steps[index] - steps[index - 1]))
