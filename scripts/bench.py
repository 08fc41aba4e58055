"""Times training against its peers and against the machine: the table of docs/benchmarks.md.

    python scripts/bench.py [--rounds 5] [--only epoch command sweep many]

    epoch  one epoch of the published failing run (97,535 rows of 84, batch 8, shuffle included), alone
    command  the same epoch of `idjax train` with all that it does: 60 epochs less 10, over 50
    sweep  the same epoch for 64 learning rates, for each of them, and the machine's rate on a large product
    many   `train_many` from 64 to 1,024 learning rates: time for each, and the memory

Peers are the plain Flax loop `for batch: state = jitted_step(state, batch)` in this process, and each in a process of
its own Keras 3 on JAX, Keras 3 on TensorFlow and a PyTorch loop; `pip install idjax[bench]` brings them, and one that
is not installed is left out by name. Rounds are interleaved; printed are medians of the ratios of each round, which
mean more than the seconds: machines are noisy. The seconds of the cores at work, and their ratio, are hardly touched
by what else runs on the machine.
"""

import argparse
import dataclasses
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import idjax
from idjax.data import keras_split
from idjax.nn.descent import Descent
from idjax.settings import Settings
from idjax.training.block_sgd import ROWS_IN_A_BLOCK
from idjax.training.many import MOST_COLUMNS, THREADS, most_runs
from idjax.training.train import prepare

RATE = 0.01
SETTINGS = Settings(learning_rate=RATE, batch_size=8, epochs=200, validation_split=0.0)
SWEEP = 64

KERAS = """
import sys, time
import keras, numpy as np
x = np.load(sys.argv[1])
model = keras.Sequential([keras.Input((x.shape[1],)), keras.layers.Dense(x.shape[1])])
model.compile(keras.optimizers.SGD(0.01), "mse")
def epoch(rows):
    model.fit(rows, rows, batch_size=8, epochs=1, verbose=0)
"""

PYTORCH = """
import sys, time
import numpy as np, torch
x = torch.from_numpy(np.load(sys.argv[1]))
model = torch.nn.Linear(x.shape[1], x.shape[1])
optimizer = torch.optim.SGD(model.parameters(), 0.01)
def epoch(rows):
    order = torch.randperm(len(rows))
    for i in range(0, len(rows), 8):
        batch = rows[order[i : i + 8]]
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(batch), batch).backward()
        optimizer.step()
"""

SERVE = """
epoch(x[:4000])
print("ready", flush=True)
for line in sys.stdin:
    wall, work = time.perf_counter(), time.process_time()
    epoch(x)
    print(time.perf_counter() - wall, time.process_time() - work, flush=True)
"""

PEERS = {
    "Keras on JAX": (("keras",), KERAS, "jax"),
    "Keras on TensorFlow": (("keras", "tensorflow"), KERAS, "tensorflow"),
    "PyTorch loop": (("torch",), PYTORCH, ""),
}
"""Name: packages, program, backend of Keras."""


Timed = Callable[[], np.ndarray]
"""Does something once; returns the seconds on the wall, and those of all cores together."""


def clock(whose: int = resource.RUSAGE_SELF) -> np.ndarray:
    """Seconds on the wall, and those of all cores at work for this process or for its children that have ended."""
    used = resource.getrusage(whose)
    return np.array([time.perf_counter(), used.ru_utime + used.ru_stime])


