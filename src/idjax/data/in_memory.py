"""Arrays of any kind, and data frames of pandas, polars and pyarrow, known by what they can do: none is imported."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from idjax.data.arrow import of_batches
from idjax.data.dataset import check_form, printable
from idjax.data.errors import reading_errors
from idjax.data.source import TEXT, Block, Source, of_array, one_array
from idjax.types import IdjaxError

FRAME_REMEDY = "it is no data frame of plain columns; give an array of numbers, as its to_numpy() makes"


def in_memory(values: Any, name: str, line: bool = False) -> Source:
    """A data frame or anything array-like as a source; the name is what messages call it.

    With `line`, one dimension is one column, of words too.

    Raises:
      IdjaxError: if it is ragged or masked, or as `check_form`.
    """
    if hasattr(values, "__arrow_c_stream__") or (hasattr(values, "columns") and hasattr(values, "to_numpy")):
        return _of_frame(values, name)
    if isinstance(values, np.ma.MaskedArray):
        raise IdjaxError(f"{name}: it is a masked array; fill or drop the masked values, as x.filled(0) does")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise IdjaxError(f"{name}: it is not an array of numbers; give rows of equal length") from error
    if line and array.ndim == 1 and array.dtype.kind in "OUT":
        return _of_words(array, name)
    return of_array(array.reshape(check_form(array.dtype, array.shape, name, name, line)), None, name)


def _of_words(values: np.ndarray, name: str) -> Source:
    """Labels in memory, (N,), as a source."""
    words = np.array([None if word is None or word != word else printable(str(word)) for word in values], object)

    def read(numbers: Sequence[int], asked: int | None, block_rows: int) -> Iterator[Block]:
        for start in range(0, len(words), block_rows):
            held = words[start : start + block_rows]
            yield Block(np.empty((len(held), 0)), held)

    return one_array(name, TEXT, (len(words), 1), read)


def _of_frame(frame: Any, name: str) -> Source:
    """The columns of a data frame: by way of Arrow where pyarrow is installed, else all as one array of numbers."""
    with reading_errors(name, FRAME_REMEDY):
        try:
            import pyarrow
        except ImportError:
            return _as_one_array(frame, name)
        if hasattr(frame, "iloc"):  # pandas keeps its index, unless asked not to
            table = pyarrow.Table.from_pandas(frame, preserve_index=False)
        else:
            table = pyarrow.table(frame)

        def batches(names: Sequence[str] | None, block_rows: int) -> Iterator[Any]:
            chosen = table if names is None else table.select(names)
            yield from chosen.to_batches(max_chunksize=block_rows)

        return of_batches(table.schema, batches, name, table.num_rows, FRAME_REMEDY)


def _as_one_array(frame: Any, name: str) -> Source:
    if not hasattr(frame, "to_numpy"):
        raise IdjaxError(f"{name}: pyarrow is missing, which reads it; pip install idjax[files]")
    values = np.asarray(frame.to_numpy())
    if values.dtype.kind == "O":
        raise IdjaxError(f"{name}: it needs pyarrow where not all columns are numbers; pip install idjax[files]")
    check_form(values.dtype, values.shape, name)
    return of_array(values, tuple(printable(str(column)) for column in frame.columns), name)
