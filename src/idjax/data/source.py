"""Where rows come from, before anything is known of their values: what can be read in blocks, again and again."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from idjax.data.dataset import Table, numbered, quote
from idjax.data.errors import refusing
from idjax.types import IdjaxError

TEXT = np.dtype(str)
"""The dtype of a column of words, which can be the labels of a target."""
OTHER = np.dtype(object)
"""The dtype of a column that can be neither numbers nor labels."""


class Block(NamedTuple):
    """Some rows, n of them: the numbers that were asked for, (n, k), and words, (n,) each.

    Numbers are of any real dtype and memory order, NaN where the cell is empty; words are str, None where empty.
    """

    numbers: np.ndarray
    words: list[np.ndarray]


Read = Callable[[Sequence[int], Sequence[int], int], Iterator[Block]]


@dataclasses.dataclass(frozen=True)
class Source:
    """Columns that can be read in blocks.

    name:    how messages call it; printable on one line.
    names:   of the columns, printable; None if they have none.
    dtypes:  of the columns as they are stored: real numbers, TEXT or OTHER.
    types:   the same in the words of the file.
    rows:    how many, as far as it is known without reading them.
    size:    bytes on disk or in memory, likewise.
    read:    (columns of numbers, columns of words, rows) → blocks of at most as many rows.
    remedy:  what to say if reading fails.
    """

    name: str
    names: tuple[str, ...] | None
    dtypes: tuple[np.dtype, ...]
    types: tuple[str, ...]
    rows: int | None
    size: int | None
    read: Read
    remedy: str = "it is damaged; save it again"

    def blocks(self, numbers: Sequence[int], words: Sequence[int], block_rows: int) -> Iterator[Block]:
        """The rows from the first on, in blocks; IdjaxError on damage."""
        blocks = self.read(numbers, words, block_rows)
        while True:
            with refusing(self.name, self.remedy):
                block = next(blocks, None)
            if block is None:
                return
            yield block

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the columns, or x1, x2, ..."""
        return self.names or numbered("x", len(self.dtypes))


def of_array(values: np.ndarray, names: tuple[str, ...] | None, name: str) -> Source:
    """Columns of numbers in memory, (N, p), which blocks are views of."""

    def read(numbers: Sequence[int], words: Sequence[int], block_rows: int) -> Iterator[Block]:
        for start in range(0, len(values), block_rows):
            yield Block(pick(values[start : start + block_rows], numbers), [])

    width = values.shape[1]
    dtypes, types = (values.dtype,) * width, (values.dtype.name,) * width
    return Source(name, names, dtypes, types, len(values), values.nbytes, read)


def pick(values: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """These columns of the rows: the rows themselves where that is all of them."""
    every = len(columns) == values.shape[1] and list(columns) == list(range(len(columns)))
    return values if every else values[:, list(columns)]


def check_numbers(source: Source, columns: Sequence[int]) -> None:
    """IdjaxError unless these columns hold numbers."""
    for i in columns:
        if source.dtypes[i].kind not in "biuf":
            what = "text" if source.dtypes[i] == TEXT else f"no plain numbers ({quote(source.types[i])})"
            called = f"{i + 1} (counting from 1)" if source.names is None else quote(source.names[i])
            raise IdjaxError(f"{source.name}: column {called} holds {what}; leave it out or turn it into numbers")


def collect(source: Source) -> Table:
    """All rows of a source in memory, as float32 if that holds every column and as float64 otherwise.

    Raises:
      IdjaxError: if a column holds no numbers, or other rows come than were promised.
    """
    columns = range(len(source.dtypes))
    check_numbers(source, columns)
    dtype = np.float32 if all(np.can_cast(each, np.float32) for each in source.dtypes) else np.float64
    blocks = source.blocks(columns, (), block_rows_for(len(columns)))
    if source.rows is None:
        parts = [block.numbers.astype(dtype, order="C") for block in blocks]
        return Table(np.concatenate(parts or [np.empty((0, len(columns)))]), source.names, source.name)
    try:
        values, done = np.empty((source.rows, len(columns)), dtype), 0
    except (MemoryError, ValueError) as error:
        raise IdjaxError(f"{source.name}: its {source.rows} rows do not fit in memory; give fewer rows") from error
    for block in blocks:
        end = done + len(block.numbers)
        if end <= source.rows:
            values[done:end] = block.numbers
        done = end
    if done != source.rows:
        raise broken_promise(source, done)
    return Table(values, source.names, source.name)


def broken_promise(source: Source, rows: int) -> IdjaxError:
    """What to say where a file holds other rows than it says."""
    return IdjaxError(f"{source.name}: it promises {source.rows} rows and holds {rows}; save it again")


BLOCK_VALUES = (2**21, 2**23)
"""Numbers in a block: few enough for the caches, and with more in rows so wide that sums of products weigh."""
_ROWS_FOR_SUMS = 8
"""Rows in a block for each column, within those bounds: the sums of a block are handled once for all of its rows."""


def block_rows_for(width: int) -> int:
    """The rows that a block has unless asked otherwise: at least one, be it wider than any block."""
    least, most = BLOCK_VALUES
    return max(1, min(max(least, _ROWS_FOR_SUMS * width**2), most) // max(1, width))