class Peer:
    """A program in a process of its own; called, it times an epoch there."""

    def __init__(self, program: str, backend: str, path: str):
        self.process = subprocess.Popen(
            [sys.executable, "-c", program + SERVE, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        if self._read() != "ready":
            raise SystemExit("bench: a peer did not start; uninstall it or pass --only sweep many")

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __call__(self) -> np.ndarray:
        assert self.process.stdin is not None
        self.process.stdin.write("epoch\n")
        self.process.stdin.flush()
        return np.array(self._read().split(), float)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def idjax_epoch(x: np.ndarray, solver: str, rates: np.ndarray) -> Timed:
    """An epoch of `train` or `train_many` as they run it, the shuffle drawn on the host, nothing judged."""
    dataset = idjax.Dataset(x, None, (), (), "x")
    prepared = prepare(dataset, dataclasses.replace(SETTINGS, solver=solver), len(rates))
    runs = [dataclasses.replace(SETTINGS, learning_rate=float(rate)) for rate in rates]
    width = most_runs(prepared)
    stacks = [Descent(prepared, runs[i : i + width]) for i in range(0, len(runs), width)]
    pool = ThreadPoolExecutor(THREADS)

    def epoch() -> np.ndarray:
        begin = clock()
        list(pool.map(lambda stack: stack.epochs(1, judged=False), stacks))
        return clock() - begin

    return epoch


def plain_epoch(x: np.ndarray) -> Timed:
    """What most people write first: a Python loop over a jitted step."""
    model = nn.Dense(x.shape[1], precision="highest")
    optimizer = optax.sgd(RATE)
    params = model.init(jax.random.key(0), jnp.asarray(x[:1]))
    state = (params, optimizer.init(params))
    shuffle = np.random.default_rng(0)

    @jax.jit
    def step(state, batch):
        params, moments = state
        loss, gradient = jax.value_and_grad(lambda p: jnp.mean((model.apply(p, batch) - batch) ** 2))(params)
        updates, moments = optimizer.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), loss

    def epoch() -> np.ndarray:
        nonlocal state
        begin = clock()
        order = shuffle.permutation(len(x))
        for i in range(0, len(x), 8):
            state, _ = step(state, x[order[i : i + 8]])
        jax.block_until_ready(state)
        return clock() - begin

    return epoch


def large_product(size: int = 3072) -> Timed:
    """Seconds of a square float32 product."""
    a = jnp.ones((size, size))
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))

    def timed() -> np.ndarray:
        begin = clock()
        product(a).block_until_ready()
        return clock() - begin

    return timed


def interleaved(timed: dict[str, Timed], rounds: int) -> dict[str, np.ndarray]:
    """The seconds of each, (2, rounds), by rounds of all; a first round, which compiles, is not counted."""
    times = [[each() for each in timed.values()] for _ in range(rounds + 1)][1:]
    return dict(zip(timed, np.array(times).transpose(1, 2, 0), strict=True))


def lines(times: dict[str, np.ndarray], ours: np.ndarray) -> None:
    print(f"{'':>28}  {'wall':>8} {'ratio':>8} {'from':>8} {'to':>8}   {'cores':>8} {'ratio':>8}")
    for name, (wall, work) in times.items():
        ratio, ratio_of_work = wall / ours[0], np.median(work / ours[1])
        print(
            f"{name:>28}  {np.median(wall):8.4f} {np.median(ratio):8.2f} {ratio.min():8.2f} {ratio.max():8.2f}"
            f"   {np.median(work):8.4f} {ratio_of_work:8.2f}"
        )


def bench_epoch(x: np.ndarray, rounds: int) -> None:
    one = np.array([RATE])
    timed: dict[str, Timed] = {
        "idjax": idjax_epoch(x, "auto", one),
        "idjax, --solver steps": idjax_epoch(x, "steps", one),
        "plain Flax loop": plain_epoch(x),
    }
    peers = []
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, x)
        file.flush()
        for name, (packages, program, backend) in PEERS.items():
            missing = [package for package in packages if importlib.util.find_spec(package) is None]
            if missing:
                print(f"left out: {name} ({' and '.join(missing)} not installed)")
            else:
                peers.append(Peer(program, backend, file.name))
                timed[name] = peers[-1]
        try:
            times = interleaved(timed, rounds)
        finally:
            for peer in peers:
                peer.close()
    print(f"one epoch of one run, {len(x):,} x {x.shape[1]}, batch 8; medians of {rounds} interleaved rounds")
    lines(times, times["idjax"])


