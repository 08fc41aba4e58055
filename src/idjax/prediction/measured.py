"""Rows → the moments of training and validation rows: arrays as they are, files in one pass that holds few of them."""

import itertools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from idjax.data import Dataset, Stream, as_dataset, keras_split, stream
from idjax.data.split import LOOKED_AT
from idjax.moments.moments import BLOCK_ROWS, MomentSet, measure, measure_stream
from idjax.settings import Settings
from idjax.types import IdjaxError, OnProgress, Progress, Rows


class MeasuredRows(NamedTuple):
    """Moments of the training rows, and of the validation rows if there are some; the rows themselves where they are
    held; and the targets, or those of evenly spaced rows, None if they are the inputs.
    """

    train: MomentSet
    validation: MomentSet | None
    sample: Rows | None
    held_out: Rows | None
    targets: np.ndarray | None


def open_rows(data: Any, target: Any, settings: Settings) -> Dataset | Stream:
    """A file as blocks of rows, where moments are all that its prediction takes; else all rows.

    Example:
      >>> open_rows([[1, 2], [3, 4]], None, Settings()).x.shape
      (2, 2)
    """
    moments = settings.linear and not settings.hidden and settings.moments == "gaussian"
    if moments and isinstance(data, str | os.PathLike) and (target is None or isinstance(target, str | os.PathLike)):
        rows = stream(data, target)
        if rows.rows is not None and rows.classes is None:
            return stream(data, target, block_rows=min(BLOCK_ROWS, rows.block_rows))
    return as_dataset(data, target, settings.data_dtype)


def measured_rows(data: Any, target: Any, settings: Settings, progress: OnProgress) -> MeasuredRows:
    """The moments that a prediction with these settings takes of the rows, in their data_dtype."""
    rows, samples = open_rows(data, target, settings), settings.normalize == "sample"
    if isinstance(rows, Stream):
        try:
            return _of_stream(rows, settings, samples, progress)
        except IdjaxError:  # what is wrong with all rows in memory is said with its place
            rows = as_dataset(data, target, settings.data_dtype)
    cut = keras_split(len(rows.x), settings.validation_split)
    parts = [Rows(rows.x[part], None if rows.y is None else rows.y[part]) for part in (slice(cut), slice(cut, None))]
    sample, held_out = parts if cut < len(rows.x) else (parts[0], None)
    validation = held_out and measure(held_out.x, held_out.y, samples)
    return MeasuredRows(measure(sample.x, sample.y, samples), validation, sample, held_out, rows.y)


def _of_stream(rows: Stream, settings: Settings, samples: bool, progress: OnProgress) -> MeasuredRows:
    assert rows.rows is not None
    cut, spacing = keras_split(rows.rows, settings.validation_split), float(np.finfo(settings.data_dtype).eps)
    targets: list[np.ndarray] = []
    blocks = _cut(rows, cut, settings.data_dtype, targets, progress)
    found = [
        measure_stream((block[1:] for block in part), samples, spacing, columns=False).moments
        for _, part in itertools.groupby(blocks, key=lambda block: block[0])
    ]
    looked_at = np.concatenate(targets) if targets else None
    return MeasuredRows(found[0], found[1] if len(found) > 1 else None, None, None, looked_at)


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
