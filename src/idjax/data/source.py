"""Sources of rows, which can be read in blocks, again and again, before anything is known of their values."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from idjax.data.dataset import numbered, quote
from idjax.data.errors import reading_errors
from idjax.types import IdjaxError

TEXT = np.dtype(str)
"""The dtype of a column of words, which can be the labels of a target."""
OTHER = np.dtype(object)
"""The dtype of a column that can be neither numbers nor labels."""


class Request(NamedTuple):
    """A file, and what is wanted of it.

    name:        how messages call it; printable on one line.
    remedy:      what to say if reading fails.
    letter:      x, or y where it is the target: the array of a file that holds several, and what remedies call it.
    array_name:  the array to take instead.
    leave_out:   an array to leave out, which is the target.
    whole:       all rows are to be in memory at once, as numbers without gaps, two-dimensional.
    """

    path: Path
    name: str
    remedy: str
    letter: str = "x"
    array_name: str | None = None
    leave_out: str | None = None
    whole: bool = False


class Block(NamedTuple):
    """Some rows, n of them: the numbers that were asked for, (n, k), and the words of a column, (n,), if it was.

    Numbers are of any real dtype and memory order, NaN where the cell is empty; words are str, None where empty.
    """

    numbers: np.ndarray
    words: np.ndarray | None = None


Read = Callable[[Sequence[int], int | None, int], Iterator[Block]]


@dataclasses.dataclass(frozen=True)
class Source:
    """Columns that can be read in blocks.

    name:    how messages call it; printable on one line.
    names:   of the columns, printable; None if they have none.
    dtypes:  of the columns as they are stored: real numbers, TEXT or OTHER.
    rows:    how many, as far as it is known without reading them.
    read:    (columns of numbers, the column of words if any, rows) → blocks of at most as many rows.
    remedy:  what to say if reading fails.
    types:   the dtypes in the words of the file, where some are OTHER.
    """

    name: str
    names: tuple[str, ...] | None
    dtypes: tuple[np.dtype, ...]
    rows: int | None
    read: Read
    remedy: str = "it is damaged; save it again"
    types: tuple[str, ...] = ()

    def blocks(self, numbers: Sequence[int], words: int | None, block_rows: int) -> Iterator[Block]:
        """The rows from the first on, in blocks; IdjaxError on damage, or where there are other rows than promised."""
        blocks, done = self.read(numbers, words, block_rows), 0
        while True:
            with reading_errors(self.name, self.remedy):
                block = next(blocks, None)
            if block is None:
                break
            done += len(block.numbers)
            yield block
        if self.rows not in (None, done):
            raise IdjaxError(f"{self.name}: it promises {self.rows} rows and holds {done}; save it again")

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the columns, or x1, x2, ..."""
        return self.names or numbered("x", len(self.dtypes))


def one_array(name: str, dtype: np.dtype, shape: tuple[int, int], read: Read, remedy: str = Source.remedy) -> Source:
    """An array (N, p) without names of columns as a source."""
    rows, width = shape
    return Source(name, None, (dtype,) * width, rows, read, remedy)


def of_array(values: np.ndarray, names: tuple[str, ...] | None, name: str) -> Source:
    """Columns of numbers in memory, (N, p), which blocks are views of."""

    def read(numbers: Sequence[int], words: int | None, block_rows: int) -> Iterator[Block]:
        for start in range(0, len(values), block_rows):
            yield Block(pick(values[start : start + block_rows], numbers))

    rows, width = values.shape
    return Source(name, names, (values.dtype,) * width, rows, read)


def pick(values: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """These columns of the rows: the rows themselves where that is all of them."""
    return values if are_all(columns, values.shape[1]) else values[:, list(columns)]


def are_all(columns: Sequence[int], width: int) -> bool:
    """Whether these are all columns in their order."""
    return len(columns) == width and list(columns) == list(range(width))


def check_numbers(source: Source, columns: Sequence[int]) -> None:
    """IdjaxError unless these columns hold numbers."""
    for i in columns:
        if source.dtypes[i].kind not in "biuf":
            what = "text" if source.dtypes[i] == TEXT else f"no plain numbers ({quote(source.types[i])})"
            called = f"{i + 1} (counting from 1)" if source.names is None else quote(source.names[i])
            remedy = "leave it out by naming the others in columns, or turn it into numbers"
            raise IdjaxError(f"{source.name}: column {called} holds {what}; {remedy}")


BLOCK_VALUES = (2**21, 2**23)
"""Numbers in a block: few enough for the caches, and with more in rows so wide that sums of products weigh."""
_ROWS_FOR_SUMS = 8
"""Rows in a block for each column, within those bounds: the sums of a block are handled once for all of its rows."""


def block_rows_for(width: int) -> int:
    """The rows that a block has unless asked otherwise: at least one, be it wider than any block."""
    least, most = BLOCK_VALUES
    return max(1, min(max(least, _ROWS_FOR_SUMS * width**2), most) // max(1, width))
