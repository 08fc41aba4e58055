"""Points → shards: runs that one compiled program can train side by side, in an order that never changes."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from idjax.results import store
from idjax.settings import STACKED, Settings
from idjax.sweeps.axes import Data, Gaussian, Point, Sweep
from idjax.training.many import program_of

SHARD_POINTS = 32
"""Points of a shard at most: what a kill can lose, and what a stacked training holds in memory."""


class Shard(NamedTuple):
    """Points that are trained together and written as one file, named by its place and its content."""

    name: str
    points: tuple[Point, ...]


def cut(points: Sequence[Point], contents: str = "") -> tuple[Shard, ...]:
    """The shards of these points, whatever machine or number of processes will run them.

    contents stands for the numbers in files that the points name, and goes into the names of the shards.
    """
    groups: dict[tuple[Data, Settings], list[Point]] = {}
    for point in points:
        groups.setdefault((point.data, program_of(point.settings)), []).append(point)
    parts = [
        tuple(group[start : start + SHARD_POINTS])
        for group in groups.values()
        for start in range(0, len(group), SHARD_POINTS)
    ]
    return tuple(Shard(f"{number:05d}-{_digest(part, contents)}", part) for number, part in enumerate(parts))


def costs(sweep: Sweep, points: Sequence[Point]) -> list[str]:
    """Costs of the axes that cannot be stacked, in words, one line an axis; and batches that are the full batch."""
    lines, of_data = [], {field.name for field in dataclasses.fields(Gaussian)} - {"rows", "inputs"}
    for axis in sweep.axes:
        fields = [field for field in axis.fields if field not in STACKED]
        if not fields:
            continue
        count = len({tuple(point.at[field] for field in fields) for point in points})
        if count > 1:
            why = "on data of its own" if set(fields) <= of_data else "with a compilation of its own"
            lines.append(
                f"axis {'/'.join(fields)} cannot be stacked: each of its {count} values is trained by itself, {why}"
            )
    asked = [point.at.get("batch_size", sweep.settings.batch_size) for point in points]
    whole = sum(batch != point.settings.batch_size for batch, point in zip(asked, points, strict=True))
    if whole:
        lines.append(
            f"batch_size is more than the training rows at {whole} of {len(points)} points: the full batch, as in Keras"
        )
    return lines


def _digest(points: Sequence[Point], contents: str) -> str:
    return hashlib.sha256((store.to_json(points) + contents).encode()).hexdigest()[:12]
