"""Diagnoses of many programs in six libraries, healthy ones and ones with a planted fault: right and wrong by code.

python scripts/bench_programs.py [healthy | words that the names have to contain]
"""

import os
import pathlib
import sys
import time
from collections import Counter

os.environ.setdefault("KERAS_BACKEND", "jax")
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

from programs import HEALTHY, PROGRAMS, judged  # pyright: ignore[reportMissingImports]


def main(*words: str) -> None:
    """Runs the programs whose names contain all words, and prints what is wrong and how many are right."""
    right: Counter = Counter()
    asked: Counter = Counter()
    begin = time.perf_counter()
    for name, make in PROGRAMS.items():
        if not all(word in name or (word == "healthy" and name in HEALTHY) for word in words):
            continue
        made = make()
        wrong = judged(made)
        for key in (made.codes[0] if made.codes else "healthy", f"in {name.split(',')[0]}"):
            asked[key] += 1
            right[key] += not wrong
        if wrong:
            print(f"{name} [{', '.join(made.codes)}]: {wrong}", flush=True)
    for key in sorted(asked):
        print(f"{key:24}{right[key]:4} of {asked[key]}")
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
