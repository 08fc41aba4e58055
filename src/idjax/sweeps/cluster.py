"""More machines: shards of a sweep, and the moments of data in many files, as tasks of a dask cluster.

A worker that dies loses what it was at, and the scheduler gives that to another one. Results come back in any order
and are written by the driver alone; moments are merged in the order of the files. So both are the same bytes with any
number of workers of one kind.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

from idjax.data import stream
from idjax.data.errors import import_extra
from idjax.moments.moments import measure_stream, merge
from idjax.sweeps.compute import outcomes_of
from idjax.sweeps.outcome import SweepPoint
from idjax.sweeps.plan import Shard
from idjax.sweeps.run import Compute
from idjax.types import IdjaxError, Moments

TIMEOUT = 10
"""Seconds in which a scheduler must answer."""
AHEAD = 2
"""Shards that wait at each thread of the workers, so that none runs dry."""

_distributed = functools.partial(import_extra, "distributed", "--cluster", "cluster", "it needs")


def on_cluster(address: str) -> Compute:
    """Computes shards on the workers of the scheduler at this address, such as tcp://10.0.0.1:8786."""

    def compute(shards: Iterator[Shard], tolerance: float) -> Iterator[tuple[Shard, list[SweepPoint]]]:
        with _client(address) as client:
            done = _distributed().as_completed(loop=client.loop)
            at: dict[str, Shard] = {}

            def submit() -> bool:
                shard = next(shards, None)
                if shard is None:
                    return False
                at[shard.name] = shard
                done.add(client.submit(outcomes_of, shard, tolerance, key=shard.name, retries=3))
                return True

            wanted = AHEAD * max(1, sum(client.nthreads().values()))
            while len(at) < wanted and submit():
                pass
            for future in done:
                yield at.pop(future.key), _result(future)
                submit()

    return compute


def moments_on_cluster(address: str, files: Sequence[str], target: str | None = None) -> Moments:
    """Moments of the rows of many files together, each read by a worker; all must see the files at the same paths.

    Raises:
      IdjaxError: if no scheduler answers or a file is bad, as `data.stream` says it.
    """
    if not files:
        raise IdjaxError("there are no files to measure: give at least 1")
    with _client(address) as client:
        parts = client.map(functools.partial(_moments_of_file, target=target), files, pure=False, retries=3)
        return functools.reduce(merge, map(_result, parts))


def _moments_of_file(file: str, target: str | None) -> Moments:
    rows = stream(file, target)
    blocks = rows.blocks(as_stored=True, unchecked=True)
    return measure_stream(blocks, columns=False, check=rows.check).moments.raw


def _result(future: Any) -> Any:
    try:
        return future.result()
    except _distributed().KilledWorker as error:
        raise IdjaxError(
            f"--cluster: workers died one after the other at {future.key}, of too little memory perhaps; "
            "what is finished is kept"
        ) from error


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        client = _distributed().Client(address, timeout=TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise IdjaxError(
            f"--cluster {address}: no scheduler answers there; start one with `dask scheduler`, and give its address"
        ) from error
    with client:
        yield client
