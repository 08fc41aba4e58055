"""The raced learning rate beside the best of a sweep, an LR range test and optimizers without a rate: a table.

python scripts/bench_rates.py [words that the names have to contain]
"""

import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

from raced_trainings import FREE, TRAININGS, compared  # pyright: ignore[reportMissingImports]


def main(*words: str) -> None:
    """Prints a row for each training, and how often the raced rate needs as few steps."""
    others = [*FREE, "range test"]
    print(f"| training | race's steps | raced | best of 17 | {' | '.join(others)} |")
    print(f"| --- |{' --- |' * (3 + len(others))}", flush=True)
    ratios, fewer, begin = [], dict.fromkeys(others, 0), time.perf_counter()
    for name, make in TRAININGS.items():
        if not all(word in name for word in words):
            continue
        told = compared(make())
        ratios.append(told.raced / told.swept)
        for other in others:
            fewer[other] += told.raced < told.others[other]
        cells = [told.spent, told.raced, told.swept, *told.others.values()]
        print(f"| {name} | {' | '.join(f'{cell:.0f}' for cell in cells)} |", flush=True)
        print(f"{told.rate:.3g} raced, {told.best:.3g} best of the sweep", file=sys.stderr, flush=True)
    found = np.array(ratios)
    print(f"\nwithin 1.3 times: {(found <= 1.3).sum()}, within 2: {(found <= 2).sum()}, of {len(found)}")
    print("fewer steps than " + ", ".join(f"{name}: {count}" for name, count in fewer.items()))
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
