"""Diagnoses small inputs rebuilt from public questions, trains before and after; prints tables of docs/diagnosis.md.

    python scripts/diagnose_public.py [--only walk] [--findings]

Each question is one that was asked in public: somebody's layer would not learn. With --findings the table of all
findings is printed instead, from their explanations.
"""

import argparse
import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn import datasets

import idjax
from idjax import DiagnosisSettings as Run
from idjax.diagnosis.data import EXPLANATIONS

MOST_EPOCHS = 20_000
"""Epochs beyond which a run as given is not trained to its end."""


class Question(NamedTuple):
    """What was asked, the rows, the targets (None for an autoencoder) and the settings."""

    asked: str
    x: np.ndarray
    y: np.ndarray | None
    run: Run


def questions() -> dict[str, Callable[[], Question]]:
    """The questions by a short name."""
    return {
        "identity": lambda: Question(
            "One Dense(84) to learn the identity: the loss is 1e-6, the outputs look nothing like the data",
            idjax.load("narrow-normal").x[:20_000], None, Run(batch_size=8, epochs=20),
        ),
        "identity, Adam": lambda: Question(
            "The same with Adam, and with every other optimizer",
            idjax.load("narrow-normal").x[:20_000], None, Run(batch_size=8, epochs=20, optimizer="adam"),
        ),
        "random walk": walk,
        "line, Adam": lambda: Question(
            "y = x/2 + 30 over 0 to 99 with Adam's defaults: the line stays flat",
            *line(0.5, 30.0), Run(optimizer="adam", epochs=100),
        ),
        "line, SGD": lambda: Question(
            "y = x + 100 over 0 to 99: larger rates give NaN, this one does not get there",
            *line(1.0, 100.0), Run(learning_rate=1e-4, batch_size=100, epochs=200),
        ),
        "square": square,
        "difference": difference,
        "five rows": five_rows,
        "tumours": lambda: Question(
            "Breast cancer, malignant or not, columns as they come: the loss is NaN",
            *_of(datasets.load_breast_cancer), Run(learning_rate=0.5),
        ),
        "small columns": lambda: Question(
            "An autoencoder of 30 columns of scales .001 to 1: the loss is 0, half of the columns are noise",
            np.random.default_rng(7).normal(size=(20_000, 30)) * np.geomspace(1e-3, 1, 30), None,
            Run(learning_rate=0.5, batch_size=16, epochs=100),
        ),
        "house prices": lambda: Question(
            "Features and targets in the hundreds (diabetes): the loss hardly falls",
            *_of(datasets.load_diabetes), Run(epochs=100),
        ),
        "rate of 1": lambda: Question(
            "Inputs around 1 and a learning rate of 1: the loss explodes, must I whiten?",
            _near_one(), _near_one() @ np.ones((5, 1)), Run(learning_rate=1.0),
        ),
        "timestamps": lambda: Question(
            "Numbers near a million that differ by hundredths, stored as float32",
            (np.random.default_rng(7).normal(size=(5000, 6)) * 0.05 + 1e6).astype(np.float32), None, Run(),
        ),
    }  # fmt: skip


def line(slope: float, intercept: float) -> tuple[np.ndarray, np.ndarray]:
    """A line over 0 to 99."""
    x = np.arange(100.0)[:, None]
    return x, slope * x + intercept


def walk() -> Question:
    """Prices of tomorrow from those of today."""
    prices = 121.9 + np.cumsum(np.random.default_rng(8).normal(0, 0.22, 540))
    run = Run(optimizer="adam", epochs=40)
    return Question(
        "Prices of tomorrow from those of today: Adam learns nothing", prices[:-1, None], prices[1:, None], run
    )


def square() -> Question:
    """A target that is no linear function."""
    x = np.random.default_rng(0).normal(size=(1000, 5))
    return Question("y is the square of a column: the loss stays at its variance", x, x[:, :1] ** 2, Run())


def difference() -> Question:
    """Labels that hang on a small difference of large columns."""
    first = np.arange(5000.0)
    second = first + 10 + 0.5 - np.random.default_rng(0).random(5000)
    y = np.eye(2)[(second - first > 10).astype(int)]
    run = Run(optimizer="rmsprop", batch_size=10, epochs=100)
    return Question(
        "Is one column more than 10 above the other? RMSprop stays at half", np.stack([first, second], 1), y, run
    )


def five_rows() -> Question:
    """Five rows of two columns that nearly depend on each other."""
    x = np.array([(1.3, 2.7), (2.4, 3.3), (4.7, 5.2), (5.6, 6.1), (6.9, 7.9)])
    y = np.array([6.0, 9, 15, 18, 21])[:, None]
    run = Run(learning_rate=1e-5, batch_size=5, epochs=200_001)
    return Question("Five rows: sometimes it works, sometimes it does not", x, y, run)


def _near_one() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1000, 5)) + 1


def _of(load: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray]:
    x, y = load(return_X_y=True)
    return np.asarray(x), np.asarray(y, dtype=np.float64)[:, None]


def row(name: str, question: Question) -> str:
    """A line of the table: the verdict, and what training measures as given and as prescribed."""
    x, y, run = question.x, question.y, question.run
    found = idjax.diagnose(x, run, target=y)
    causes = ", ".join(finding.code for finding in found.causes) or "nothing found"
    fixes = "; ".join(finding.fix for finding in found.causes if finding.fix)
    before = idjax.train(x, dataclasses.replace(run, epochs=min(run.epochs, MOST_EPOCHS)), target=y)
    cells = [name, question.asked, causes, fixes, f"{found.reachable:.4g}", f"{before.explained_variance[-1]:.4g}"]
    if found.prescriptions:
        best = found.prescriptions[0]
        epochs = max(1, min(run.epochs, math.ceil(3 * best.predicted_epochs)))
        after = idjax.train(x, dataclasses.replace(best.settings, epochs=epochs), target=y)
        last = after.explained_variance[np.isfinite(after.explained_variance)][-1]
        cells += [f"{last:.4g} after {epochs} epochs"]
    else:
        cells += ["–"]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def findings() -> str:
    """The table of all findings."""
    lines = ["| code | kind | what it says | decided by | told apart |", "|---|---|---|---|---|"]
    for each in EXPLANATIONS.values():
        cells = [f"`{each.code}`", each.kind, each.title, each.formula, each.apart]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="questions whose name contains this")
    parser.add_argument("--findings", action="store_true", help="the table of findings instead")
    arguments = parser.parse_args()
    if arguments.findings:
        print(findings())
        return
    print("| question | asked | causes | fix, predicted | ceiling | EV as given | EV as prescribed |")
    print("|---|---|---|---|---|---|---|")
    for name, make in questions().items():
        if arguments.only in name:
            print(row(name, make()), flush=True)


if __name__ == "__main__":
    main()
