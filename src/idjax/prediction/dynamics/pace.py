"""The pace of runs that are followed on their rows: how often they are looked at, and what one program computes."""

import math
from typing import NamedTuple

import numpy as np

from idjax.moments.normalize import pca_to_zca
from idjax.nn.descent import PreparedData, put_on_device
from idjax.prediction.dynamics.follow_cost import affordable, size_of
from idjax.prediction.dynamics.run_spec import RunSpec

LOOKS, FEWEST_LOOKS = 100, 32
"""Times that runs of few epochs are looked at, about: the longest of them, and the shortest at the least."""
FEW_EPOCHS = 32
"""Epochs below which a run is looked at within them, if they are long."""
JUDGED = 5000
"""Rows that are judged at the least; more where more are trained on between two looks."""
STACKED = 3e4
"""Weights times rows of a batch below which runs are advanced together: XLA multiplies larger stacks slowly."""
UNEVEN = 8
"""Ways to divide the looks of runs into calls of one length, of which the one is taken that goes least past them."""
NUMBERS_AT_ONCE = 2**22
"""Row numbers of all runs that are drawn at a time."""


class Pace(NamedTuple):
    """Shared by runs that are followed beside each other, so that one program is compiled for all of them.

    prepared: rows on the device, an epoch of which are those between two looks.  looks: of a compiled call.
    together: runs that a call advances.
    """

    prepared: PreparedData
    looks: int
    together: int


def pace_of(spec: RunSpec, *counts: int) -> Pace:
    """The pace of so many runs, and of so many others beside them.

    Between two looks is an epoch, or about an even part of it where there are few epochs and these are long. A part has
    no short batch at its end, which is little of a long epoch.
    """
    lengths = [steps_of(spec, count) for count in counts]
    shortest, part = min(lengths), spec.steps
    if shortest < FEW_EPOCHS * spec.steps and spec.steps >= LOOKS:
        part = max(1, round(spec.steps / math.ceil(spec.steps * max(LOOKS / max(lengths), FEWEST_LOOKS / shortest))))
    rows = spec.rows if part == spec.steps else part * min(spec.settings.batch_size, spec.rows)
    together = min(counts) if np.prod(size_of(spec)) < STACKED else 1
    parts = [-(-steps // part) for steps in lengths]
    fewest = -(-min(parts) // max(1, NUMBERS_AT_ONCE // (together * rows)))

    def beyond(looks: int) -> int:
        return sum(count * (-each % looks) for count, each in zip(counts, parts, strict=True))

    looks = min((-(-min(parts) // calls) for calls in range(fewest, 2 * fewest + UNEVEN)), key=beyond)
    return Pace(_prepared(spec, rows), looks, together)


def steps_of(spec: RunSpec, runs: int) -> int:
    """Updates that so many runs are followed for."""
    return min(spec.settings.epochs * spec.steps, affordable(spec, runs))


def _prepared(spec: RunSpec, rows: int) -> PreparedData:
    """The rows on the device, an epoch of so many, with some of the validation rows, or of the training rows."""
    settings, problem, sample = spec.settings, spec.problem, spec.sample
    assert sample is not None
    judged = spec.held_out or sample
    every = max(1, len(judged.x) // max(JUDGED, rows))
    judged = judged.part(slice(None, None, every)) if every > 1 else judged
    fitted = problem.normalizer
    fitted = pca_to_zca(fitted) if problem.turned else fitted
    return put_on_device(settings, sample, fitted, judged, rows=rows)