def command_epoch() -> np.ndarray:
    """An epoch of the command, without its start: losses on the held-out rows and the progress bar included."""

    def run(epochs: int) -> np.ndarray:
        words = [
            sys.executable,
            "-m",
            "idjax.cli",
            "train",
            "narrow-normal",
            "--batch-size",
            "8",
            "--epochs",
            str(epochs),
        ]
        begin = clock(resource.RUSAGE_CHILDREN)
        subprocess.run(words, check=True, capture_output=True)
        return clock(resource.RUSAGE_CHILDREN) - begin

    return (run(60) - run(10)) / 50


def bench_command(x: np.ndarray, rounds: int) -> None:
    times = interleaved({"idjax train": command_epoch, "plain Flax loop": plain_epoch(x)}, rounds)
    print(f"one epoch of the command, (60 epochs - 10) / 50; medians of {rounds} interleaved rounds")
    lines(times, times["idjax train"])


def bench_sweep(x: np.ndarray, rounds: int) -> None:
    rates = np.geomspace(1e-4, 0.02, SWEEP)
    size = 3072
    timed = {
        "idjax, each of 64": idjax_epoch(x, "auto", rates),
        "idjax, alone": idjax_epoch(x, "auto", rates[-1:]),
        "plain Flax loop": plain_epoch(x),
        "product": large_product(size),
    }
    times = interleaved(timed, rounds)
    seconds = times.pop("product")
    times["idjax, each of 64"] = ours = times["idjax, each of 64"] / SWEEP
    print(f"one epoch for each of {SWEEP} learning rates; medians of {rounds} interleaved rounds")
    lines(times, ours)
    # SGD reads each row once forward and once for the gradient: 2 n q each; a block of m rows adds G and its triangle.
    n, q, m, width = x.shape[1] + 1, x.shape[1], ROWS_IN_A_BLOCK, MOST_COLUMNS // x.shape[1]
    needed = 4.0 * n * q * len(x)
    added = len(x) * ((m - 8.0) * q + 2.0 * n * m / width)
    machine = 2.0 * size**3 / seconds
    print(f"machine on a {size} x {size} float32 product: {rates_of(machine)}")
    for what, flops in (("that SGD needs", needed), ("with those that blocks add", needed + added)):
        share = np.median(machine / (flops / ours), axis=1)
        print(
            f"products {what}: {rates_of(flops / ours)}; "
            f"the machine is {share[0]:.2f} times faster, {share[1]:.2f} for each core"
        )


def rates_of(flops: np.ndarray) -> str:
    wall, core = np.median(flops, axis=1) / 1e9
    return f"{wall:.0f} GFlop/s, {core:.0f} for each core at work"


def bench_many(x: np.ndarray, rounds: int) -> None:
    """An epoch each, by `train_many`: all that it does, with losses and metrics on the validation rows."""
    del x, rounds
    dataset = idjax.load("narrow-normal")
    for count in (16, 64, 256, 1024):
        runs = [
            dataclasses.replace(SETTINGS, learning_rate=float(rate), epochs=1, validation_split=0.3)
            for rate in np.geomspace(1e-4, 0.02, count)
        ]
        begin = clock()
        idjax.train_many(dataset, runs)
        wall, work = clock() - begin
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"train_many, {count:5} runs of 1 epoch: {1e3 * wall / count:6.1f} ms on the wall and "
            f"{1e3 * work / count:6.1f} ms of the cores for each{', compilation included' if count == 16 else ''}; "
            f"most memory so far {memory:.2f} GiB"
        )


BENCHES = {"epoch": bench_epoch, "command": bench_command, "sweep": bench_sweep, "many": bench_many}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=list(BENCHES))
    arguments = parser.parse_args()
    data = idjax.load("narrow-normal").x
    x = data[: keras_split(len(data), 0.3)]
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f} before the start")
    for name in arguments.only:
        BENCHES[name](x, arguments.rounds)


if __name__ == "__main__":
    main()
