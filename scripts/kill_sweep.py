"""Kills a sweep, and a training, at random times, and checks that what they come to in the end is always the same.

    python scripts/kill_sweep.py [--kills 20] [--seed 0] [--only sweep|training]

Each is run through once. Then it is started on one fresh folder after another and killed with SIGKILL up to four
times on each: a moment after a drawn number of shards, or checkpoints, is there, start-up and the end included. Each
folder is brought to its end afterwards, and its results are held against the first ones. Kills that come too late, when
the process has ended by itself, do not count. The revision is part of the results: leave the checkout alone meanwhile.
"""

import argparse
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

CONFIG = """
from idjax.sweeps.axes import Gaussian, Grid, LogGrid, Sweep
from idjax.settings import Settings
sweep = Sweep("kills", "A sweep to kill", "Does it survive?",
    Gaussian(mean=1.0, deviation=0.5, inputs=4, rows=96, exact=True),
    Settings(epochs=4, validation_split=0.0),
    (Grid("batch_size", (8, 16, 32, 96)), Grid("deviation", (0.1, 0.5, 1.0)), LogGrid("learning_rate", 0.001, 0.1, 3)),
    0.5)
"""
KILLS_A_FOLDER = 4


class Task(NamedTuple):
    """What is killed: its command, how far a folder has come of how far, and what it comes to."""

    words: list[str]
    came: Callable[[pathlib.Path], int]
    length: int
    results: Callable[[pathlib.Path], bytes]

    def start(self, out: pathlib.Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "idjax.cli", *self.words, "--out", str(out), "--quiet"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def run(self, out: pathlib.Path) -> bytes:
        process = self.start(out)
        _, err = process.communicate()
        if process.returncode not in (0, 1):
            sys.exit(f"{self.words[0]} failed: {err.decode()}")
        return self.results(out)


def sweep(folder: pathlib.Path) -> Task:
    (folder / "config.py").write_text(CONFIG)
    return Task(
        ["sweep", str(folder / "config.py")],
        lambda out: len(list((out / "shards").glob("*.parquet"))),
        12,
        lambda out: (out / "results.parquet").read_bytes(),
    )


def training(folder: pathlib.Path) -> Task:
    np.save(folder / "x.npy", np.random.default_rng(0).normal(1, 0.5, (1000, 8)).astype(np.float32))
    words = f"train {folder / 'x.npy'} --epochs 3000 --batch-size 100 --optimizer adagrad --resume --checkpoint-every 0"

    def came(out: pathlib.Path) -> int:
        steps = [int(entry.name) for entry in (out / "checkpoint").glob("*") if entry.name.isdigit()]
        return max(steps, default=0) * 20 // 3000

    def results(out: pathlib.Path) -> bytes:
        measured = json.loads((out / "training.json").read_text())["measured"]
        del measured["seconds"]
        return json.dumps(measured).encode() + (out / "weights.msgpack").read_bytes()

    return Task(words.split(), came, 20, results)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("sweep", "training"))
    arguments = parser.parse_args()
    for name, make in (("sweep", sweep), ("training", training)):
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                check(name, make(pathlib.Path(folder)), pathlib.Path(folder), arguments.kills, arguments.seed)


def check(name: str, task: Task, folder: pathlib.Path, wanted: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    expected = task.run(folder / "through")
    kills = 0
    while kills < wanted:
        out = folder / f"killed-{kills}"
        for _ in range(min(KILLS_A_FOLDER, wanted - kills)):
            landed = kill(task, out, draws)
            kills += landed
            what = f"at {task.came(out)} of {task.length}" if landed else "too late"
            print(f"{name}, kill {kills}: {what}", flush=True)
        if task.run(out) != expected:
            sys.exit(f"{name}: after kill {kills} the results are not the same bytes")
    print(f"{name}: {kills} kills, the same {len(expected):,} bytes every time", flush=True)


def kill(task: Task, out: pathlib.Path, draws: np.random.Generator) -> bool:
    """Starts the task and kills it when it has come to a drawn place and a moment; whether it was still running."""
    wanted = int(draws.integers(task.came(out), task.length, endpoint=True))
    process = task.start(out)
    while process.poll() is None and task.came(out) < wanted:
        time.sleep(0.005)
    time.sleep(float(draws.uniform(0, 0.3 if wanted else 4.0)))
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return running


if __name__ == "__main__":
    main()
