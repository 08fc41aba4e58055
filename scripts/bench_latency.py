"""Times commands from a cold start, in units of importing JAX, Flax and optax, and second calls in one process.

    python scripts/bench_latency.py [--rounds 5] [--processor]

1,000 rows of 10 columns from a CSV file, and two small programs. Every round times each command once, with an empty
cache of compiled programs and with a filled one, and the import between them: ratios are of medians in one run.
--processor takes the seconds of the processor, user and system, in place of the clock's, for a machine that is busy.
"""

import argparse
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

import idjax

IMPORT = [sys.executable, "-c", "import jax, flax, optax"]
COMMANDS = {
    "predict": (2.5, "predict healthy.csv"),
    "predict, Adam": (4, "predict healthy.csv --optimizer adam"),
    "train": (5, "train healthy.csv"),
    "diagnose, healthy": (3, "diagnose healthy.csv --learning-rate 0.5 --epochs 100"),
    "diagnose, findings": (5, "diagnose findings.csv"),
    "diagnose --prove": (9, "diagnose findings.csv --prove"),
    "diagnose --program, MLP": (5, "diagnose --program programs:mlp"),
    "diagnose --program, LSTM": (5, "diagnose --program programs:lstm"),
}
"""The most that each may take, in imports, and what follows `idjax`."""
CACHES = "empty", "filled", "alone"
"""With a cache of compiled programs that is empty or filled; and a program that makes its parameters, alone."""
PROGRAMS = """
import jax, jax.numpy as jnp, numpy as np
from flax import linen as nn

class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.relu(nn.Dense(32)(x)))

class LSTM(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.RNN(nn.OptimizedLSTMCell(32))(x)[:, -1])

def of(model, x):
    y = jnp.sin(x.reshape(len(x), -1)[:, :1])
    return lambda params, x, y: jnp.mean((model.apply(params, x) - y) ** 2), model.init(jax.random.key(0), x), x, y

mlp = lambda: of(MLP(), np.random.default_rng(0).normal(size=(256, 10)).astype(np.float32))
lstm = lambda: of(LSTM(), np.random.default_rng(0).normal(size=(256, 10, 4)).astype(np.float32))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processor", action="store_true")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = np.random.default_rng(0).normal(size=(1000, 10))
        np.savetxt(pathlib.Path(folder, "healthy.csv"), rows, delimiter=",")
        np.savetxt(pathlib.Path(folder, "findings.csv"), rows + 5, delimiter=",")
        pathlib.Path(folder, "programs.py").write_text(PROGRAMS)
        took = _cold(folder, arguments.rounds, _processor if arguments.processor else time.perf_counter)
    unit = statistics.median(took["import"])
    print(f"import of jax, flax and optax {unit:.2f} s; load at the start {load:.1f} on {os.cpu_count()} cores\n")
    print("| command | cache empty | filled | the program alone | at most |\n|---|---|---|---|---|")
    for name, (most, _) in COMMANDS.items():
        units = {cache: statistics.median(took.get(f"{name}, {cache}", [0.0])) / unit for cache in CACHES}
        alone = f"{units['alone']:.2f}" if units["alone"] else "–"
        print(f"| {name} | {units['empty']:.2f} | {units['filled']:.2f} | {alone} | {most} |")
    print("\n| second call, other data | ms | at most |\n|---|---|---|")
    for name, most, call in (
        ("predict", 30, lambda x: idjax.predict(x)),
        ("diagnose, healthy", 300, lambda x: idjax.diagnose(x, idjax.DiagnosisSettings(learning_rate=0.5, epochs=100))),
        ("diagnose, findings", 300, lambda x: idjax.diagnose(x + 5)),
    ):
        print(f"| {name} | {1e3 * _warm(call, arguments.rounds):.0f} | {most} |")


def _cold(folder: str, rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of the import and of every command in fresh processes, the cache empty and filled, interleaved."""
    took: dict[str, list[float]] = {"import": []}
    without = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    environment = {name: value for name, value in os.environ.items() if name not in without}
    environment["IDJAX_CACHE"] = str(pathlib.Path(folder, "cache"))

    def timed(name: str, command: list[str]) -> None:
        begin = clock()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        took.setdefault(name, []).append(clock() - begin)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")

    for _ in range(rounds):
        for name, (_, arguments) in COMMANDS.items():
            timed("import", IMPORT)
            shutil.rmtree(environment["IDJAX_CACHE"], ignore_errors=True)
            for cache in ("empty", "filled"):
                timed(f"{name}, {cache}", [sys.executable, "-m", "idjax.cli", *arguments.split()])
            module, _, factory = arguments.partition("--program ")[2].partition(":")
            if factory:
                timed(f"{name}, alone", [sys.executable, "-c", f"import {module}; {module}.{factory}()"])
    return took


def _processor() -> float:
    """Seconds of the processor that ended processes took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _warm(call: Callable[[np.ndarray], object], rounds: int) -> float:
    """The median seconds of a call on rows that were not seen before, after one on others of the same shape."""
    draws = np.random.default_rng(1)
    call(draws.normal(size=(1000, 10)))
    took = []
    for _ in range(max(rounds, 5)):
        rows = draws.normal(size=(1000, 10))
        begin = time.perf_counter()
        call(rows)
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


if __name__ == "__main__":
    main()
