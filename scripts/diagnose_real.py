"""Diagnoses real data sets as they come, proves the prescriptions, and prints the table of docs/diagnosis.md.

    python scripts/diagnose_real.py [--only wine]

The data come with scikit-learn and statsmodels; nothing is downloaded. Settings are Keras's defaults: SGD 0.01, batches
of 32, 20 epochs. The last rows are the same data once the first prescription's settings are used.
"""

import argparse
import dataclasses
import warnings

import numpy as np
from sklearn import datasets

import idjax
from idjax.results.diagnosis import Diagnosis


def data_sets() -> dict[str, tuple[object, np.ndarray | None]]:
    """Rows and targets, as their packages give them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.datasets import elnino

        months = np.asarray(elnino.load_pandas().data, dtype=np.float64)[:, 1:].ravel()
    windows = np.lib.stride_tricks.sliding_window_view(months, 13)
    wine, wine_class = (np.asarray(part) for part in datasets.load_wine(return_X_y=True))
    diabetes, progression = (np.asarray(part) for part in datasets.load_diabetes(return_X_y=True))
    cancer, malignant = (np.asarray(part) for part in datasets.load_breast_cancer(return_X_y=True))
    digits = np.asarray(datasets.load_digits(return_X_y=True)[0])
    return {
        "published failing set": ("narrow-normal", None),
        "wine": (wine, None),
        "wine, class": (wine, np.eye(3)[wine_class]),
        "diabetes, progression": (diabetes, progression[:, None].astype(np.float64)),
        "breast cancer": (cancer, None),
        "breast cancer, class": (cancer, malignant[:, None].astype(np.float64)),
        "digits, varying pixels": (digits[:, digits.std(axis=0) > 0], None),
        "sea temperature, next month": (windows[:, :12].copy(), windows[:, 12:].copy()),
        "uniform numbers": ("unit-uniform", None),
    }


def row(name: str, found: Diagnosis) -> str:
    """A line of the table."""
    causes = ", ".join(finding.code for finding in found.causes) or "nothing found"
    before = found.proof.explained_variance if found.proof else float("nan")
    cells = [name, causes, f"{before:.4g}", f"{found.level:.4g}"]
    if found.prescriptions and (proof := found.prescriptions[0].proof):
        best = found.prescriptions[0]
        settings = best.settings
        words = f"{settings.normalize}, {settings.optimizer} {settings.step_size:g}, batch {settings.batch_size}"
        cells += [words, f"{best.predicted_epochs:.4g}", f"{proof.epochs:.4g}", f"{proof.explained_variance:.4g}"]
    else:
        cells += ["–"] * 4
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="data sets whose name contains this")
    arguments = parser.parse_args()
    print("| data | causes | EV after 20 epochs as given | learned | first prescription | predicted epochs | "
          "trained epochs | EV |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    again = []
    for name, (x, y) in data_sets().items():
        if arguments.only not in name:
            continue
        settings = idjax.DiagnosisSettings(epochs=20)
        found = idjax.diagnose(x, settings, target=y, proven=True)
        print(row(name, found), flush=True)
        if found.prescriptions:
            better = dataclasses.replace(found.prescriptions[0].settings, learned_at=0.99)
            again.append((f"{name}, as prescribed", idjax.diagnose(x, better, target=y, proven=True, budget=20)))
    for name, found in again:
        print(row(name, found), flush=True)


if __name__ == "__main__":
    main()
