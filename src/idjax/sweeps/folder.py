"""The folder of a sweep: one file a shard, written whole or not at all, so that a kill loses no more than one shard.

sweep.json              what is swept; the folder takes no other sweep
shards/NAME.parquet     finished shards
shards/NAME.lock        held while a process works on that shard; the system frees it when the process dies
results.parquet         all points, once every shard is there

Parquet files have a column for each axis, numbers, and curves as lists; the same bytes each time.
"""

import contextlib
import dataclasses
import io
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import filelock
import numpy as np

from idjax.data.errors import import_extra, reading_errors
from idjax.results import store
from idjax.results.curve import Status
from idjax.sweeps.axes import Point, Sweep
from idjax.sweeps.outcome import SweepOutcome, SweepPoint
from idjax.sweeps.plan import Shard
from idjax.types import IdjaxError

CURVES = tuple(f"{who}_{what}" for what in ("train", "validation", "explained") for who in ("predicted", "trained"))
_KEY = b"idjax"
_ABOUT = ("name", "title", "question", "data", "settings", "tolerance", "fields")


@dataclasses.dataclass(frozen=True)
class Folder:
    """The folder that a sweep keeps its results in."""

    path: pathlib.Path

    def begin(self, sweep: Sweep, points: Sequence[Point]) -> None:
        """Takes the folder for this sweep.

        Raises:
          IdjaxError: if it holds another one, or cannot be written to.
        """
        file, text = self.path / "sweep.json", _about(sweep, points=[point.at for point in points])
        if not file.exists():
            store.write(self.path, {file.name: text})
        elif file.read_text() != text:
            raise IdjaxError(f"--out {self.path}: it holds another sweep, or this one set otherwise; give a new folder")

    def finished(self, shard: Shard) -> bool:
        """Whether the results of the shard are there."""
        return self._shard(shard).exists()

    @contextlib.contextmanager
    def claim(self, shard: Shard) -> Iterator[bool]:
        """Whether the shard is ours to compute, as long as the context lasts: not done, and no other process at it."""
        folder = self.path / "shards"
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / f"{shard.name}.lock"
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(filelock.FileLock(lock).acquire(blocking=False))
            except filelock.Timeout:
                yield False
                return
            mine = not self.finished(shard)
            for left in folder.glob(f".{shard.name}.parquet-*") if mine else ():
                left.unlink(missing_ok=True)  # of a process that was killed while it wrote
            yield mine
            if self.finished(shard):
                lock.unlink(missing_ok=True)

    def keep(self, sweep: Sweep, shard: Shard, points: Sequence[SweepPoint]) -> None:
        """Writes the results of a shard, with the versions and the revision that made them, whatever the machine."""
        maker = {name: value for name, value in store.provenance().items() if name != "machine"}
        store.write(self.path / "shards", {f"{shard.name}.parquet": to_parquet(points, _about(sweep, made_by=[maker]))})

    def merge(self, sweep: Sweep, shards: Sequence[Shard]) -> SweepOutcome:
        """Writes results.parquet from all shards, in the order of the points, and returns what came of the sweep."""
        points, makers = [], []
        for shard in shards:
            some, about = _read(self._shard(shard))
            points += some
            makers += [maker for maker in about["made_by"] if maker not in makers]
        points.sort(key=lambda point: point.index)
        store.write(self.path, {"results.parquet": to_parquet(points, _about(sweep, made_by=makers))})
        return SweepOutcome(sweep.name, sweep.title, sweep.question, sweep.fields, tuple(points))

    def read(self) -> SweepOutcome:
        """The outcome of a sweep that was run to its end.

        Raises:
          IdjaxError: if there is none in the folder.
        """
        file = self.path / "results.parquet"
        if not file.is_file():
            unfinished = (self.path / "sweep.json").exists()
            what = "its sweep is not finished; run it again with --out" if unfinished else "it holds no sweep"
            raise IdjaxError(f"{self.path}: {what}")
        points, about = _read(file)
        return SweepOutcome(about["name"], about["title"], about["question"], tuple(about["fields"]), tuple(points))

    def _shard(self, shard: Shard) -> pathlib.Path:
        return self.path / "shards" / f"{shard.name}.parquet"


def _about(sweep: Sweep, **more: Any) -> str:
    """Facts about a sweep that its files hold, as JSON."""
    return store.to_json({**{name: getattr(sweep, name) for name in _ABOUT}, **more})


def _read(file: pathlib.Path) -> tuple[list[SweepPoint], dict[str, Any]]:
    """The points of a file and what is told about them; IdjaxError if it is damaged or no results of a sweep."""
    parquet = import_extra("pyarrow.parquet", str(file))
    try:
        content = file.read_bytes()
    except OSError as error:
        raise IdjaxError(f"{file}: it cannot be read ({error.strerror}); run the sweep again") from None
    with reading_errors(str(file), "it is damaged or no results of a sweep; delete it and run the sweep again"):
        table = parquet.read_table(io.BytesIO(content))
        about = json.loads(table.schema.metadata[_KEY])
        return [_point(row, about["fields"]) for row in table.to_pylist()], about


def to_parquet(points: Sequence[SweepPoint], about: str) -> bytes:
    """The points as one Parquet file, with what is told about them in its metadata; no time or date goes in."""
    arrow, parquet = import_extra("pyarrow", "results"), import_extra("pyarrow.parquet", "results")
    rows = [_row(point) for point in points]
    table = arrow.table({name: [row[name] for row in rows] for name in rows[0]} if rows else {})
    buffer = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata({_KEY: about.encode()}), buffer, compression="zstd")
    return buffer.getvalue()


def _row(point: SweepPoint) -> dict[str, Any]:
    numbers = dataclasses.asdict(point)
    del numbers["at"]
    # A swept number of epochs is a result's column already.
    return {"index": numbers.pop("index"), **point.at, **numbers}


def _point(row: Mapping[str, Any], fields: Sequence[str]) -> SweepPoint:
    known = {field.name for field in dataclasses.fields(SweepPoint)}
    numbers = {name: value for name, value in row.items() if name in known}
    curves = {name: np.array(row[name], np.float64) for name in CURVES}
    statuses = {name: Status(row[name]) for name in ("predicted_status", "trained_status")}
    return SweepPoint(**{**numbers, **curves, **statuses, "at": {field: row[field] for field in fields}})
