"""Rows of .csv and .tsv files, as text in UTF-8, read at once or in blocks."""

import array
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from idjax.data.dataset import Table, place, printable, quote
from idjax.data.source import TEXT, Block, Source
from idjax.types import IdjaxError

TEXT_REMEDY = "it is not text in UTF-8 with one row of numbers a line; save it again as CSV in UTF-8"
TAB_REMEDY = "it is not text in UTF-8 with one row of numbers a line; save it again as tab-separated UTF-8"

_FIRST_LINE_CHARACTERS = 2**20
_MISSING = {"", "na", "n/a", "nan", "null", "none"}


class _Row(NamedTuple):
    """A row, its number and its line, both counting from 1."""

    number: int
    line: int
    cells: list[str]


def read_text(path: Path, source: str) -> Table:
    """The numbers of a .csv or .tsv file, with its names of columns if the first line has them."""
    cells, width, names = array.array("d"), 0, None
    for row in _rows(path, source):
        if not row.number:
            names, width = _names(row), len(row.cells)
            continue
        width = len(row.cells)
        _extend(cells, row, range(width), names, source)
    return Table(np.asarray(cells).reshape(-1, width) if width else np.empty((0, 0)), names, source)


def text_source(path: Path, source: str) -> Source:
    """The rows of a .csv or .tsv file, to be read in blocks; columns are text where the first row has words."""
    remedy = TAB_REMEDY if path.suffix.lower() == ".tsv" else TEXT_REMEDY
    names, first = None, []
    for row in _rows(path, source):
        if row.number:
            first = row.cells
            break
        names, first = _names(row), []
    if not first:
        raise IdjaxError(f"{source}: it has no rows; give at least 2")
    dtypes = tuple(np.dtype(float) if _is_number(cell) or _is_missing(cell) else TEXT for cell in first)

    def read(numbers: Sequence[int], words: Sequence[int], block_rows: int) -> Iterator[Block]:
        cells, said, count = array.array("d"), [[] for _ in words], 0
        for row in _rows(path, source):
            if not row.number:
                continue
            _extend(cells, row, numbers, names, source, missing=True)
            for column, i in zip(said, words, strict=True):
                cell = row.cells[i].strip()
                column.append(None if _is_missing(cell) else cell)
            count += 1
            if count == block_rows:
                yield _block(cells, said, count)
                cells, said, count = array.array("d"), [[] for _ in words], 0
        if count:
            yield _block(cells, said, count)

    types = tuple("text" if dtype == TEXT else dtype.name for dtype in dtypes)
    return Source(source, names, dtypes, types, None, path.stat().st_size, read, remedy)


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


def _block(cells: array.array, words: list[list[str | None]], rows: int) -> Block:
    return Block(np.array(cells).reshape(rows, -1), [np.array(column, dtype=object) for column in words])


def _names(row: _Row) -> tuple[str, ...]:
    return tuple(printable(cell.strip()) or f"x{i}" for i, cell in enumerate(row.cells, 1))


def _extend(
    cells: array.array,
    row: _Row,
    columns: Sequence[int],
    names: tuple[str, ...] | None,
    source: str,
    missing: bool = False,
) -> None:
    """Adds the numbers in these columns, and NaN for missing ones if they may be; IdjaxError where a cell is none."""
    chosen = row.cells if len(columns) == len(row.cells) else [row.cells[i] for i in columns]
    try:
        numbers = list(map(float, chosen))
    except ValueError:
        numbers = None
    # float("1_0") is 10, which no other reader of CSV takes it for.
    if numbers is None or "_" in "".join(chosen):
        for i in columns:
            if not (_is_number(row.cells[i]) or (missing and _is_missing(row.cells[i]))):
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


def _is_missing(cell: str) -> bool:
    """Whether a cell stands for a missing value."""
    return cell.strip().lower() in _MISSING


def _bad_cell(row: _Row, column: int, names: tuple[str, ...] | None, source: str) -> IdjaxError:
    """What to say of a cell that is not a number."""
    cell = row.cells[column].strip()
    what = f"{quote(cell)} is not a number" if cell else "the cell is empty"
    remedy = "write a number such as 1.5 or 2e-3" if cell else "fill it in or remove the row"
    if row.number == 1 and names is None:
        remedy += ", or if this line names the columns, let no name be a number"
    return IdjaxError(f"{source}: line {row.line}, {place(row.number, column, names)}: {what}; {remedy}")
