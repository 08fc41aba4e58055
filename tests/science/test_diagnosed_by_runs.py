"""Diagnosis of classes and of hidden layers, by runs followed on the rows: public cases, and healthy neighbours."""

import dataclasses

import numpy as np
import pytest
import sklearn.datasets

import idjax
from idjax import DiagnosisSettings
from idjax.diagnosis.data.findings.bottleneck import explained_by_rank
from idjax.moments.moments import moments_of
from idjax.training.train import train

RNG = np.random.default_rng


def codes(found) -> list[str]:
    return [finding.code for finding in found.causes]


def classes(scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that overlap, one input so many times as large as the other."""
    x = RNG(0).normal(size=(400, 2))
    y = (x.sum(axis=1) + RNG(1).normal(size=400) > 0).astype(float)[:, None]
    return x * [1, scale], y


@pytest.mark.slow
def test_classes_that_are_learned_have_no_cause():
    x, y = classes()
    found = idjax.diagnose(x, DiagnosisSettings(loss="cross-entropy", learning_rate=0.5, epochs=40), target=y)
    assert codes(found) == []
    assert found.reachable < 0.6
    assert found.notes == ()


@pytest.mark.slow
def test_scales_of_classes_are_told_and_the_cure_is_trained():
    x, y = classes(scale=100.0)
    settings = DiagnosisSettings(loss="cross-entropy", learning_rate=1e-4, epochs=40)
    found = idjax.diagnose(x, settings, target=y, proven=True)
    assert "unequal-scales" in codes(found)
    first = found.prescriptions[0]
    assert first.settings.normalize == "feature"
    assert first.proof is not None
    assert first.proof.epochs == pytest.approx(first.predicted_epochs, rel=0.5)
    assert found.proof is not None
    assert not np.isfinite(found.proof.epochs)


@pytest.mark.slow
def test_the_digits_that_an_autoencoder_did_not_learn():  # F8: 64-8-64 at a rate of .001
    x = sklearn.datasets.load_digits().data / 16
    found = idjax.diagnose(x, DiagnosisSettings(hidden=(64, 8, 64), hidden_activation="relu", learning_rate=1e-3))
    assert "step-too-small" in codes(found)
    assert [finding.code for finding in found.findings if finding.kind == "note"] == ["bottleneck"]
    closest = found.notes[-1]
    assert "the closest explains 0." in closest
    fixed = next(finding for finding in found.causes if finding.code == "step-too-small")
    run = train(x, DiagnosisSettings(**{
        "hidden": (64, 8, 64), "hidden_activation": "relu", "learning_rate": fixed.changes["learning_rate"]
    }))  # fmt: skip
    assert run.explained_variance[-1] == pytest.approx(fixed.evidence["explained variance after"], abs=0.1)


@pytest.mark.slow
def test_a_square_by_linear_layers():  # y = x² + 3
    x = RNG(0).uniform(-3, 3, size=(1000, 1))
    settings = DiagnosisSettings(hidden=(16, 16), learning_rate=0.01, epochs=50)
    found = idjax.diagnose(x, settings, target=x**2 + 3)
    assert codes(found) == ["only-linear"]
    assert found.prescriptions == ()
    assert "relu" in found.causes[0].fix


@pytest.mark.slow
def test_a_square_of_a_hundred_rows_in_order_by_linear_layers():  # small numbers of rows and units, large targets
    x = np.arange(-5, 5, 0.1)[:, None]
    found = idjax.diagnose(x, DiagnosisSettings(hidden=(8,), epochs=20), target=x**2 + 3)
    assert codes(found) == ["only-linear"]
    assert found.causes[0].evidence["explained variance of the best linear program"] < 0.01


@pytest.mark.slow
def test_one_large_input_is_no_matter_of_unequal_scales():  # a sine over 0 to 999
    x = np.arange(1000.0)[:, None]
    run = DiagnosisSettings(hidden=(32,), hidden_activation="tanh", optimizer="adam", epochs=300)
    found = idjax.diagnose(x, run, target=np.sin(x / 50))
    assert codes(found) == ["layer-scale"]
    cured = dataclasses.replace(run, **found.causes[0].changes, loss_space="normalized")
    assert cured.normalize == "feature"
    assert train(x, cured, target=np.sin(x / 50)).explained_variance[-1] > 0.99


def test_the_floor_of_a_bottleneck_is_that_of_principal_axes():
    x = RNG(0).normal(size=(300, 6)) * [3, 2, 1, 1, 0.5, 0.1] + 1
    axes = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    assert explained_by_rank(moments_of(x, None), 2) == pytest.approx(axes[:2].sum() / axes.sum())
    settings = DiagnosisSettings(hidden=(2,), learning_rate=0.05, epochs=200, batch_size=50)
    assert train(x, settings).explained_variance[-1] < explained_by_rank(moments_of(x, None), 2) + 1e-6


@pytest.mark.slow
def test_hidden_layers_behind_a_normaliser_are_diagnosed():
    found = idjax.diagnose(RNG(0).normal(size=(300, 4)), DiagnosisSettings(hidden=(3,), normalize="feature", epochs=3))
    assert "bottleneck" in codes(found)
