"""Holds bands over the orders of the rows against training, and prints the tables of docs/measured.md.

    python scripts/check_bands.py [--bands 12]

Problems and criteria are those of tests/test_bands_batches.py, and one of a large mean whose rate decays.
"""

import argparse
import importlib
import pathlib
import sys
import tempfile

import numpy as np
import pytest

from idjax import Schedule

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bands", type=int, default=12)
    bands = parser.parse_args().bands
    checks = importlib.import_module("test_bands_batches")
    decaying = {"learning_rate": 0.02, "epochs": 40, "schedule": Schedule("exponential", factor=0.93)}
    large_mean = pytest.param(checks.rows(5.0, 1.0, 10), None, decaying, id="large mean, exponential")
    print("| problem | predicted over measured | batches drawn afresh | constant rate |\n|---|---|---|---|")
    for case in [*checks.SPREADS, large_mean]:
        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
            spreads = checks.Spreads(patch, pathlib.Path(folder), *case.values)
            ratio = spreads.ratio()
            constant = f"{spreads.ratio(schedule=Schedule()):.2f}" if "schedule" in case.values[2] else ""
            checks.draw_batches_afresh(patch)
            print(f"| {case.id} | {ratio:.2f} | {spreads.ratio():.2f} | {constant} |", flush=True)
    print("\n| run | band | middle third | starts alone | ends of runs over the line's |\n|---|---|---|---|---|")
    for case in checks.FOLLOWED:
        curves, losses = checks.followed_runs(*case.values, bands)
        with pytest.MonkeyPatch.context() as patch:
            checks.starts_alone(patch)
            alone, _ = checks.followed_runs(*case.values, bands)
        found = [curve.train_band for curve in curves]
        kinds = found, list(map(checks.middle_third, found)), [curve.train_band for curve in alone]
        shares = [f"{np.mean([checks.covered(losses, band) for band in kind]):.0%}" for kind in kinds]
        above = np.mean(losses[:, -1]) / np.mean([curve.train[-1] for curve in curves])
        print(f"| {case.id} | {' | '.join(shares)} | {above:.3f} |", flush=True)


if __name__ == "__main__":
    main()
