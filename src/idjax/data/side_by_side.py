"""The columns of x and those of the target, of one source or of two, in blocks of the same rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from idjax.data.columns import ChosenColumns
from idjax.data.source import Block
from idjax.types import IdjaxError


def side_by_side(columns: tuple[ChosenColumns, ...], codes: list[Any] | None, rows: int) -> Iterator[list[np.ndarray]]:
    """The columns of x, and those of the target if there is one, block by block; labels as their places in `codes`."""
    x, *target_columns = columns
    if not target_columns:
        for block in x.source.blocks(x.columns, None, rows):
            yield [block.numbers]
        return
    (y,) = target_columns
    numbers, words = y.read_as
    place_of = {label: float(place) for place, label in enumerate(codes or ())}

    def target(block: Block, values: np.ndarray) -> np.ndarray:
        if codes is None:
            return values
        labels = (np.asarray(values[:, 0], np.float64) if block.words is None else block.words).tolist()
        return np.array([place_of.get(label, np.nan) for label in labels])[:, None]

    if x.source is y.source:
        for block in x.source.blocks(x.columns + numbers, words, rows):
            inputs, outputs = np.split(block.numbers, [len(x.columns)], axis=1)
            yield [inputs, target(block, outputs)]
        return
    first, second = x.source.blocks(x.columns, None, rows), y.source.blocks(numbers, words, rows)
    for inputs, outputs in _aligned(first, second, x, y):
        yield [inputs.numbers, target(outputs, outputs.numbers)]


def _aligned(
    first: Iterator[Block], second: Iterator[Block], x: ChosenColumns, y: ChosenColumns
) -> Iterator[tuple[Block, Block]]:
    """The blocks of two sources, cut where either has an end; IdjaxError if one has more rows."""
    one, other, done = next(first, None), next(second, None), 0
    while one is not None and other is not None:
        rows = min(len(one.numbers), len(other.numbers))
        yield _cut(one, 0, rows), _cut(other, 0, rows)
        done += rows
        one = _cut(one, rows, None) if rows < len(one.numbers) else next(first, None)
        other = _cut(other, rows, None) if rows < len(other.numbers) else next(second, None)
    if one is not None or other is not None:
        rows_x, rows_y = done + _left(one, first), done + _left(other, second)
        raise IdjaxError(
            f"{y.source.name}: the target has {rows_y} rows and {x.source.name} has {rows_x}; "
            "give one row of target for each row of input"
        )


def _cut(block: Block, start: int, stop: int | None) -> Block:
    return Block(block.numbers[start:stop], None if block.words is None else block.words[start:stop])


def _left(block: Block | None, rest: Iterator[Block]) -> int:
    """The number of rows of a block and all after it."""
    return 0 if block is None else len(block.numbers) + sum(len(each.numbers) for each in rest)
