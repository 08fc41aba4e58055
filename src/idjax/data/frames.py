"""Data frames of pandas, polars and pyarrow, known by what they can do: none of them is imported for it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from idjax.data.arrow import of_batches
from idjax.data.dataset import check_form, printable
from idjax.data.errors import refusing
from idjax.data.source import Source, of_array
from idjax.types import IdjaxError

FRAME_REMEDY = "it is no data frame of plain columns; give an array of numbers, as its to_numpy() makes"


def is_frame(data: object) -> bool:
    """Whether these are named columns, as of pandas, polars and pyarrow, rather than an array."""
    return hasattr(data, "__arrow_c_stream__") or (hasattr(data, "columns") and hasattr(data, "to_numpy"))


def frame_source(frame: Any, source: str) -> Source:
    """The columns of a data frame: by way of Arrow where pyarrow is installed, else all as one array of numbers."""
    with refusing(source, FRAME_REMEDY):
        try:
            import pyarrow
        except ImportError:
            return _as_one_array(frame, source)
        if hasattr(frame, "iloc"):  # pandas keeps its index, unless asked not to
            table = pyarrow.Table.from_pandas(frame, preserve_index=False)
        else:
            table = pyarrow.table(frame)

        def batches(names: Sequence[str] | None, block_rows: int) -> Iterator[Any]:
            chosen = table if names is None else table.select(names)
            yield from chosen.to_batches(max_chunksize=block_rows)

        return of_batches(table.schema, batches, source, table.num_rows, table.nbytes, FRAME_REMEDY)


def _as_one_array(frame: Any, source: str) -> Source:
    if not hasattr(frame, "to_numpy"):
        raise IdjaxError(f"{source}: pyarrow is missing, which reads it; pip install idjax[files]")
    values = np.asarray(frame.to_numpy())
    if values.dtype.kind == "O":
        raise IdjaxError(f"{source}: it needs pyarrow where not all columns are numbers; pip install idjax[files]")
    check_form(values.dtype, values.shape, source)
    return of_array(values, tuple(printable(str(name)) for name in frame.columns), source)
