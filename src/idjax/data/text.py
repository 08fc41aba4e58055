"""Rows of .csv and .tsv files, as text in UTF-8, read in blocks."""

import array
import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from idjax.data.dataset import place, printable, quote
from idjax.data.source import OTHER, TEXT, Block, Request, Source, are_all
from idjax.types import IdjaxError

LARGE = 2**26
"""Bytes from which the rows of a file are counted first: who knows how many there are need not hold them."""
_FIRST_LINE_CHARACTERS = 2**20
_MISSING = {"", "na", "n/a", "nan", "null", "none"}


class _Row(NamedTuple):
    """A row, its number and its line, both counting from 1."""

    number: int
    line: int
    cells: list[str]


def text_source(request: Request) -> Source:
    """The rows of a .csv or .tsv file; columns are text where the first row has words, unless numbers are asked for."""
    path, source = request.path, request.name
    rows = _rows(path, source)
    first = next(rows, None)
    names = None
    if first and not first.number:
        names = tuple(printable(cell.strip()) or f"x{i}" for i, cell in enumerate(first.cells, 1))
        first = next(rows, None)
    if not first:
        what = ("rows", 2) if names else ("columns", 1)
        raise IdjaxError(f"{source}: it has no {what[0]}; give at least {what[1]}")
    width, gaps = len(first.cells), not request.whole
    dtypes = tuple(np.dtype(float) if request.whole else _dtype(cell.strip()) for cell in first.cells)

    def read(numbers: Sequence[int], words: int | None, block_rows: int) -> Iterator[Block]:
        columns = None if are_all(numbers, width) else numbers
        rows = (row for row in _rows(path, source) if row.number)
        while first := next(rows, None):
            cells, said, count = array.array("d"), [], 0
            for row in itertools.chain([first], itertools.islice(rows, block_rows - 1)):
                _extend(cells, row, columns, names, source, gaps)
                if words is not None:
                    said.append(None if _is_missing(row.cells[words]) else row.cells[words].strip())
                count += 1
            yield Block(np.array(cells).reshape(count, -1), None if words is None else np.array(said, dtype=object))

    count = sum(row.number > 0 for row in _rows(path, source)) if path.stat().st_size >= LARGE else None
    types = tuple(f"{cell.strip()} with a decimal comma" for cell in first.cells)  # of those that are OTHER
    return Source(source, names, dtypes, count, read, request.remedy, types)


def _rows(path: Path, source: str) -> Iterator[_Row]:
    """The rows; first, as number 0, the names of columns if the first line holds nothing but words."""
    width, number, blank = 0, 0, 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline(_FIRST_LINE_CHARACTERS)
        file.seek(0)
        reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else max(",\t;", key=first.count))
        for cells in reader:
            if not cells or (len(cells) == 1 and not cells[0].strip()):
                blank = blank or reader.line_num
                continue
            if blank:
                raise IdjaxError(f"{source}: line {blank} is blank and rows follow; remove or fill that line")
            if not width:
                width = len(cells)
                if any(cell.strip() for cell in cells) and not any(map(_is_number, cells)):
                    yield _Row(0, reader.line_num, cells)
                    continue
            number += 1
            if len(cells) != width:
                raise IdjaxError(
                    f"{source}: line {reader.line_num}, row {number} (counting from 1), has {len(cells)} cells "
                    f"and the first line has {width}; give every row as many, and one kind of separator"
                )
            yield _Row(number, reader.line_num, cells)


def _extend(
    cells: array.array,
    row: _Row,
    columns: Sequence[int] | None,
    names: tuple[str, ...] | None,
    source: str,
    gaps: bool,
) -> None:
    """Adds the numbers in these columns (all if None), NaN in gaps if they may be; IdjaxError where a cell is none."""
    chosen = row.cells if columns is None else [row.cells[i] for i in columns]
    try:
        numbers = list(map(float, chosen))
    except ValueError:
        numbers = None
    # float("1_0") is 10, which no other reader of CSV takes it for.
    if numbers is None or "_" in "".join(chosen):
        for i in range(len(row.cells)) if columns is None else columns:
            if not (_is_number(row.cells[i]) or (gaps and _is_missing(row.cells[i]))):
                raise _bad_cell(row, i, names, source)
        numbers = [np.nan if _is_missing(cell) else float(cell) for cell in chosen]
    cells.extend(numbers)


def _is_number(cell: str) -> bool:
    """Whether a cell is a number; NaN and infinity are, here."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _dtype(cell: str) -> np.dtype:
    """The dtype of a column, by the first of its cells."""
    if _is_number(cell) or _is_missing(cell):
        return np.dtype(float)
    return OTHER if _is_number(cell.replace(",", ".", 1)) else TEXT


def _is_missing(cell: str) -> bool:
    """Whether a cell stands for a missing value."""
    return cell.strip().lower() in _MISSING


def _bad_cell(row: _Row, column: int, names: tuple[str, ...] | None, source: str) -> IdjaxError:
    """The error for a cell that is not a number."""
    cell = row.cells[column].strip()
    what = f"{quote(cell)} is not a number" if cell else "the cell is empty"
    remedy = "write a number such as 1.5 or 2e-3" if cell else "fill it in or remove the row"
    if row.number == 1 and names is None:
        remedy += ", or if this line names the columns, let no name be a number"
    return IdjaxError(f"{source}: line {row.line}, {place(row.number, column, names)}: {what}; {remedy}")
