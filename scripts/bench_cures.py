"""Planted programs, trained as given at their best rate and cured: a table in Markdown.

python scripts/bench_cures.py [words that the names have to contain]
"""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

from cured_programs import CURED, compared  # pyright: ignore[reportMissingImports]

from idjax import IdjaxError


def main(*words: str) -> None:
    """Prints a row for each program, and how many are cured."""
    print("| program | cured | steps as given | cured | fall of the curvature, told | measured |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    asked = fewer = measured = near = 0
    begin = time.perf_counter()
    for name, found in CURED.items():
        if not all(word in name for word in words):
            continue
        asked += 1
        try:
            told = compared(found())
        except IdjaxError as error:
            print(f"| {name} | {error} | | | | |", flush=True)
            continue
        fewer += told.cured < told.given
        if told.fall == told.fall:
            measured, near = measured + 1, near + (abs(told.told / told.fall - 1) < 0.02)
        steps = f"{told.given:.0f} | {told.cured:.0f}"
        print(f"| {name} | {', '.join(told.codes)} | {steps} | {told.told:.4g} | {told.fall:.4g} |", flush=True)
    print(f"\nfewer steps {fewer} of {asked}; falls within 2% {near} of {measured}")
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
