"""Columns of Apache Arrow: .arrow and .feather files, and data frames; pyarrow is imported when one is read."""

import collections
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from idjax.data.dataset import printable
from idjax.data.errors import import_extra
from idjax.data.source import OTHER, TEXT, Block, Request, Source
from idjax.types import IdjaxError

_FILE_MAGIC = b"ARROW1"
_BATCH_VALUES = 2**23
"""Numbers that are taken from Arrow at a time: each of its columns costs some microseconds."""


def arrow_source(request: Request) -> Source:
    """The record batches of an Arrow IPC file (Feather version 2) or stream, mapped one at a time."""
    path, source = request.path, request.name
    arrow, ipc = import_extra("pyarrow", source), import_extra("pyarrow.ipc", source)
    with path.open("rb") as file:
        is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC

    def batches(_: Sequence[str] | None) -> Iterator[Any]:
        # The map is opened anew for each batch of a file: pages that were read stay in memory as long as a map does.
        if not is_file:
            with arrow.OSFile(str(path)) as mapped, ipc.open_stream(mapped) as reader:
                yield from reader
            return
        number = 0
        while True:
            with arrow.memory_map(str(path)) as mapped:
                reader = ipc.open_file(mapped)
                if number == reader.num_record_batches:
                    return
                yield reader.get_batch(number)
            number += 1

    with arrow.memory_map(str(path)) as mapped:
        schema = (ipc.open_file if is_file else ipc.open_stream)(mapped).schema
    return of_batches(schema, lambda names, _: batches(names), source, None, request.remedy)


def of_batches(schema: Any, batches: Any, source: str, rows: int | None, remedy: str) -> Source:
    """Record batches of one schema as a source.

    `batches` is called with the names of columns that are wanted, None for all, and with the rows in a block; longer
    batches are cut.
    """
    arrow, types = import_extra("pyarrow", source), import_extra("pyarrow.types", source)
    names = tuple(schema.names)
    if not names:
        raise IdjaxError(f"{source}: it has no columns; give at least 1")
    times = collections.Counter(names)

    def read(numbers: Sequence[int], words: int | None, block_rows: int) -> Iterator[Block]:
        wanted = [*numbers] if words is None else [*numbers, words]
        chosen = [names[i] for i in wanted]
        by_name = all(times[name] == 1 for name in chosen)

        def column(batch: Any, i: int) -> Any:
            return batch.column(batch.schema.get_field_index(names[i]) if by_name else i)

        at_once = max(block_rows, _BATCH_VALUES // len(wanted))
        for whole in batches(chosen if by_name else None, at_once):
            whole.validate(full=True)  # nothing of a file is believed: offsets could point anywhere
            for start in range(0, whole.num_rows, block_rows):
                batch = whole.slice(start, block_rows)
                held = _side_by_side(arrow, types, [column(batch, i) for i in numbers], batch.num_rows)
                said = None if words is None else np.array(column(batch, words).to_pylist(), dtype=object)
                yield Block(held, said)

    shown = tuple(printable(name.strip()) or f"x{i}" for i, name in enumerate(names, 1))
    dtypes = tuple(_dtype(types, each) for each in schema.types)
    return Source(source, shown, dtypes, rows, read, remedy, tuple(map(str, schema.types)))


def _dtype(types: Any, kind: Any) -> np.dtype:
    """The dtype of a column of this Arrow type."""
    if types.is_dictionary(kind):
        return _dtype(types, kind.value_type)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return np.dtype(kind.to_pandas_dtype())
    if types.is_decimal(kind) or types.is_null(kind):
        return np.dtype(float)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return TEXT
    return OTHER


def _side_by_side(arrow: Any, types: Any, columns: list[Any], rows: int) -> np.ndarray:
    """Columns as one array (rows, k), each by itself in memory, of float32 if all are and else of float64."""
    kinds = {column.type for column in columns}
    if kinds == {arrow.float32()} or kinds == {arrow.float64()}:
        # Arrow does it in one call, that needs the interpreter for none of the columns.
        batch = arrow.record_batch(columns, names=list(map(str, range(len(columns)))))
        return batch.to_tensor(null_to_nan=True, row_major=False).to_numpy()
    values = np.empty((len(columns), rows))
    for row, column in zip(values, columns, strict=True):
        row[:] = _numbers(arrow, types, column)
    return values.T


def _numbers(arrow: Any, types: Any, column: Any) -> np.ndarray:
    """A column as numbers, NaN where it is null."""
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_boolean(column.type):
        column = column.cast(arrow.int8())
    elif types.is_decimal(column.type) or types.is_null(column.type):
        column = column.cast(arrow.float64())
    return column.to_numpy(zero_copy_only=False)
