"""Which columns of which sources are x and the target, and the labels that a target holds."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from idjax.data.dataset import Dataset, find_columns, numbered, place, printable, quote
from idjax.data.in_memory import in_memory
from idjax.data.opening import OF_ARRAYS, UNNAMED, kind_of, means_file, open_source
from idjax.data.source import TEXT, Source, check_numbers, of_array
from idjax.types import IdjaxError

MOST_CLASSES = 4096
"""More labels than this are taken for something else, such as names of rows."""


class ChosenColumns(NamedTuple):
    """Some columns of a source."""

    source: Source
    columns: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, as messages and reports call them."""
        return tuple(self.source.labels[i] for i in self.columns)

    @property
    def dtypes(self) -> tuple[np.dtype, ...]:
        """Dtypes that they are stored as."""
        return tuple(self.source.dtypes[i] for i in self.columns)

    def place(self, row: int, column: int) -> str:
        """The place of a value in words; row and column count from 0."""
        return place(row + 1, self.columns[column], self.source.names)

    @property
    def read_as(self) -> tuple[tuple[int, ...], int | None]:
        """The columns of numbers and the one of words, as `Source.blocks` takes them."""
        return ((), self.columns[0]) if self.dtypes[0] == TEXT else (self.columns, None)


def choose_columns(
    data: Any,
    target: Any,
    columns: str | Sequence[str] | None = None,
    *,
    whole: bool = False,
) -> tuple[ChosenColumns, ChosenColumns | None]:
    """Which columns of which sources are x and the target; `whole` is as `Request` has it."""
    x, y, wanted = _sources(data, target, whole)
    targets = find_columns(x.labels, wanted, x.name, "the target") if wanted is not None and y is None else []
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
        return ChosenColumns(x, tuple(chosen)), ChosenColumns(y, tuple(range(len(y.dtypes))))
    return ChosenColumns(x, tuple(chosen)), ChosenColumns(x, tuple(targets)) if targets else None


def _sources(data: Any, target: Any, whole: bool) -> tuple[Source, Source | None, str | None]:
    """The sources of x and of the target if it has one of its own, and the target where it is given in words."""
    wanted = os.fspath(target) if isinstance(target, str | os.PathLike) else None
    path = os.fspath(data) if isinstance(data, str | os.PathLike) else None
    kind, y = None if path is None else kind_of(path), None
    if wanted is None:
        y = None if target is None else in_memory(target, "target", line=not whole)
    elif means_file(wanted) or kind in UNNAMED:
        y = open_source(wanted, "y", whole=whole)
    elif path is not None and kind in OF_ARRAYS:
        y = open_source(path, "y", array_name=wanted, whole=whole)
    if path is not None:
        leave_out = wanted if kind in OF_ARRAYS and not means_file(wanted or "") else None
        return open_source(path, leave_out=leave_out, whole=whole), y, wanted
    if not isinstance(data, Dataset):
        return in_memory(data, "x"), y, wanted
    if data.y is not None and target is None:
        y = of_array(data.y, data.target_names, f"{data.source}: target")
    return of_array(data.x, data.feature_names, data.source), y, wanted


def names_of_target(x: ChosenColumns, y: ChosenColumns | None) -> tuple[str, ...]:
    """Names of the target's columns: those of x for an autoencoder; y1, y2, ... if a source of its own has none."""
    if y is None:
        return x.names
    return y.names if y.source.names or y.source is x.source else numbered("y", len(y.columns))


def find_classes(y: ChosenColumns, block_rows: int) -> list[Any]:
    """The labels in the target's column, in order: of numbers, or of the alphabet."""
    if len(y.columns) > 1:
        raise IdjaxError(f"{y.source.name}: the target has {len(y.columns)} columns; give one column of labels")
    found: set[Any] = set()
    if y.dtypes[0] != TEXT:
        check_numbers(y.source, y.columns)
    for block in y.source.blocks(*y.read_as, block_rows):
        labels = np.unique(np.asarray(block.numbers[:, 0], np.float64)) if block.words is None else block.words
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
