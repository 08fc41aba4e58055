"""Holds `predict` against `train` for Adam at 60 random settings on inputs dominated by their mean, prints the table.

    python scripts/adam_points.py [--first 0] [--count 60]

For each setting: the epochs (of 500 updates) that were trained, the loss at their start and end, and the relative
error of the predicted epoch losses: median, worst, and the standard error of the trained ones, where there are several
draws of the rows. Settings, data and bars are those of tests/adam_trainings.py.
"""

import argparse
import importlib
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=60)
    arguments = parser.parse_args()
    trainings = importlib.import_module("adam_trainings")
    found, begin = [], time.perf_counter()
    for index, point in enumerate(trainings.draw_points()[arguments.first :][: arguments.count], arguments.first):
        curve, losses = trainings.predicted(point), trainings.trained(point)
        error = trainings.errors(point, curve)
        found.append(error)
        noise = "  –  "
        if len(losses) > 1:
            noise = f"{np.median(losses.std(axis=0, ddof=1) / losses.mean(axis=0)) / np.sqrt(len(losses)):5.2%}"
        mean = losses.mean(axis=0)
        print(
            f"{index:2d}  {point.describe()}  {len(error):2d} epochs  {mean[0]:.1e} to {mean[-1]:.1e}  "
            f"median {np.median(error):6.2%}  worst {np.max(error):6.2%}  se {noise}",
            flush=True,
        )
    inside = [error for error in found if np.isfinite(error).all()]
    epochs = np.concatenate(inside)
    print(
        f"{len(inside)} of {len(found)} covered: median error {np.median(epochs):.2%}, worst {np.max(epochs):.2%}; "
        f"the bars {'hold' if trainings.holds(found) else 'DO NOT HOLD'} ({time.perf_counter() - begin:.0f} s)"
    )


if __name__ == "__main__":
    main()
