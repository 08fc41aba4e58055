"""Times the pass over rows against one matrix product of them: .npy and Parquet files against x.T @ x in memory.

    python scripts/bench_moments.py [--rounds 5] [--more]

Rounds are interleaved; printed are the medians, the least times and the ratios: the speed of the pass, reading
included, as a share of that of the float64 product, for the moments alone and with the statistics of columns that
diagnosis takes. The goal is half. Parquet is written as pyarrow does by default, with a dictionary of each column's
numbers, and plain. Files are in the cache of the system, as after a first look at them. Where other work
takes the cores, the threads of the product wait for each other and the ratios flatter: look at the load first, or
compare on one core with OPENBLAS_NUM_THREADS=1 taskset -c 0.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars
import pyarrow
import pyarrow.parquet

from idjax.data import stream
from idjax.moments.moments import measure_stream


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def decode(path: Path) -> None:
    """What pyarrow takes to make columns of the file in bounded memory, which bounds any pass over it."""
    with pyarrow.parquet.ParquetFile(path, buffer_size=2**16, pre_buffer=False) as file:
        for _ in file.iter_batches(2**23 // file.metadata.num_columns):
            pass


def decode_by_polars(path: Path) -> None:
    """The same by polars, which takes a row group at a time into memory."""
    for batch in polars.scan_parquet(path).collect_batches(maintain_order=True):
        batch.to_numpy(order="fortran")


def compare(rows: int, columns: int, dtype: str, rounds: int, folder: Path) -> None:
    x = np.random.default_rng(0).normal(1.1090579, 0.0012380764, (rows, columns)).astype(dtype)
    np.save(folder / "x.npy", x)
    table = pyarrow.table({f"c{i}": column for i, column in enumerate(x.T.copy())})
    parquet, plain, npy = folder / "x.parquet", folder / "plain.parquet", folder / "x.npy"
    pyarrow.parquet.write_table(table, parquet)
    pyarrow.parquet.write_table(table, plain, use_dictionary=False)
    del table
    os.sync()  # or the system writes them out on a core that the pass needs
    x = x.astype(np.float64)

    def measured(data: Path | np.ndarray, columns: bool = False) -> None:
        rows = stream(data)
        measure_stream(rows.blocks(as_stored=True, unchecked=True), columns=columns, check=rows.check)

    work: dict[str, Callable[[], object]] = {
        "x.T @ x": lambda: x.T @ x,
        "array": lambda: measured(x),
        ".npy": lambda: measured(npy),
        ".parquet": lambda: measured(parquet),
        "pyarrow alone": lambda: decode(parquet),
        "polars alone": lambda: decode_by_polars(parquet),
        ".parquet, plain": lambda: measured(plain),
        "plain, pyarrow alone": lambda: decode(plain),
        "plain, polars alone": lambda: decode_by_polars(plain),
        ".npy + columns": lambda: measured(npy, columns=True),
        ".parquet + columns": lambda: measured(parquet, columns=True),
    }
    for each in work.values():
        each()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, each in work.items():
            time.sleep(0.2)  # threads of the product before spin for a while, on a core that the next one needs
            times[name].append(timed(each))
    print(f"{rows:,} x {columns} {dtype}, {rounds} interleaved rounds")
    for label, of in (("median", statistics.median), ("least", min)):
        product = of(times["x.T @ x"])
        for name, seconds in times.items():
            ratio = product / of(seconds)
            print(f"{name:>21}  {label} {of(seconds):8.4f} s   speed over the product's = {ratio:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--more", action="store_true", help="500,000 rows and wide ones as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(139_336, 84, "float32", arguments.rounds, Path(folder))
        if arguments.more:
            for dtype in ("float32", "float64"):
                compare(500_000, 84, dtype, arguments.rounds, Path(folder))
            for columns in (200, 400, 784):
                compare(20_000, columns, "float32", arguments.rounds, Path(folder))


if __name__ == "__main__":
    main()
