"""The driver: computes the shards that are missing, writes each as it is done, and merges them at the end."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence

from idjax.data import BUILTINS
from idjax.settings import Settings
from idjax.sweeps.axes import Gaussian, Point, Sweep
from idjax.sweeps.compute import dataset_of, outcomes_of
from idjax.sweeps.folder import Folder
from idjax.sweeps.outcome import SweepOutcome, SweepPoint
from idjax.sweeps.plan import Shard, cut
from idjax.types import OnProgress, Progress, silent

WAIT = 0.2
"""Seconds between two looks at shards that other processes are working on."""


Compute = Callable[[Iterator[Shard], float], Iterator[tuple[Shard, list[SweepPoint]]]]
"""A place where shards are computed: takes each when something is free for it, and gives it back with its results."""


def here(shards: Iterator[Shard], tolerance: float) -> Iterator[tuple[Shard, list[SweepPoint]]]:
    """Computes shards in this process, one after the other."""
    for shard in shards:
        yield shard, outcomes_of(shard, tolerance)


def run_sweep(
    sweep: Sweep,
    points: Sequence[Point],
    folder: Folder,
    *,
    compute: Compute = here,
    part: tuple[int, int] = (0, 1),
    progress: OnProgress = silent,
) -> SweepOutcome:
    """Computes what is missing in the folder, and returns all of it.

    Results are the same bytes whether the sweep ran through, was killed any number of times, or was shared by several
    processes: every shard is computed by itself, and written whole or not at all.

    Args:
      part: number of this process and of all that share the folder: it begins with shards of its own, and takes on
        those of others, of dead ones too, when it is done with them.

    Raises:
      IdjaxError: if the folder holds another sweep, or cannot be written to. What is finished stays.
    """
    shards = cut(points, _contents(sweep))
    index, count = part
    own_first = [shard for offset in range(count) for shard in shards[(index + offset) % count :: count]]
    folder.begin(sweep, points)

    def tell() -> None:
        done = sum(len(shard.points) for shard in shards if folder.finished(shard))
        progress(Progress(done, len(points), f"{sweep.name}: {done} of {len(points)} points"))

    tell()
    while missing := [shard for shard in own_first if not folder.finished(shard)]:
        computed = False
        for _ in _computed(sweep, missing, folder, compute):
            computed = True
            tell()
        if not computed:
            time.sleep(WAIT)  # others are at all that is missing
    return folder.merge(sweep, shards)


def _computed(sweep: Sweep, missing: Sequence[Shard], folder: Folder, compute: Compute) -> Iterator[Shard]:
    """Claims shards as they are asked for, computes and keeps them."""
    claims: dict[str, contextlib.ExitStack] = {}

    def ours() -> Iterator[Shard]:
        for shard in missing:
            claim = contextlib.ExitStack()
            if claim.enter_context(folder.claim(shard)):
                claims[shard.name] = claim
                yield shard
            else:
                claim.close()

    try:
        for shard, outcomes in compute(ours(), sweep.tolerance):
            folder.keep(sweep, shard, outcomes)
            claims.pop(shard.name).close()
            yield shard
    finally:
        for claim in claims.values():
            claim.close()


def _contents(sweep: Sweep) -> str:
    """A digest of the numbers in a file of data, so that results of other numbers are never taken for these."""
    if isinstance(sweep.data, Gaussian) or sweep.data in BUILTINS:
        return ""
    dataset = dataset_of(sweep.data, Settings(dtype="float64"))
    numbers = (dataset.x,) if dataset.y is None else (dataset.x, dataset.y)
    return hashlib.sha256(b"".join(part.tobytes() for part in numbers)).hexdigest()
