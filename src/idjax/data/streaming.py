"""Rows in blocks of bounded size, checked, again and again: data larger than memory, from any source."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from idjax.data.columns import ChosenColumns, choose_columns, find_classes, label_name, names_of_target
from idjax.data.dataset import count_of
from idjax.data.side_by_side import side_by_side
from idjax.data.source import TEXT, block_rows_for, check_numbers
from idjax.types import IdjaxError

Missing = Literal["refuse", "drop"]
XY = tuple[Float[np.ndarray, "n p"], Float[np.ndarray, "n q"] | None]


@dataclasses.dataclass(eq=False)
class Stream:
    """Rows to read in blocks (x, y) of float64, (n, p) and (n, q), as often as asked; y is None for an autoencoder.

    source:          how messages and reports call the data; printable on one line.
    feature_names:   of the p columns of x.
    target_names:    of the q columns of the target, the classes where it is one of labels.
    feature_dtypes:  what the p columns are stored as: the spacing of their numbers.
    target_dtypes:   the same of the columns that the target is made of; str for words.
    rows:            how many there are, None if only reading tells.
    classes:         the labels that y is the one-hot code of, in order; None if it is numbers.
    block_rows:      the most rows in a block, within a chunk of an HDF5 file.
    missing:         whether rows with missing values are refused or dropped.
    columns:         those of x, and those of the target if there is one.
    codes:           the labels as they are stored, in the order of the classes.
    dropped:         how many rows the last complete pass left out.
    """

    source: str
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    feature_dtypes: tuple[np.dtype, ...]
    target_dtypes: tuple[np.dtype, ...]
    rows: int | None
    classes: tuple[str, ...] | None
    block_rows: int
    missing: Missing
    columns: tuple[ChosenColumns, ...] = dataclasses.field(repr=False)
    codes: list[Any] | None = dataclasses.field(repr=False)
    dropped: int = 0

    def __iter__(self) -> Iterator[XY]:
        return self.blocks()

    def parts(self) -> Iterator[list[np.ndarray]]:
        """All rows in order, as they are stored and unchecked: of x, and of the target; labels as places in `codes`."""
        return side_by_side(self.columns, self.codes, self.block_rows)

    def check(self) -> None:
        """Reads all rows, and raises what `blocks` raises."""
        for _ in self.blocks(as_stored=True):
            pass

    def blocks(self, as_stored: bool = False, unchecked: bool = False) -> Iterator[XY]:
        """All rows in order.

        Args:
          as_stored: leave float32 as it is, for whoever casts it while he works on it.
          unchecked: do not look for infinite and missing values, unless rows are to be dropped or labels coded: for
            whoever finds them in what he makes of the rows, and then calls `check` to hear where they are.

        Raises:
          IdjaxError: on damage, on an infinite value, on missing ones unless they are to be dropped (with the first
            place and how many, so the rest is read before), and where there are fewer than two rows.
        """
        done = kept = missing = 0
        first: tuple[str, str] | None = None
        look = not unchecked or self.missing == "drop" or self.codes is not None
        for parts in self.parts():
            values = [_as_floats(part, as_stored) for part in parts]
            # All parts are looked at, for each may hold an infinite value.
            gapped = [_has_gaps(*part, done) for part in zip(self.columns, values, strict=True) if look]
            if any(gapped):
                gaps = np.hstack([np.isnan(numbers) for numbers in values])
                missing += int(np.count_nonzero(gaps))
                row, column = map(int, np.unravel_index(np.argmax(gaps), gaps.shape))
                inputs = values[0].shape[1]
                part, column = (self.columns[0], column) if column < inputs else (self.columns[1], column - inputs)
                first = first or (part.source.name, part.place(done + row, column))
                values = [numbers[~gaps.any(axis=1)] for numbers in values]
            done += len(parts[0])
            if len(values[0]) and (not missing or self.missing == "drop"):
                kept += len(values[0])
                y = values[1] if len(values) > 1 else None
                yield values[0], y if y is None or self.codes is None else one_hot(y[:, 0], len(self.codes))
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


def stream(
    data: Any,
    target: Any = None,
    *,
    columns: str | Sequence[str] | None = None,
    missing: Missing = "refuse",
    labels: bool = False,
    block_rows: int | None = None,
    whole: bool = False,
) -> Stream:
    """Rows to read in blocks from a file, a folder of Parquet files, a built-in set, a data frame or an array.

    Args:
      data, target: as `load` has them; the target may be a column of words, or an array of one dimension.
      columns: the columns of x by name; all that are no target if None.
      missing: refuse rows with missing values (NaN, null, empty cells), or drop them.
      labels: take the numbers in the target's one column for labels, as words always are: y is their one-hot code.
      block_rows: the most rows in a block; so many as have 2 million numbers, and up to 8 if they are wide, if None.
      whole: refuse text and targets of one dimension, for all rows are to be in memory as numbers.

    Raises:
      IdjaxError: if the data cannot be opened or have no such columns, with the place and the remedy. Values are
        checked as they are read.

    Example:
      >>> [(x.shape, y.shape) for x, y in stream([[1, 2, 3], [4, 5, 6], [7, 8, 9]], "x3", block_rows=2)]
      [((2, 2), (2, 1)), ((1, 2), (1, 1))]
    """
    if missing not in ("refuse", "drop"):
        raise IdjaxError(f"missing is {missing!r}: give refuse or drop")
    if block_rows is not None and block_rows < 1:
        raise IdjaxError(f"block_rows is {block_rows}: give a whole number of rows, at least 1")
    x, y = choose_columns(data, target, columns, whole=whole)
    check_numbers(x.source, x.columns)
    widest, classes, codes = len(x.source.dtypes) + (len(y.source.dtypes) if y else 0), None, None
    if y is not None and (labels or TEXT in y.dtypes):
        codes = find_classes(y, block_rows or block_rows_for(widest))
        classes = tuple(map(label_name, codes))
        widest += len(classes)
    elif y is not None:
        check_numbers(y.source, y.columns)
    rows = block_rows or block_rows_for(widest)
    return Stream(
        source=x.source.name,
        feature_names=x.names,
        target_names=classes or names_of_target(x, y),
        feature_dtypes=x.dtypes,
        target_dtypes=(y or x).dtypes,
        rows=x.source.rows,
        classes=classes,
        block_rows=rows,
        missing=missing,
        columns=(x,) if y is None else (x, y),
        codes=codes,
    )


def _as_floats(values: np.ndarray, as_stored: bool) -> np.ndarray:
    if as_stored and values.dtype == np.float32:
        return values
    with np.errstate(over="ignore"):  # what is too large for it becomes infinite, and is refused
        return np.asarray(values, np.float64)


def _has_gaps(columns: ChosenColumns, numbers: np.ndarray, done: int) -> bool:
    """Whether a value is missing; IdjaxError at the first infinite one."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(numbers.sum()):  # quicker than a look at each, unless the sum overflows
            return False
    infinite = np.isinf(numbers)
    if infinite.any():
        row, column = map(int, np.unravel_index(np.argmax(infinite), infinite.shape))
        raise IdjaxError(
            f"{columns.source.name}: the value at {columns.place(done + row, column)} is infinite or too large for "
            "float64; remove that row or replace the value"
        )
    return bool(np.isnan(numbers).any())


def one_hot(codes: np.ndarray, classes: int) -> Float[np.ndarray, "n q"]:
    """Rows of zeros with a 1 at each code."""
    coded = np.zeros((len(codes), classes))
    coded[np.arange(len(codes)), codes.astype(np.int64)] = 1
    return coded
