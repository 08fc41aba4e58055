"""Rows in blocks of bounded size, checked, again and again: data larger than memory, from any source."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.data.columns import Columns, choose_columns, find_classes, label_name, names_of_target
from idjax.data.dataset import count_of, place
from idjax.data.source import TEXT, Block, block_rows_for, broken_promise, check_numbers
from idjax.types import IdjaxError

Missing = Literal["refuse", "drop"]
OnBlock = Callable[[int, int | None], None]
Rows = tuple[Float[np.ndarray, "n p"], Float[np.ndarray, "n q"] | None]


@dataclasses.dataclass(eq=False)
class Stream:
    """Rows to read in blocks (x, y) of float64, (n, p) and (n, q), as often as asked; y is None for an autoencoder.

    source:          how messages and reports call the data; printable on one line.
    feature_names:   of the p columns of x.
    target_names:    of the q columns of the target, the classes where it is one of labels.
    feature_dtypes:  what the p columns are stored as: the spacing of their numbers.
    target_dtypes:   the same of the columns that the target is made of; str for words.
    rows:            how many there are, None if only reading tells.
    size:            bytes on disk, or in memory; None if it is not known.
    classes:         the labels that y is the one-hot code of, in order; None if it is numbers.
    block_rows:      the most rows in a block, within a chunk of an HDF5 file.
    missing:         whether rows with missing values are refused or dropped.
    dropped:         how many rows the last complete pass left out.
    """

    source: str
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    feature_dtypes: tuple[np.dtype, ...]
    target_dtypes: tuple[np.dtype, ...]
    rows: int | None
    size: int | None
    classes: tuple[str, ...] | None
    block_rows: int
    missing: Missing
    _parts: Callable[[], Iterator["list[_Part]"]] = dataclasses.field(repr=False)
    dropped: int = 0

    def __iter__(self) -> Iterator[Rows]:
        return self.blocks()

    def check(self) -> None:
        """Reads all rows, and raises what `blocks` raises."""
        for _ in self.blocks(as_stored=True):
            pass

    def blocks(
        self, on_block: OnBlock | None = None, as_stored: bool = False, unchecked: bool = False
    ) -> Iterator[Rows]:
        """All rows in order.

        Args:
          on_block: told after each block how many rows are done, and of how many.
          as_stored: leave float32 as it is, for whoever casts it while he works on it.
          unchecked: do not look for infinite and missing values, unless rows are to be dropped or labels coded: for
            whoever finds them in what he makes of the rows, and then calls `check` to hear where they are.

        Raises:
          IdjaxError: on damage, on an infinite value, on missing ones unless they are to be dropped (with the first
            place and how many, so the rest is read before), and where there are fewer than two rows.
        """
        done = kept = missing = 0
        first: tuple[str, str] | None = None
        look = not unchecked or self.missing == "drop" or self.classes is not None
        for parts in self._parts():
            values = [_as_floats(part.values, as_stored) for part in parts]
            # All parts are looked at, for each may hold an infinite value.
            gapped = [_has_gaps(part, numbers, done) for part, numbers in zip(parts, values, strict=True) if look]
            if any(gapped):
                gaps = np.hstack([np.isnan(numbers) for numbers in values])
                missing += int(np.count_nonzero(gaps))
                row, column = map(int, np.unravel_index(np.argmax(gaps), gaps.shape))
                inputs = values[0].shape[1]
                part, column = (parts[0], column) if column < inputs else (parts[1], column - inputs)
                first = first or (part.origin.source.name, part.place(done + row, column))
                values = [numbers[~gaps.any(axis=1)] for numbers in values]
            done += len(parts[0].values)
            if len(values[0]) and (not missing or self.missing == "drop"):
                kept += len(values[0])
                y = values[1] if len(values) > 1 else None
                yield values[0], y if y is None or self.classes is None else _one_hot(y[:, 0], len(self.classes))
            if on_block:
                on_block(done, self.rows)
        if first and self.missing == "refuse":
            are, at = ("is", "at") if missing == 1 else ("are", "the first at")
            raise IdjaxError(
                f"{first[0]}: {count_of(missing, 'value')} {are} missing (empty or NaN), {at} {first[1]}; "
                'fill in those rows, or leave them out with missing="drop"'
            )
        if kept < 2:
            dropped = f" without missing values, of {done}" if kept < done else ""
            raise IdjaxError(f"{self.source}: it has {count_of(kept, 'row')}{dropped}; give at least 2")
        self.dropped = done - kept


class _Part(NamedTuple):
    """The rows of a block in the columns of x, or in those of the target."""

    values: np.ndarray
    origin: Columns

    def place(self, row: int, column: int) -> str:
        """Where a value is, in words; both counting from 0."""
        return place(row + 1, self.origin.columns[column], self.origin.source.names)


def stream(
    data: Any,
    target: Any = None,
    *,
    columns: str | Sequence[str] | None = None,
    missing: Missing = "refuse",
    labels: bool = False,
    block_rows: int | None = None,
) -> Stream:
    """Rows to read in blocks from a file, a folder of Parquet files, a built-in set, a data frame or an array.

    Args:
      data, target: as `read` has them; the target may be a column of words, or an array of one dimension.
      columns: the columns of x by name; all that are no target if None.
      missing: refuse rows with missing values (NaN, null, empty cells), or drop them.
      labels: take the numbers in the target's one column for labels, as words always are: y is their one-hot code.
      block_rows: the most rows in a block; so many as have 2 million numbers, and up to 8 if they are wide, if None.

    Raises:
      IdjaxError: if the data cannot be opened or have no such columns, with the place and the remedy. Values are
        checked as they are read.
    """
    if missing not in ("refuse", "drop"):
        raise IdjaxError(f"missing is {missing!r}: give refuse or drop")
    if block_rows is not None and block_rows < 1:
        raise IdjaxError(f"block_rows is {block_rows}: give a whole number of rows, at least 1")
    x, y = choose_columns(data, target, columns)
    check_numbers(x.source, x.columns)
    widest, classes, codes = len(x.source.dtypes) + (len(y.source.dtypes) if y else 0), None, None
    if y is not None and (labels or TEXT in y.dtypes):
        codes = find_classes(y, block_rows or block_rows_for(widest))
        classes = tuple(map(label_name, codes))
        widest += len(classes)
    elif y is not None:
        check_numbers(y.source, y.columns)
    rows = block_rows or block_rows_for(widest)
    target_names = x.names if y is None else classes or names_of_target(y)
    sizes = [part.source.size for part in (x, y) if part and (part is x or part.source is not x.source)]
    return Stream(
        source=x.source.name,
        feature_names=x.names,
        target_names=target_names,
        feature_dtypes=x.dtypes,
        target_dtypes=(y or x).dtypes,
        rows=x.source.rows,
        size=None if None in sizes else sum(size or 0 for size in sizes),
        classes=classes,
        block_rows=rows,
        missing=missing,
        _parts=lambda: _parts(x, y, codes, rows),
    )


def _parts(x: Columns, y: Columns | None, codes: list[Any] | None, rows: int) -> Iterator[list[_Part]]:
    """The columns of x, and those of the target if there is one, block by block; labels as their places in `codes`."""
    if y is None:
        for block in _counted(x, x.columns, (), rows):
            yield [_Part(block.numbers, x)]
        return
    words = y.columns if y.dtypes[0] == TEXT else ()
    numbers = () if words else y.columns
    place_of = {label: float(place) for place, label in enumerate(codes or ())}

    def target(block: Block, values: np.ndarray) -> _Part:
        if codes is None:
            return _Part(values, y)
        labels = (block.words[0] if words else np.asarray(values[:, 0], np.float64)).tolist()
        return _Part(np.array([place_of.get(label, np.nan) for label in labels])[:, None], y)

    if x.source is y.source:
        for block in _counted(x, x.columns + numbers, words, rows):
            inputs, outputs = np.split(block.numbers, [len(x.columns)], axis=1)
            yield [_Part(inputs, x), target(block, outputs)]
        return
    for inputs, outputs in _aligned(_counted(x, x.columns, (), rows), _counted(y, numbers, words, rows), x, y):
        yield [_Part(inputs.numbers, x), target(outputs, outputs.numbers)]


def _counted(of: Columns, numbers: tuple[int, ...], words: tuple[int, ...], rows: int) -> Iterator[Block]:
    """The blocks of a source, if they have as many rows together as it promises."""
    done = 0
    for block in of.source.blocks(numbers, words, rows):
        yield block
        done += len(block.numbers)
    if of.source.rows not in (None, done):
        raise broken_promise(of.source, done)


def _aligned(first: Iterator[Block], second: Iterator[Block], x: Columns, y: Columns) -> Iterator[tuple[Block, Block]]:
    """The blocks of two sources, cut where either has an end; IdjaxError if one has more rows."""
    one, other, done = next(first, None), next(second, None), 0
    while one is not None and other is not None:
        rows = min(len(one.numbers), len(other.numbers))
        yield _cut(one, 0, rows), _cut(other, 0, rows)
        done += rows
        one = _cut(one, rows, None) if rows < len(one.numbers) else next(first, None)
        other = _cut(other, rows, None) if rows < len(other.numbers) else next(second, None)
    if one is not None or other is not None:
        rows_x = done + _left(one, first)
        rows_y = done + _left(other, second)
        raise IdjaxError(
            f"{y.source.name}: the target has {rows_y} rows and {x.source.name} has {rows_x}; "
            "give one row of target for each row of input"
        )


def _cut(block: Block, start: int, stop: int | None) -> Block:
    return Block(block.numbers[start:stop], [words[start:stop] for words in block.words])


def _left(block: Block | None, rest: Iterator[Block]) -> int:
    """How many rows a block and all after it have."""
    return 0 if block is None else len(block.numbers) + sum(len(each.numbers) for each in rest)


def _as_floats(values: np.ndarray, as_stored: bool) -> np.ndarray:
    if as_stored and values.dtype == np.float32:
        return values
    with np.errstate(over="ignore"):  # what is too large for it becomes infinite, and is refused
        return np.asarray(values, np.float64)


def _has_gaps(part: _Part, numbers: np.ndarray, done: int) -> bool:
    """Whether a value is missing; IdjaxError at the first infinite one."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(numbers.sum()):  # quicker than a look at each, unless the sum overflows
            return False
    infinite = np.isinf(numbers)
    if infinite.any():
        row, column = map(int, np.unravel_index(np.argmax(infinite), infinite.shape))
        raise IdjaxError(
            f"{part.origin.source.name}: the value at {part.place(done + row, column)} is infinite or too large for "
            "float64; remove that row or replace the value"
        )
    return bool(np.isnan(numbers).any())


def _one_hot(codes: np.ndarray, classes: int) -> Float[np.ndarray, "n q"]:
    """Rows of zeros with a 1 at each code."""
    coded = np.zeros((len(codes), classes))
    coded[np.arange(len(codes)), codes.astype(np.int64)] = 1
    return coded
