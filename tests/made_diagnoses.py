"""Diagnoses made by hand, for tests of what is drawn and said of them."""

import dataclasses
import io

import numpy as np
from pages import Page
from rich.console import Console

from idjax.diagnosis.data.recipes import flax_code, keras_code
from idjax.report.pages import render
from idjax.report.terminal import diagnosis_text
from idjax.results.curve import Curve
from idjax.results.diagnosis import Diagnosis, Finding, Prescription, Proof, Samples
from idjax.settings import Settings
from idjax.types import Weights

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> [bold]a[/bold]\u202eevil\x1b[31m"


SHOWN = HOSTILE.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b")


PROVENANCE = {"idjax": "0.1.0", "jax": "0.10", "git": "abc"}


def curve(explained: np.ndarray, steps_to_learn: float) -> Curve:
    return Curve(
        epoch=np.arange(1, len(explained) + 1),
        train=np.abs(1 - explained),
        validation=np.abs(1 - explained),
        explained_variance=explained,
        shape_correlation=0.5,
        steps_per_epoch=10,
        steps_to_learn=steps_to_learn,
        weights=Weights(np.eye(4), np.zeros(4)),
        how="minibatch SGD, expected loss",
        seconds=0.1,
    )


def proof(epochs: float, level: float = 0.99) -> Proof:
    at = np.geomspace(0.1, 20, 40)
    rate = 4.6 / epochs
    explained = 1 - np.exp(-rate * at)
    return Proof(epochs if epochs <= 20 else np.inf, float(explained[-1]), at, explained)


def prescription(proven: float | None = None, predicted: float = 1.04, **changes) -> Prescription:
    settings = Settings(**{"normalize": "feature", "learning_rate": 12.3456, "batch_size": 32, **changes})
    return Prescription(
        settings, predicted, 10 * predicted, flax_code(settings, 84, 84, True), keras_code(settings, 84, 84, True),
        None if proven is None else proof(proven),
    )  # fmt: skip


CAUSE = Finding(
    "mean-dominated", "cause", "The common mean of 1.1 is 890 times the deviation, so one step size cannot suit both",
    {"condition number": 7.145e9, "mean": 1.1, "columns": [f"column_{k}" for k in range(30)], "rows": 12_192},
    54_321.0, "standardise the inputs: --normalize feature",
)  # fmt: skip


CONSEQUENCE = Finding(
    "slow-directions", "consequence", "83 of 85 directions need 518,700 epochs", {"directions": 83}, float("inf"),
    "as above", ("mean-dominated",),
)  # fmt: skip


NOTE = Finding("rounding", "note", "float32 loses the last updates", {}, 1.0, "")


def diagnosis(**changes) -> Diagnosis:
    """Data that are not learned, with everything that a diagnosis may hold."""
    rng = np.random.default_rng(0)
    samples = 1.1 + 0.0012 * rng.standard_normal((3, 84))
    eigenvalues = np.concatenate([[102.9], 1.5e-6 * np.linspace(1.3, 0.7, 81), [1.4e-8, 0.0, 0.0]])
    whole = Diagnosis(
        source="narrow.csv",
        rows=12_192,
        inputs=84,
        outputs=84,
        autoencoder=True,
        settings=Settings(batch_size=8),
        budget=20.0,
        level=0.99,
        reachable=1.0,
        verdict="These data will not be learned in 20 epochs: it would take 597,894",
        before=curve(-1 - 1 / np.arange(1, 21), 5_978_942.0),
        no_prediction="",
        findings=(NOTE, CONSEQUENCE, CAUSE),
        prescriptions=(
            prescription(1.1),
            prescription(2.9, 3.0, normalize="sample", loss_space="original", momentum=0.9, learning_rate=3e5),
            prescription(None, 7.5, normalize="center", optimizer="adam", learning_rate=0.002, batch_size=1),
        ),
        eigenvalues=eigenvalues,
        mean_mode=0,
        bias_mode=82,
        samples=Samples(samples, 1.1 + 0.0012 * rng.standard_normal((3, 84)), np.full(84, 1.1)),
        proof=Proof(float("inf"), -1.05, np.arange(1.0, 21), -1.05 - 1 / np.arange(1, 21)),
        seconds=4.2,
    )
    return dataclasses.replace(whole, **changes)


def healthy() -> Diagnosis:
    learned = curve(1 - 0.3 ** np.arange(1, 21), 32.0)
    return diagnosis(
        verdict="Learned in 3.2 epochs of 20", before=learned, findings=(), prescriptions=(), proof=None, samples=None,
        eigenvalues=np.linspace(2, 0.5, 5), mean_mode=None, bias_mode=None,
    )  # fmt: skip


def unpredicted() -> Diagnosis:
    return diagnosis(
        before=None, no_prediction="relu outputs have no theory yet", samples=None, proof=None, prescriptions=(),
        findings=(),
    )  # fmt: skip


def hostile() -> Diagnosis:
    cause = Finding(
        "constant-columns", "cause", f"column {HOSTILE} is constant", {HOSTILE: 1.0, "columns": [HOSTILE]}, 2.0,
        f"drop {HOSTILE}",
    )  # fmt: skip
    return diagnosis(source=HOSTILE, verdict=HOSTILE, findings=(cause,), no_prediction=HOSTILE)


EVERY = [diagnosis, healthy, unpredicted, hostile]


def said(shown: Diagnosis) -> str:
    return Page(render(shown, PROVENANCE)[0]).said


def printed(shown: Diagnosis, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None, markup=False)
    console.print(diagnosis_text(shown))
    return console.file.getvalue()
