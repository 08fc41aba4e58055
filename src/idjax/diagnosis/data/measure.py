"""Rows of data → the context of their diagnosis, in one pass over them."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from idjax.data import Stream, keras_split, within
from idjax.data.thinned import Thinned
from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.tails import SampleTails
from idjax.moments.columns import ColumnFacts
from idjax.moments.moments import measure_stream
from idjax.settings import Settings
from idjax.types import IdjaxError, OnProgress, Progress, Rows

SAMPLE_ROWS = 20_000


def measure(rows: Stream, settings: Settings, budget: float | None, progress: OnProgress) -> Context:
    """The moments and a sample of the training rows, with the settings and the budget of their diagnosis.

    Raises:
      IdjaxError: a target too small to be squared, or a budget that is no positive number.
    """
    sampled = Thinned(SAMPLE_ROWS)
    blocks = _training_blocks(rows, settings.validation_split, sampled, progress)
    samples = settings.normalize == "sample" or rows.target_names == rows.feature_names
    measured = measure_stream(blocks, samples=samples, check=rows.check)
    count, targets = measured.moments.raw.count, measured.targets
    if (targets.low < targets.high).any() and not targets.second.any():
        raise IdjaxError(f"{rows.source}: the squares of what varies in the target underflow float64: scale it up")
    budget = float(settings.epochs if budget is None else budget)
    if not (math.isfinite(budget) and budget > 0):
        raise IdjaxError(f"--budget is {budget:g}: give a positive number of epochs")
    names, dtypes = (rows.feature_names, rows.target_names), (rows.feature_dtypes, rows.target_dtypes)
    x, y = sampled.rows()
    return Context(
        moments=measured.moments,
        columns=ColumnFacts(*names, *dtypes, measured.inputs, measured.targets),
        sample=Rows(x, None if measured.moments.raw.autoencoder else y),
        sample_tails=SampleTails(x, measured.moments.raw),
        settings=dataclasses.replace(within(settings, count), epochs=max(1, math.ceil(budget)), validation_split=0.0),
        budget=budget,
        labels=rows.classes is not None,
    )


def _training_blocks(
    rows: Stream, validation_split: float, sampled: Thinned, progress: OnProgress
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Blocks of the rows before the validation rows; a sample of them is taken in passing."""
    total, done = rows.rows, 0
    most = math.inf if total is None or not validation_split else keras_split(total, validation_split)
    for x, y in rows.blocks(as_stored=True, unchecked=True):
        if done >= most:
            return
        count = int(min(most - done, len(x)))
        x, y = x[:count], None if y is None else y[:count]
        done += count
        progress(Progress(done, total or 0, "reading rows" if total else f"{done:,} rows read"))
        sampled.add(x, y)
        yield x, y
