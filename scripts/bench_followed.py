"""Times predictions of runs that no theory has, first and again, beside the training that they come before.

    python scripts/bench_followed.py [--only CASE]

Every case has a process of its own that has imported JAX, Flax and optax, and no cache of compiled programs. The aim is
a prediction within 5 s, or a tenth of the training.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

AUTOENCODER = {"hidden": (64, 8, 64), "hidden_activation": "relu", "optimizer": "adam"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mae": ("published", {"loss": "mae"}),
    "Adagrad": ("published", {"optimizer": "adagrad", "learning_rate": 0.05}),
    "RMSprop": ("published", {"optimizer": "rmsprop"}),
    "sigmoid": ("published", {"activation": "sigmoid"}),
    "64-8-64 ReLU, Adam": ("published", AUTOENCODER),
    "L1 penalty": ("published", {"activity_l1": 1e-3}),
    "digits 64-8-64 ReLU, Adam": ("digits", AUTOENCODER),
    "wine, mae, 500 epochs": ("wine", {"loss": "mae", "epochs": 500}),
    "zero mean, Adam 1e-2, batch 4": ("normal", {"optimizer": "adam", "learning_rate": 1e-2, "batch_size": 4}),
}
"""Data, and settings that differ from the defaults."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--alone", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(_timed(*CASES[arguments.alone]))
        return
    print("| run | predict, s | again | training | import |\n|---|---|---|---|---|")
    for name in [arguments.only] if arguments.only else CASES:
        command = [sys.executable, __file__, "--alone", name]
        done = subprocess.run(command, env={**os.environ, "IDJAX_CACHE": "off"}, check=True, stdout=subprocess.PIPE)
        print(f"| {name} | {done.stdout.decode().strip()} |", flush=True)


def _timed(data: str, changes: dict[str, Any]) -> str:
    def imports() -> object:
        return [__import__(name) for name in ("jax", "flax", "optax")]

    imported = _seconds(imports)
    import idjax

    x, settings = _rows(data), idjax.Settings(**changes)
    first, again = (_seconds(lambda: idjax.predict(x, settings)) for _ in range(2))
    trained = _seconds(lambda: idjax.train(x, settings))
    return " | ".join(f"{seconds:.1f}" for seconds in (first, again, trained, imported))


def _rows(data: str) -> np.ndarray:
    import sklearn.datasets

    import idjax

    if data == "published":
        return np.asarray(idjax.load("narrow-normal").x)
    if data == "normal":
        return np.random.default_rng(0).normal(size=(20000, 30)).astype(np.float32)
    if data == "digits":
        return np.asarray(sklearn.datasets.load_digits(return_X_y=True)[0], np.float32) / 16
    wine = np.asarray(sklearn.datasets.load_wine(return_X_y=True)[0])
    return ((wine - wine.mean(axis=0)) / wine.std(axis=0)).astype(np.float32)


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
