"""Prescriptions take as long as they say: the first of many data sets, trained over starts and orders."""

import dataclasses
import tempfile

import numpy as np
import pytest
from planted import ALONE, PAIRS, QUICK, Planted, planted

import idjax
from idjax.data import as_dataset
from idjax.diagnosis.data import drawn_cost
from idjax.diagnosis.data import recommend as prescribe
from idjax.diagnosis.data.verify import prove
from idjax.moments.moments import measure
from idjax.nn.starts import start_weights
from idjax.prediction import budget
from idjax.report.prescriptions import predicted_words
from idjax.results.diagnosis import Prescription

KINDS = [(), *((cause,) for cause in ALONE), *PAIRS]
ORDERS = 48


def as_predicted(kind: tuple[str, ...], seed: int, **sizes: object) -> bool:
    """Whether the first prescription takes what it is predicted to within 10%, or a step: the mean over orders.

    One run of 14 steps strays by more than a step.
    """
    data = planted(kind, seed, **sizes)
    found = idjax.diagnose(data.x, data.settings, target=data.y, budget=data.budget)
    return takes(data, found.prescriptions[0], found.level)


def takes(data: Planted, best: Prescription, level: float) -> bool:
    """Whether training with a prescription takes the epochs that it says."""
    dataset = as_dataset(data.x, data.y, best.settings.data_dtype)
    raw = measure(dataset.x, dataset.y, samples=False).raw
    step = best.predicted_epochs / best.predicted_steps
    start = start_weights(best.settings.start, raw.inputs, raw.outputs, best.settings.seed)
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, **start._asdict())
        file.flush()
        runs = [dataclasses.replace(best.settings, start=file.name, seed=order) for order in range(ORDERS)]
        most = 3 * best.predicted_epochs + step
        epochs = [prove(dataset, raw, run, len(dataset.x), most, level).epochs for run in runs]
    return abs(float(np.mean(epochs)) - best.predicted_epochs) <= max(0.1 * best.predicted_epochs, 1.0001 * step)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(("mean-dominated",), marks=pytest.mark.slow),
        pytest.param(("step-too-small",), marks=pytest.mark.slow),
    ],
    ids="+".join,
)
def test_the_first_prescription_takes_as_long_as_predicted(kind):
    assert as_predicted(kind, 1, **QUICK)
    data = planted(kind, 1, **QUICK)
    found = idjax.diagnose(data.x, data.settings, target=data.y, budget=data.budget, proven=True)
    best = found.prescriptions[0]
    assert found.proof is not None
    assert best.proof is not None
    assert found.proof.epochs == np.inf
    assert best.proof.epochs <= data.budget
    assert best.proof.explained_variance >= found.level


PREDICTED = [
    (200 + i, kind)
    for i, kind in enumerate(kind for kind in KINDS if kind and "data-resolution" not in kind)
    if kind not in (("null-modes",), ("target-not-linear",))  # no settings are better
]


@pytest.mark.slow
def test_prescriptions_of_many_take_as_long_as_predicted():
    holds = {(seed, kind): as_predicted(kind, seed) for seed, kind in PREDICTED}
    assert np.mean(list(holds.values())) >= 0.95, [case for case, held in holds.items() if not held]


@pytest.mark.slow
def test_the_expected_loss_of_gaussian_rows_does_not_tell_what_heavy_tails_take(monkeypatch):
    """The control of the test above: what is predicted if no runs are drawn. Drawn ones are 13% early on this set."""
    data = planted(("heavy-tails",), 212)
    found = idjax.diagnose(data.x, data.settings, target=data.y, budget=data.budget)
    drawn = found.prescriptions[0]
    monkeypatch.setattr(budget, "DRAWN", 0.0)
    again = idjax.diagnose(data.x, data.settings, target=data.y, budget=data.budget).prescriptions
    (expected,) = (each for each in again if alike(each.settings) == alike(drawn.settings))
    assert drawn.runs
    assert not expected.runs
    assert drawn.predicted_epochs > expected.predicted_epochs
    assert not takes(data, expected, found.level)


def alike(settings: idjax.Settings) -> idjax.Settings:
    """The settings, but for the number of epochs."""
    return dataclasses.replace(settings, epochs=1)


@pytest.mark.slow
def test_runs_of_the_best_are_drawn_as_far_as_there_is_time(monkeypatch):
    data = planted(("step-too-small",), 0, **QUICK)

    def drawn() -> list[int]:
        found = idjax.diagnose(data.x, data.settings, target=data.y, budget=data.budget)
        assert ("drawn on rows" in predicted_words(found.prescriptions)) == (found.prescriptions[0].runs > 0)
        least = min(each.predicted_epochs for each in found.prescriptions)
        assert [each.role for each in found.prescriptions[:2]] == ["simplest", "fastest"]
        assert found.prescriptions[1].predicted_epochs <= least * prescribe.SAME
        return [prescription.runs for prescription in found.prescriptions]

    assert drawn()[: prescribe.BEST] == [drawn_cost.RUNS] * prescribe.BEST
    monkeypatch.setattr(budget, "DRAWN", 0.0)
    assert not any(drawn())
