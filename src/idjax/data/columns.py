"""Which columns of which sources are x and the target, and the labels that a target holds."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from idjax.data.arrays import as_array
from idjax.data.dataset import Dataset, check_form, find_columns, numbered, printable, quote
from idjax.data.frames import frame_source, is_frame
from idjax.data.opening import OF_ARRAYS, UNNAMED, kind_of, means_file, open_source
from idjax.data.source import TEXT, Block, Source, check_numbers, of_array
from idjax.types import IdjaxError

MOST_CLASSES = 4096
"""More labels than this are taken for something else, such as names of rows."""


class Columns(NamedTuple):
    """Some columns of a source."""

    source: Source
    columns: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What messages and reports call them."""
        return tuple(self.source.labels[i] for i in self.columns)

    @property
    def dtypes(self) -> tuple[np.dtype, ...]:
        """What they are stored as."""
        return tuple(self.source.dtypes[i] for i in self.columns)


def choose_columns(data: Any, target: Any, columns: str | Sequence[str] | None) -> tuple[Columns, Columns | None]:
    """Which columns of which sources are x and the target."""
    by_name = isinstance(data, str | os.PathLike)
    name = os.fspath(data) if by_name else ""
    wanted = os.fspath(target) if isinstance(target, str | os.PathLike) else None
    kind = kind_of(name) if by_name else None
    y = None
    if isinstance(data, Dataset):
        x = of_array(data.x, data.feature_names, data.source)
        if data.y is not None and target is None:
            y = of_array(data.y, data.target_names, f"{data.source}: target")
    elif by_name:
        x = open_source(name, leave_out=wanted if kind in OF_ARRAYS and not means_file(wanted or "") else None)
    else:
        x = _in_memory(data, "x")
    if wanted is None:
        y = y if target is None else _in_memory(target, "y")
    elif means_file(wanted) or kind in UNNAMED:
        y = open_source(wanted, "y")
    elif kind in OF_ARRAYS:
        y = open_source(name, "y", array_name=wanted)
    targets = find_columns(x.labels, wanted, x.name, "the target") if wanted and y is None else []
    if columns is None:
        chosen = [i for i in range(len(x.dtypes)) if i not in targets]
        if not chosen:
            raise IdjaxError(f"{x.name}: the target takes all columns; leave one for x, or give no target")
    else:
        listed = columns if isinstance(columns, str) else ",".join(columns)
        chosen = find_columns(x.labels, listed, x.name, "x")
        if both := [x.labels[i] for i in chosen if i in targets]:
            raise IdjaxError(f"{x.name}: column {quote(both[0])} is both of x and the target; leave it out of one")
    if y is not None:
        return Columns(x, tuple(chosen)), Columns(y, tuple(range(len(y.dtypes))))
    return Columns(x, tuple(chosen)), Columns(x, tuple(targets)) if targets else None


def _in_memory(values: Any, letter: str) -> Source:
    """A data frame or an array as a source, called by its letter."""
    if is_frame(values):
        return frame_source(values, letter)
    numbers = as_array(values, letter)
    if letter == "y" and numbers.ndim == 1 and numbers.dtype.kind in "OUT":
        return _words_in_memory(numbers, letter)
    shape = check_form(numbers.dtype, numbers.shape, letter, letter, line=letter == "y")
    return of_array(numbers.reshape(shape), None, letter)


def _words_in_memory(values: np.ndarray, letter: str) -> Source:
    """Labels in memory, (N,), as a source."""
    words = np.array([None if word is None or word != word else printable(str(word)) for word in values], object)

    def read(numbers: Sequence[int], asked: Sequence[int], block_rows: int) -> Iterator[Block]:
        for start in range(0, len(words), block_rows):
            held = words[start : start + block_rows]
            yield Block(np.empty((len(held), 0)), [held for _ in asked])

    return Source(letter, None, (TEXT,), ("text",), len(words), words.nbytes, read)


def names_of_target(y: Columns) -> tuple[str, ...]:
    """Those of its columns; y1, y2, ... if they have none."""
    return y.names if y.source.names else tuple(numbered("y", len(y.columns)))


def find_classes(y: Columns, block_rows: int) -> list[Any]:
    """The labels in the target's column, in order: of numbers, or of the alphabet."""
    if len(y.columns) > 1:
        raise IdjaxError(f"{y.source.name}: the target has {len(y.columns)} columns; give one column of labels")
    found: set[Any] = set()
    words = y.dtypes[0] == TEXT
    if not words:
        check_numbers(y.source, y.columns)
    for block in y.source.blocks(*(((), y.columns) if words else (y.columns, ())), block_rows):
        labels = block.words[0] if words else np.unique(np.asarray(block.numbers[:, 0], np.float64))
        found.update(label for label in labels.tolist() if label is not None and label == label)
        if len(found) > MOST_CLASSES:
            raise IdjaxError(
                f"{y.source.name}: column {quote(y.names[0])} has over {MOST_CLASSES} different labels; "
                "give one of fewer, or of numbers"
            )
    if not found:
        raise IdjaxError(f"{y.source.name}: column {quote(y.names[0])} has no labels; give a column that has")
    try:
        return sorted(found, key=float)
    except ValueError:
        return sorted(found)


def label_name(label: Any) -> str:
    """A label as a name: whole numbers without a point."""
    return printable(label) if isinstance(label, str) else f"{label:.17g}"
