"""Outcomes of experiments with made-up curves, for tests of what is drawn and said of them."""

import dataclasses

import numpy as np

from idjax.published.experiments import Claim, Experiment, PublishedLoss, Run, VarianceScan
from idjax.published.outcomes import Checked, ExperimentOutcome, RunOutcome, ScanOutcome, ScanPoint
from idjax.results.curve import Band, Curve, LearningRates
from idjax.results.diagnosis import Samples
from idjax.settings import Settings
from idjax.types import Weights

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>"


def curve(epochs: int = 12, level: float = 1.0, band: bool = False) -> Curve:
    epoch = np.arange(1, epochs + 1)
    losses = level * 0.7**epoch
    return Curve(
        epoch=epoch,
        train=losses * 1.1,
        validation=losses,
        explained_variance=1 - losses / level,
        shape_correlation=0.5,
        steps_per_epoch=10,
        steps_to_learn=121.0,
        weights=Weights(np.eye(4), np.zeros(4)),
        how="made up",
        seconds=0.1,
        condition_number=7.1e9,
        learning_rates=LearningRates(2.0, 1.0, 2.0, 1.0),
        train_band=Band(losses, 1.1 * losses, 1.2 * losses) if band else None,
        validation_band=Band(0.9 * losses, losses, 1.1 * losses) if band else None,
    )


def outcome(name="narrow_normal", label="run", value=0.5, runs=1, **changes) -> ExperimentOutcome:
    one = RunOutcome(
        run=Run(label, Settings(), (Claim("explained_variance", 0.0, 1.0),), note=f"note of {label}"),
        settings=Settings(),
        predicted=curve(band=True),
        trained=curve(),
        checks=(Checked(Claim("explained_variance", 0.0, 1.0), value, "explained variance at the end"),),
        verdict=f"verdict of {label}",
        samples=Samples(np.ones((3, 9)), np.zeros((3, 9)), np.full(9, 0.5)),
    )
    one = dataclasses.replace(one, **changes)
    experiment = Experiment(
        name=name,
        title=f"Title {label}",
        question="Why?",
        data="x",
        runs=(one.run,) * runs,
        published=(PublishedLoss(1, 0.7, 0.6), PublishedLoss(12, 0.02, 0.01)),
        published_words=f"published {label}",
        answer=f"What {label} shows.",
    )
    return ExperimentOutcome(experiment, (one,) * runs)


def scan_outcome() -> ScanOutcome:
    scan = VarianceScan(
        name="variance_scan", title="Scan", question="What?", mean=1.1, inputs=84, rows=96, ratios=(1e-6, 1e-3, 1.0),
        marked=1e-3, normalizers=("none", "center", "feature", "sample"), learning_rate=0.01, most_steps=1e5,
        full_steps=2e6, smallest_measured=1e-5, tolerance=0.02,
    )  # fmt: skip
    kinds = {1e-6: "beyond float64", 1e-3: "extrapolated", 1.0: "trained"}
    points = tuple(
        ScanPoint(ratio, normalize, 0.01, 9e3 / ratio**2, 9e3 / ratio**2 if ratio > 1e-5 else np.nan, kinds[ratio])
        for ratio in scan.ratios
        for normalize in scan.normalizers
    )
    return ScanOutcome(scan, points)


def with_curve(**changes) -> ExperimentOutcome:
    return outcome(trained=dataclasses.replace(curve(), **changes))


def texts(figure) -> set[str]:
    return {text.get_text() for ax in figure.axes for text in ax.texts}
