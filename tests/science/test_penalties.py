"""The activity penalty as a cause: named where it keeps the outputs small, by itself or beside another, else not."""

import dataclasses

import numpy as np
import pytest

import idjax
from idjax import DiagnosisSettings
from idjax.training.train import train

X = np.random.default_rng(0).normal(size=(500, 5))
RUN = DiagnosisSettings(learning_rate=0.1, epochs=50)


def codes(found) -> list[str]:
    return [finding.code for finding in found.causes]


@pytest.mark.quick(3)
@pytest.mark.parametrize("normalize", ["none", "feature", "sample"])
@pytest.mark.parametrize("penalty", [{"activity_l2": 1.0}, {"activity_l1": 1.0}])
def test_a_strong_penalty_is_the_cause_and_leaving_it_out_the_cure(penalty, normalize):
    run = dataclasses.replace(RUN, **penalty, normalize=normalize)
    found = idjax.diagnose(X, run, prescriptions=False)
    assert codes(found) == ["strong-penalty"]
    trained = train(X, run)
    assert trained.explained_variance[-1] < 0.9
    if "activity_l2" in penalty:
        best = found.causes[0].evidence["explained variance of the best weights"]
        assert trained.explained_variance[-1] == pytest.approx(best, abs=0.01)
    cured = dataclasses.replace(run, **found.causes[0].changes)
    assert train(X, cured).explained_variance[-1] > 0.99
    assert idjax.diagnose(X, cured, prescriptions=False).causes == ()


@pytest.mark.parametrize("penalty", [{"activity_l2": 1e-4}, {"activity_l1": 1e-5}])
def test_a_weak_penalty_is_none(penalty):
    run = dataclasses.replace(RUN, **penalty)
    assert idjax.diagnose(X, run, prescriptions=False).causes == ()
    assert train(X, run).explained_variance[-1] > 0.99


def test_causes_beside_a_penalty_are_those_without_it():
    x = 1.1 + 0.001 * X
    run = dataclasses.replace(RUN, activity_l2=0.5, epochs=200)
    found = idjax.diagnose(x, run, prescriptions=False)
    assert set(codes(found)) == {"strong-penalty", "mean-dominated"}
    alone = idjax.diagnose(x, dataclasses.replace(run, activity_l2=0.0), prescriptions=False)
    assert codes(alone) == ["mean-dominated"]
