"""When a loss first falls to a level: of a trajectory known at every step, and of one recorded epoch by epoch."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

POWERS = np.append(0.0, 2.0 ** np.arange(61))
"""0 and the powers of two up to 1.15e18: later steps count as never."""


def first_step(
    reached: Callable[[Float[np.ndarray, " t"]], Bool[np.ndarray, " t"]], guess: float | None = None
) -> float:
    """The first whole step at which a condition that stays true holds; inf if it never does.

    Looks at all powers of two at once, or gallops from a guess where looking is dear; then cuts the gap into 32.
    """
    high = int(np.argmax(np.append(reached(POWERS), True))) if guess is None else _gallop(reached, guess)
    if high == 0 or high == len(POWERS):
        return 0.0 if high == 0 else float("inf")
    first, last = POWERS[high - 1], POWERS[high]
    while last - first > max(1.0, 1e-12 * last):
        # As many candidates each time, for each number of them is compiled; some are alike where few are left.
        between = np.floor(np.linspace(first, last, 33))[1:-1]
        after = int(np.argmax(np.append(reached(between), True)))
        first, last = (between[after - 1] if after else first), (between[after] if after < len(between) else last)
    return float(last)


def _gallop(reached: Callable[[np.ndarray], np.ndarray], guess: float) -> int:
    """The index of the first power that holds, by ever longer strides from the guess."""
    high = int(np.searchsorted(POWERS, guess)) if np.isfinite(guess) else len(POWERS) - 1
    near = range(max(high - 1, 0), min(high + 1, len(POWERS)))  # most often the answer, and one look
    known = dict(zip(near, reached(POWERS[near.start : near.stop]), strict=True))

    def holds(index: int) -> bool:
        if index not in known and 0 <= index < len(POWERS):
            known[index] = reached(POWERS[index : index + 1])[0]
        return index == len(POWERS) or (index >= 0 and bool(known[index]))

    stride = 1
    if holds(high):
        low = high - 1
        while low >= 0 and holds(low):
            high, low, stride = low, low - stride, 2 * stride
        low = max(low, -1)
    else:
        low, high = high, high + 1
        while not holds(high):
            low, high, stride = high, min(high + stride, len(POWERS)), 2 * stride
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
