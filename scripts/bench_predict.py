"""Times the prediction of 200 epochs of the published failing set, moments in hand, beside its training.

    python scripts/bench_predict.py [--epochs 200] [--trained-epochs 5]

For SGD, momentum and Adam: the curve alone (every epoch's losses), with the time to learn, which lies far beyond the
run, with what the data allow too (learning rates, groups of modes), and the training of as many epochs, extrapolated
from a few. The first call of each, which compiles, is not counted; times are the least of five. The ratio is training
over the curve alone.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable

import idjax
from idjax.data import keras_split
from idjax.moments.moments import measure
from idjax.prediction.predict import predict_run, run_spec


def least(call: Callable[[], object], times: int = 5) -> float:
    call()
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--trained-epochs", type=int, default=5)
    arguments = parser.parse_args()
    data = idjax.load("narrow-normal")
    base = idjax.Settings(batch_size=8, epochs=arguments.epochs)
    rows = keras_split(len(data.x), base.validation_split)
    train, validation = measure(data.x[:rows]), measure(data.x[rows:])
    print(f"{'':<12}{'curve, s':>12}{'with time':>14}{'with details':>14}{'training, s':>13}{'ratio':>12}")
    for name, changes in {
        "sgd": {"learning_rate": 0.01},
        "momentum": {"learning_rate": 0.01, "momentum": 0.9},
        "adam": {"optimizer": "adam"},
    }.items():
        settings = dataclasses.replace(base, **changes)

        def curve(details: bool, beyond: bool = True, settings: idjax.Settings = settings) -> object:
            return predict_run(run_spec(train, validation, settings)._replace(beyond=beyond), details=details)

        short = dataclasses.replace(settings, epochs=arguments.trained_epochs)
        idjax.train(data, short)
        trained = idjax.train(data, short).seconds * arguments.epochs / arguments.trained_epochs
        alone, timed = least(lambda: curve(False, beyond=False)), least(lambda: curve(False))
        whole = least(lambda: curve(True))
        print(f"{name:<12}{alone:>12.4f}{timed:>14.4f}{whole:>14.3f}{trained:>13.1f}{trained / alone:>12,.0f}")


if __name__ == "__main__":
    main()
