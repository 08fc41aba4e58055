"""A prediction proven: training a few steps at a time, and looking at the explained variance after each few."""

import itertools
import math

import numpy as np

from idjax.data import Dataset
from idjax.moments.moments import Moments
from idjax.moments.normalize import fit
from idjax.nn.descent import Descent, PreparedData, put_on_device
from idjax.nn.learned import crossing
from idjax.results.diagnosis import Proof
from idjax.settings import Settings
from idjax.types import OnProgress, Progress, Rows, silent

LOOKS = 200
"""Times that the explained variance is looked at, on a scale of steps that grows."""
ROWS_PER_CALL = 200_000
"""A compiled call that makes several epochs trains at most about this many rows."""
JUDGED_ROWS = 20_000
"""Rows, evenly spaced, that it is judged on."""


def prove(
    dataset: Dataset,
    moments: Moments,
    settings: Settings,
    rows: int,
    budget: float,
    level: float,
    progress: OnProgress = silent,
) -> Proof:
    """Explained variance along a training, until it reaches the level or the budget is spent.

    The updates are those of `train`, one by one; it is looked at between epoch ends too.

    Args:
      dataset: the rows to train on: all, or evenly spaced ones of data that do not fit in memory.
      moments: of all rows, for the normaliser.
      rows: in an epoch, however many of them are in memory.
      budget: epochs.

    Returns:
      Epochs to the level, between looks by the decay of what is unexplained; inf if it was not reached.
    """
    prepared = _prepared(dataset, moments, settings, rows)
    steps = prepared.steps
    last = max(1, math.ceil(budget * steps))
    looks = np.unique(np.round(np.geomspace(1, last, min(LOOKS, last))).astype(int))
    descent, explained = Descent(prepared, [settings]), []
    for done, look in itertools.pairwise([0, *map(int, looks)]):
        value, finite = _descend_to(descent, prepared, done, look)
        explained.append(value)
        progress(Progress(look, last, f"explained variance {value:.4g}"))
        if value >= level or not finite:
            break
    looks, seen = looks[: len(explained)], np.array(explained)
    step = crossing(looks.astype(np.float64), 1 - seen, 1 - level)
    # Between looks that are a step apart there is none.
    found = float(np.ceil(step)) if np.isin(np.ceil(step) - [0, 1], looks).all() else step
    return Proof(found / steps, explained[-1], looks / steps, seen)


def _prepared(dataset: Dataset, moments: Moments, settings: Settings, rows: int) -> PreparedData:
    training = Rows(dataset.x, dataset.y)
    judged = training.thinned(JUDGED_ROWS) if len(dataset.x) > JUDGED_ROWS else training
    return put_on_device(settings, training, fit(settings.normalize, moments), judged, rows=rows)


def _descend_to(descent: Descent, prepared: PreparedData, done: int, look: int) -> tuple[float, bool]:
    """Trains from one look to the next: the explained variance there, and whether it and the last loss are finite.

    A compiled call makes a power of two of whole epochs or of updates within one, for each length is compiled; the last
    batch of an epoch, if it is short, is a call of its own.
    """
    steps, batch = prepared.steps, prepared.plan.batch_size
    short = prepared.rows % batch
    while True:
        place, left = done % steps, look - done
        if place == 0 and left >= steps:
            epochs = _power_of_two(min(left // steps, max(1, ROWS_PER_CALL // prepared.rows)))
            done += epochs * steps
            losses = descent.epochs(epochs, judged=False)
        elif short and place == steps - 1:
            done += 1
            losses = descent.part(short)
        else:
            whole = steps - place - (1 if short else 0)
            updates = _power_of_two(min(left, whole))
            done += updates
            losses = descent.part(updates * batch)
        if done == look:
            value = 1 - float(descent.unexplained()[0])
            return value, math.isfinite(value) and math.isfinite(losses.batches[0, -1, -1])


def _power_of_two(most: int) -> int:
    """The largest power of two that is at most this."""
    return 1 << (most.bit_length() - 1)
