"""Rows → the moments of training and validation rows: arrays as they are, files in one pass that holds few of them."""

import itertools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from idjax.data import Dataset, Stream, as_dataset, keras_split, stream
from idjax.data.split import LOOKED_AT
from idjax.data.thinned import Thinned
from idjax.moments.moments import BLOCK_ROWS, MomentSet, measure, measure_stream
from idjax.settings import Settings
from idjax.types import IdjaxError, OnProgress, Progress, Rows

HELD = 2**24
"""Numbers of the inputs of a file that are held, at most."""


class MeasuredRows(NamedTuple):
    """Moments of the training rows, and of the validation rows if there are some; the rows themselves, of a file evenly
    spaced ones; and the targets, or those of evenly spaced rows, None if they are the inputs.
    """

    train: MomentSet
    validation: MomentSet | None
    sample: Rows
    held_out: Rows | None
    targets: np.ndarray | None


def open_rows(data: Any, target: Any, settings: Settings, *, labels: bool = False) -> Dataset | Stream:
    """A file as blocks of rows, where moments are all that its prediction takes; else all rows.

    Example:
      >>> open_rows([[1, 2], [3, 4]], None, Settings()).x.shape
      (2, 2)
    """
    moments = settings.linear and not (settings.hidden or settings.classifies or labels)
    moments = moments and settings.moments == "gaussian"
    if moments and isinstance(data, str | os.PathLike) and (target is None or isinstance(target, str | os.PathLike)):
        rows = stream(data, target)
        if rows.rows is not None and rows.classes is None:
            return stream(data, target, block_rows=min(BLOCK_ROWS, rows.block_rows))
    return as_dataset(data, target, settings.data_dtype, labels=labels)


def measured_rows(
    data: Any, target: Any, settings: Settings, progress: OnProgress, *, labels: bool = False
) -> MeasuredRows:
    """The moments that a prediction with these settings takes of the rows, in their data_dtype."""
    rows, samples = open_rows(data, target, settings, labels=labels), settings.normalize == "sample"
    if isinstance(rows, Stream):
        try:
            return _of_stream(rows, settings, samples, progress)
        except IdjaxError:  # what is wrong with all rows in memory is said with its place
            rows = as_dataset(data, target, settings.data_dtype)
    cut = keras_split(len(rows.x), settings.validation_split)
    whole = Rows(rows.x, rows.y)
    sample, held_out = whole.part(slice(cut)), whole.part(slice(cut, None)) if cut < len(rows.x) else None
    validation = held_out and measure(held_out.x, held_out.y, samples)
    return MeasuredRows(measure(sample.x, sample.y, samples), validation, sample, held_out, rows.y)


def _of_stream(rows: Stream, settings: Settings, samples: bool, progress: OnProgress) -> MeasuredRows:
    assert rows.rows is not None
    cut, spacing = keras_split(rows.rows, settings.validation_split), float(np.finfo(settings.data_dtype).eps)
    targets: list[np.ndarray] = []
    blocks = _cut(rows, cut, settings.data_dtype, targets, progress)
    found, held = [], []
    for _, part in itertools.groupby(blocks, key=lambda block: block[0]):
        thinned = Thinned(max(2, min(LOOKED_AT, HELD // len(rows.feature_names))))
        measured = measure_stream(_sampled(part, thinned), samples, spacing, columns=False)
        found.append(measured.moments)
        x, y = (values.astype(settings.data_dtype) for values in thinned.rows())
        held.append(Rows(x, None if measured.moments.raw.autoencoder else y))
    looked_at = np.concatenate(targets) if targets else None
    validation = (found[1], held[1]) if len(found) > 1 else (None, None)
    return MeasuredRows(found[0], validation[0], held[0], validation[1], looked_at)


def _sampled(
    blocks: Iterator[tuple[bool, np.ndarray, np.ndarray | None]], thinned: Thinned
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for _, x, y in blocks:
        thinned.add(x, y)
        yield x, y


def _cut(
    rows: Stream, cut: int, dtype: str, targets: list[np.ndarray], progress: OnProgress
) -> Iterator[tuple[bool, np.ndarray, np.ndarray | None]]:
    """Blocks (x, y) in this dtype of the rows before the cut and of those from it on, and which; some targets aside."""
    assert rows.rows is not None
    done, stride = 0, -(-rows.rows // LOOKED_AT)
    for x, y in rows.blocks(as_stored=True, unchecked=True):
        with np.errstate(over="ignore"):
            x, y = x.astype(dtype, copy=False), None if y is None else y.astype(dtype, copy=False)
        if y is not None:
            targets.append(y[-done % stride :: stride].copy())
        inside = min(max(cut - done, 0), len(x))
        for part in (slice(inside), slice(inside, None)):
            if len(x[part]):
                yield part.start is None, x[part], None if y is None else y[part]
        done += len(x)
        progress(Progress(done, rows.rows, "reading rows"))
