"""Whether a loss falls without end as the outputs move down its slope."""

import math
from typing import Any, NamedTuple

import numpy as np

from idjax.diagnosis.trace.loss_context import LossContext

FAR = (100.0, 1000.0)
"""Times their size that the outputs are moved by."""
SAME = 0.01
"""Share by which a linear loss may rise by more or less the other way than it falls: rounding."""


class EndlessFall(NamedTuple):
    """Falls of the loss as the outputs are moved 100 and 1,000 times their size, and whether it is linear in them."""

    by: list[float]
    linear: bool


def endless_fall(context: LossContext, args: list[Any]) -> EndlessFall | None:
    """The fall of the loss of these arguments down its slope by the outputs, where it has no end.

    A linear loss rises by as much the other way; of one with its sign forgotten the minimum of its negative lies there.
    """
    start = context.run(args)
    slopes = {atom: np.asarray(slope, np.float64) for atom, slope in start.slopes.items()}
    size = sum(slope.size for slope in slopes.values())
    steep = math.sqrt(sum(float((slope**2).sum()) for slope in slopes.values()) / max(1, size))
    if not steep > 0:
        return None
    scale = max([1.0, *(size for comparison in context.end.comparisons for size in context.size_of(comparison))])

    def change(times: float) -> float:
        shifts = {atom: (-times * scale * slope / steep).astype(np.float32) for atom, slope in slopes.items()}
        return float(context.run(args, shifts).loss) - float(start.loss)

    falls = [-change(times) for times in FAR]
    if not all(there >= 0.5 * steep * size * scale * times for there, times in zip(falls, FAR, strict=True)):
        return None
    return EndlessFall(falls, abs(change(-FAR[-1]) - falls[-1]) <= SAME * falls[-1])
