"""Times a diagnosis of wide data against eigendecompositions of their size, and the prediction of a file.

    python scripts/bench_wide.py [--quick] [--columns 30 96 ...] [--predict 4096] [--threads 1]

A line for each width: CPU seconds of `idjax.diagnose` of 20,000 float32 rows whose scales fall from 1 to 0.03 around a
mean of 1, once as an autoencoder and once to 10 outputs; of one float64 `np.linalg.eigh` of that width (the median of
three before and three after, on as many threads, in the same process); their ratio; and the most memory that the
process held. Then the exponent of the CPU seconds in the number of columns, fitted over the widest half. Each width is
a process of its own, for memory is counted for a process. --predict also writes 100,000 rows of so many columns to a
file and predicts them.
CPU seconds are those of all threads; other work on the machine raises them by a fifth and more: the load is printed.
"""

import argparse
import json
import os
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WIDTHS = (30, 96, 192, 384, 768, 1536, 3072, 4096)
QUICK = (96, 192, 384)
ROWS = 20_000
FILE_ROWS = 100_000


def rows_of(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Rows around a mean of 1, scales falling from 1 to 0.03."""
    rng, scales = np.random.default_rng(seed), np.geomspace(1, 0.03, columns)
    x = np.empty((rows, columns), np.float32)
    for first in range(0, rows, 1000):
        x[first : first + 1000] = rng.normal(size=(len(x[first : first + 1000]), columns)) * scales + 1
    return x


def three_eigh(columns: int) -> list[float]:
    """CPU seconds of three float64 eigendecompositions."""
    a = np.random.default_rng(0).normal(size=(columns, columns))
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        np.linalg.eigh(a + a.T)
        seconds.append(time.process_time() - begin)
    return seconds


def measure(columns: int, outputs: int) -> dict[str, float]:
    """CPU seconds of one diagnosis and of one eigendecomposition, and GiB at most."""
    import idjax

    eigh, x = three_eigh(columns), rows_of(ROWS, columns)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(columns, outputs)) / np.sqrt(columns)
    target = (x @ weights + 0.1 * rng.normal(size=(ROWS, outputs))).astype(np.float32) if outputs else None
    begin, wall = time.process_time(), time.perf_counter()
    idjax.diagnose(x, target=target)
    took = {"cpu": time.process_time() - begin, "wall": time.perf_counter() - wall, "gib": memory()}
    return took | {"eigh": statistics.median(eigh + three_eigh(columns))}


def predict(path: str) -> dict[str, float]:
    """Seconds of the prediction of a file, and GiB at most."""
    sys.argv = ["idjax", "predict", path, "--epochs", "10", "--batch-size", "256", "--learning-rate", "0.001"]
    begin, wall = time.process_time(), time.perf_counter()
    try:
        runpy.run_module("idjax.cli", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    return {"cpu": time.process_time() - begin, "wall": time.perf_counter() - wall, "gib": memory()}


def memory() -> float:
    """The most that this process has held, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_a_process(threads: int, *arguments: str) -> dict[str, float]:
    """What `--one` or `--file` measures, by itself."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, *arguments]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def table(widths: list[int], outputs: int, threads: int) -> None:
    """A line for each width, and the exponent."""
    print(f"\ndiagnose, {ROWS:,} rows to {outputs or 'themselves'}")
    print("columns   CPU s   wall s   eigh s   ratio   GiB   load", flush=True)
    seconds = []
    for columns in widths:
        got = in_a_process(threads, "--one", str(columns), str(outputs))
        seconds.append(got["cpu"])
        print(
            f"{columns:7} {got['cpu']:7.1f} {got['wall']:8.1f} {got['eigh']:8.3f} {got['cpu'] / got['eigh']:7.0f} "
            f"{got['gib']:5.2f} {os.getloadavg()[0]:6.1f}",
            flush=True,
        )
    half = len(widths) // 2
    if len(widths) - half > 1:
        exponent = np.polyfit(np.log(widths[half:]), np.log(seconds[half:]), 1)[0]
        print(f"CPU seconds grow as columns^{exponent:.2f} from {widths[half]} columns on")


def table_of_file(columns: int, threads: int) -> None:
    """The prediction of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wide.npy"
        file = np.lib.format.open_memmap(path, "w+", np.float32, (FILE_ROWS, columns))
        for first in range(0, FILE_ROWS, 1000):
            file[first : first + 1000] = rows_of(1000, columns, first)
        file.flush()
        del file
        got = in_a_process(threads, "--file", str(path))
    print(f"\npredict, {FILE_ROWS:,} x {columns:,} float32 .npy: ", end="")
    print(f"{got['wall']:.0f} s, {got['cpu']:.0f} CPU s, {got['gib']:.2f} GiB, load {os.getloadavg()[0]:.1f}")


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three narrow sizes")
    parser.add_argument("--columns", type=int, nargs="+", default=list(WIDTHS))
    parser.add_argument("--outputs", type=int, nargs="+", default=[0, 10], help="0 for an autoencoder")
    parser.add_argument("--predict", type=int, help="columns of a file to predict")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(*asked.one)))
    elif asked.file:
        print(json.dumps(predict(asked.file)))
    else:
        for outputs in asked.outputs:
            table(list(QUICK) if asked.quick else asked.columns, outputs, asked.threads)
        if asked.predict:
            table_of_file(asked.predict, asked.threads)


if __name__ == "__main__":
    run()
