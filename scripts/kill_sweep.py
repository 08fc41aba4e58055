"""Kills a sweep at random times, again and again, and checks that what it leaves in the end is always the same bytes.

    python scripts/kill_sweep.py [--kills 20] [--seed 0]

A small sweep is run through once. Then it is started on one fresh folder after another and killed with SIGKILL up to
four times on each: a moment after a drawn number of its 12 shards is finished, start-up and merging included. Each
folder is brought to its end afterwards, and its results are held against the first ones. Kills that come too late, when
the process has ended by itself, do not count.
"""

import argparse
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

CONFIG = """
from idjax.axes import Gaussian, Grid, LogGrid, Sweep
from idjax.settings import Settings
sweep = Sweep("kills", "A sweep to kill", "Does it survive?",
    Gaussian(mean=1.0, deviation=0.5, inputs=4, rows=96, exact=True),
    Settings(epochs=4, validation_split=0.0),
    (Grid("batch_size", (8, 16, 32, 96)), Grid("deviation", (0.1, 0.5, 1.0)), LogGrid("learning_rate", 0.001, 0.1, 3)),
    0.5)
"""
KILLS_A_FOLDER = 4
SHARDS = 12


def start(config: pathlib.Path, out: pathlib.Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "idjax.cli", "sweep", str(config), "--out", str(out), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def results(config: pathlib.Path, out: pathlib.Path) -> bytes:
    process = start(config, out)
    _, err = process.communicate()
    if process.returncode not in (0, 1):
        sys.exit(f"the sweep failed: {err.decode()}")
    return (out / "results.parquet").read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draws = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        top = pathlib.Path(folder)
        config = top / "config.py"
        config.write_text(CONFIG)
        expected = results(config, top / "through")
        kills = 0
        while kills < arguments.kills:
            out = top / f"killed-{kills}"

            def kept(out: pathlib.Path = out) -> int:
                return len(list((out / "shards").glob("*.parquet")))

            for _ in range(min(KILLS_A_FOLDER, arguments.kills - kills)):
                landed = kill(start(config, out), kept, draws)
                kills += landed
                print(f"kill {kills}: {kept()} of {SHARDS} shards kept" if landed else "too late", flush=True)
            if results(config, out) != expected:
                sys.exit(f"after kill {kills} the results are not the same bytes")
        print(f"{kills} kills: the same {len(expected):,} bytes every time")


def kill(process: subprocess.Popen, kept: Callable[[], int], draws: np.random.Generator) -> bool:
    """Kills the process after a drawn number of shards and a moment; whether it was still running."""
    wanted = int(draws.integers(kept(), SHARDS, endpoint=True))
    while process.poll() is None and kept() < wanted:
        time.sleep(0.005)
    time.sleep(float(draws.uniform(0, 0.3 if wanted else 4.0)))
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return running


if __name__ == "__main__":
    main()
