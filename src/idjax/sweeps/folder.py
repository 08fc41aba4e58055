"""The folder of a sweep: one file a shard, written whole or not at all, so that a kill loses no more than one shard.

sweep.json              what is swept; the folder takes no other sweep
shards/NAME.parquet     finished shards
shards/NAME.lock        held while a process works on that shard; the system frees it when the process dies
results.parquet         all points, once every shard is there
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from idjax.results import store
from idjax.results.outcomes import SweepOutcome, SweepPoint
from idjax.sweeps.axes import Point, Sweep
from idjax.sweeps.plan import Shard
from idjax.sweeps.table import from_parquet, to_parquet
from idjax.types import IdjaxError

try:
    import fcntl
except ImportError:  # not on this system: two processes then make the same bytes twice, and the last one stays
    fcntl = None


@dataclasses.dataclass(frozen=True)
class Folder:
    """Where a sweep keeps its results."""

    path: pathlib.Path

    def begin(self, sweep: Sweep, points: Sequence[Point]) -> None:
        """Takes the folder for this sweep.

        Raises:
          IdjaxError: if it holds another one, or cannot be written to.
        """
        file, text = (
            self.path / "sweep.json",
            store.to_json({**_about(sweep), "points": [point.at for point in points]}),
        )
        if file.exists():
            if file.read_text() != text:
                raise IdjaxError(
                    f"--out {self.path}: it holds another sweep, or this one set otherwise; give a new folder"
                )
        else:
            store.write(self.path, {file.name: text})

    def finished(self, shard: Shard) -> bool:
        """Whether the results of the shard are there."""
        return self._shard(shard).exists()

    @contextlib.contextmanager
    def claim(self, shard: Shard) -> Iterator[bool]:
        """Whether the shard is ours to compute, as long as the context lasts: not done, and no other process at it."""
        folder = self.path / "shards"
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / f"{shard.name}.lock"
        handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            if fcntl:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    yield False
                    return
            mine = not self.finished(shard)
            for left in folder.glob(f".{shard.name}.parquet-*") if mine else ():
                left.unlink(missing_ok=True)  # of a process that was killed while it wrote
            yield mine
            if self.finished(shard):
                lock.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def keep(self, sweep: Sweep, shard: Shard, points: Sequence[SweepPoint]) -> None:
        """Writes the results of a shard."""
        about = {**_about(sweep), "made_by": [_made_by()]}
        store.write(self.path / "shards", {f"{shard.name}.parquet": to_parquet(points, about)})

    def merge(self, sweep: Sweep, shards: Sequence[Shard]) -> SweepOutcome:
        """Writes results.parquet from all shards, in the order of the points, and returns what came of the sweep."""
        points, makers = [], []
        for shard in shards:
            some, about = _read(self._shard(shard))
            points += some
            makers += [maker for maker in about["made_by"] if maker not in makers]
        points.sort(key=lambda point: point.index)
        about = {**_about(sweep), "made_by": makers}
        store.write(self.path, {"results.parquet": to_parquet(points, about)})
        return _outcome(points, about)

    def read(self) -> SweepOutcome:
        """What came of a sweep that was run to its end.

        Raises:
          IdjaxError: if there is none in the folder.
        """
        file = self.path / "results.parquet"
        if not file.is_file():
            unfinished = (self.path / "sweep.json").exists()
            what = "its sweep is not finished; run it again with --out" if unfinished else "it holds no sweep"
            raise IdjaxError(f"{self.path}: {what}")
        return _outcome(*_read(file))

    def _shard(self, shard: Shard) -> pathlib.Path:
        return self.path / "shards" / f"{shard.name}.parquet"


def _about(sweep: Sweep) -> dict[str, Any]:
    names = ("name", "title", "question", "data", "settings", "tolerance", "fields")
    return {name: getattr(sweep, name) for name in names}


def _made_by() -> dict[str, str]:
    """The versions and the revision, without the machine: results do not depend on where they were made."""
    return {name: value for name, value in store.provenance().items() if name != "machine"}


def _read(file: pathlib.Path) -> tuple[list[SweepPoint], dict[str, Any]]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise IdjaxError(f"{file}: it cannot be read ({error.strerror}); run the sweep again") from None
    return from_parquet(content, str(file))


def _outcome(points: Sequence[SweepPoint], about: dict[str, Any]) -> SweepOutcome:
    fields = tuple(about["fields"])
    return SweepOutcome(about["name"], about["title"], about["question"], fields, tuple(points))
