"""A linear probe in words: the rate to use, the epochs that it takes, and what a normaliser would buy."""

import math

from idjax.report import formatting
from idjax.results.diagnosis import Probe, ProbeRun

HEADER = ("features", "learning\nrate", "predicted\nepochs", "stable at\nthe start", "stable\nthroughout")
NORMALIZERS = formatting.NORMALIZERS | {"feature": "batch-normalised"}


def probe_words(probe: Probe) -> list[str]:
    """Sentences: what to do, what the settings as given do, what another normaliser buys."""
    first = probe.runs[0]
    reaches = f"reaches an accuracy of {probe.target:.3f} in {_epochs(first.epochs)}"
    if math.isinf(first.epochs):
        reaches = f"is the best one found, and does not reach an accuracy of {probe.target:.3f}"
    said = [
        f"As a linear probe (softmax cross-entropy, {probe.classes:,} classes, SGD"
        + (f" with momentum {probe.momentum:g}" if probe.momentum else "")
        + f", batches of {probe.batch_size:,}): learning rate {_rate(first.learning_rate)} "
        f"{reaches}. That is 98% of the {probe.converged:.3f} that the converged "
        "probe has on the training rows."
    ]
    if not math.isnan(probe.given):
        takes = "does not reach it" if math.isinf(probe.given_epochs) else f"takes {_epochs(probe.given_epochs)}"
        said.append(f"The learning rate as given, {_rate(probe.given)}, {takes}.")
    best = min(probe.runs, key=lambda run: run.epochs)
    if best.epochs < first.epochs / 1.2:
        said.append(
            formatting.sentence(
                f"{NORMALIZERS[best.normalize]} features take {_epochs(best.epochs)} at learning rate "
                f"{_rate(best.learning_rate)}"
                + (f": {formatting.number(first.epochs / best.epochs, 2)} times fewer" * math.isfinite(first.epochs))
            )
        )
    return said


def probe_rows(probe: Probe) -> list[tuple[str, ...]]:
    """Cells under `HEADER`, a row for each normaliser."""
    return [
        (NORMALIZERS[run.normalize], _rate(run.learning_rate), _predicted(run), _rate(run.start_limit),
         _rate(run.always_limit))
        for run in probe.runs
    ]  # fmt: skip


def _rate(value: float) -> str:
    """A learning rate: three digits are more than it is known to."""
    return formatting.number(value, 3)


def _epochs(value: float) -> str:
    return f"{formatting.number(value, 3)} epochs"


def _predicted(run: ProbeRun) -> str:
    if math.isinf(run.epochs):
        return "not reached"
    return ("about " if run.how == "flow" else "") + formatting.number(run.epochs, 3)
