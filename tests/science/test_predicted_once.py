"""Findings and prescriptions of a diagnosis share their predictions: none is made twice."""

import collections
import dataclasses

import numpy as np
import pytest

import idjax
from idjax.data import stream
from idjax.diagnosis.data import context
from idjax.diagnosis.data.measure import measure
from idjax.settings import Settings
from idjax.types import silent

SETTINGS = Settings(learning_rate=1e-4, solver="steps", seed=7, batch_size=8)


@pytest.fixture
def asked(monkeypatch):
    """The predictions that are made, by problem and by what of the settings they depend on."""
    runs = []

    def counted(predict):
        def once(spec, **options):
            runs.append((id(spec.problem), dataclasses.replace(spec.settings, solver="auto")))
            return predict(spec, **options)

        return once

    for name in ("epochs_to_learn", "predict_run"):
        monkeypatch.setattr(context, name, counted(getattr(context, name)))
    return runs


def rows() -> np.ndarray:
    return 30 + np.random.default_rng(0).normal(size=(400, 4)) * [1, 0.5, 0.2, 0.1]


def test_a_diagnosis_predicts_no_run_twice(asked):
    found = idjax.diagnose(rows(), SETTINGS)
    assert found.findings
    assert found.prescriptions
    assert len(asked) > 10
    assert [run for run, times in collections.Counter(asked).items() if times > 1] == []


def test_what_no_prediction_depends_on_makes_no_other(asked):
    """The solver does not; the momentum and the seed of the start do."""
    known = measure(stream(rows()), SETTINGS, None, silent)
    given = known.epochs(solver="auto")
    whole = known.epochs(normalize="center", batch_size=known.rows)
    made = len(asked)
    assert known.epochs() == given
    assert known.epochs(normalize="center", batch_size=known.rows, solver="blocks") == whole
    assert len(asked) == made
    known.epochs(normalize="center", batch_size=known.rows, momentum=0.5)
    assert len(asked) == made + 1
    known.epochs(normalize="center", batch_size=known.rows, seed=1)
    assert len(asked) == made + 2


def test_units_that_are_left_out_for_their_cost_are_said():
    """Of narrow data, too: of more than 64 outputs, not of 2."""
    x = rows()
    y = (x - 30) @ np.random.default_rng(1).normal(size=(4, 65))
    said = [idjax.diagnose(x, SETTINGS, target=y[:, :outputs]) for outputs in (65, 2)]
    assert all(each.prescriptions for each in said)
    left_out = "left out for their cost on 65 outputs: losses in original units of standardised features"
    assert [each.left_out for each in said] == [left_out, ""]
