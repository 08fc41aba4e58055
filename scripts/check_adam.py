"""Holds the theory of Adam against simulation on all random problems, and prints the table.

    python scripts/check_adam.py [--first 0] [--count 50]

For each problem: the steps simulated (99% of the fall), the mean relative error along the curve, the largest beyond
two standard errors of the simulation, and the verdict of the range check. Problems, simulation and criterion are those
of tests/theory/test_adam.py.
"""

import argparse
import importlib
import pathlib
import sys
import time

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "theory"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=50)
    arguments = parser.parse_args()
    checks = importlib.import_module("test_adam")
    inside = []
    for seed in range(arguments.first, arguments.first + arguments.count):
        begin = time.perf_counter()
        with jax.enable_x64(True):
            problem, steps, _, _, verdict = checks.simulated(seed)
            mean, worst = checks.differences(seed)
        if verdict is None:
            inside.append((mean, worst))
        print(
            f"{seed:2d}  {problem.describe()}  steps {steps[-1] + 1:5d}  error {mean:7.2%}  beyond 2 se {worst:7.2%}  "
            f"{'in range' if verdict is None else f'step {verdict[0]:.0f}: {verdict[1]}'}  "
            f"({time.perf_counter() - begin:.0f} s)",
            flush=True,
        )
    if inside:
        errors, excess = np.array(inside).T
        print(
            f"{len(inside)} of {arguments.count} in range: median error {np.median(errors):.2%}, "
            f"within 5% and two standard errors {np.mean(excess <= 0.05):.0%}"
        )


if __name__ == "__main__":
    main()
