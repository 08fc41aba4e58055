"""Predictions of whitened runs against training: pca and zca, validation rows, starts, minibatches."""

import dataclasses

import numpy as np
import pytest
from full_batches import EXACT, beyond_chance, fallen, full_batch, trained_full_batch, where, worst

from idjax.data import prescribed
from idjax.moments.moments import moments_of
from idjax.moments.normalize import fit, zca_to_pca
from idjax.nn.starts import start_weights
from idjax.prediction.predict import predict
from idjax.settings import Settings
from idjax.training.train import train
from idjax.types import Weights

UNITS = ["original", pytest.param("normalized", marks=pytest.mark.slow)]


@where(lambda problem: problem.name in ("autoencoder of two", "regression, more inputs"))
@pytest.mark.parametrize("normalize", ["pca", "zca"])
@pytest.mark.parametrize("loss_space", UNITS)
def test_whitening_is_exact_with_momentum_and_validation_rows(problem, normalize, loss_space):
    rows = 2 * len(problem.x) // 3
    settings = Settings(batch_size=rows, validation_split=1 / 3, dtype="float64", epochs=60, momentum=0.5)
    settings = dataclasses.replace(settings, learning_rate=0.05, normalize=normalize, loss_space=loss_space)
    trained = train(problem.x, settings, target=problem.y)
    predicted = predict(problem.x, settings, target=problem.y)
    assert trained.train[-1] < 0.9 * trained.train[0]
    assert worst(predicted.train, trained.train) < EXACT
    assert worst(predicted.validation, trained.validation) < EXACT
    np.testing.assert_allclose(predicted.explained_variance, trained.explained_variance, atol=EXACT)
    np.testing.assert_allclose(predicted.weights.kernel, trained.weights.kernel, atol=EXACT)
    np.testing.assert_allclose(predicted.weights.bias, trained.weights.bias, atol=EXACT)
    assert (predicted.train_band.low <= predicted.train_band.high).all()


@where(lambda problem: problem.name == "autoencoder, more columns than rows")
@pytest.mark.parametrize("normalize", ["pca", "zca"])
@pytest.mark.parametrize("loss_space", UNITS)
def test_whitening_of_rows_that_training_has_not_seen_the_range_of(problem, normalize, loss_space, monkeypatch):
    """More columns than rows, one of them constant: validation rows have parts that nothing restores."""
    x = problem.x.copy()
    x[:, 3] = 0.1
    settings = Settings(batch_size=6, validation_split=1 / 3, dtype="float64", epochs=60, learning_rate=0.4)
    settings = dataclasses.replace(settings, normalize=normalize, loss_space=loss_space)
    trained, predicted = train(x, settings), predict(x, settings, band=False)
    assert worst(predicted.train, trained.train) < EXACT
    assert worst(predicted.validation, trained.validation) < EXACT
    np.testing.assert_allclose(predicted.explained_variance, trained.explained_variance, atol=EXACT)
    np.testing.assert_allclose(predicted.weights.kernel, trained.weights.kernel, atol=EXACT)
    monkeypatch.setattr("idjax.prediction.problem.lost_variance", lambda *_: 0.0)
    wrong = predict(x, settings, band=False)
    assert np.abs(wrong.explained_variance - trained.explained_variance).min() > 1e-3


@where(lambda problem: problem.name in ("one output",))
def test_a_column_that_varies_in_validation_rows_alone(problem):
    """`feature` gives back its mean, which those rows do not have."""
    rows = 2 * len(problem.x) // 3
    target = problem.target.copy()
    target[:rows, 0] = 1.0
    settings = Settings(batch_size=rows, validation_split=1 / 3, dtype="float64", epochs=5, normalize="feature")
    for loss_space in ("normalized", "original"):
        settings = dataclasses.replace(settings, loss_space=loss_space)
        data = (target, None) if problem.y is None else (problem.x, target)
        trained, predicted = (
            train(data[0], settings, target=data[1]),
            predict(data[0], settings, target=data[1], band=False),
        )
        assert worst(predicted.validation, trained.validation) < EXACT
        np.testing.assert_allclose(predicted.explained_variance, trained.explained_variance, atol=EXACT)


@where(lambda problem: problem.name == "autoencoder, large mean")
def test_whitening_negative_controls(problem, monkeypatch):
    """Zca predicted from a start that is not turned to the axes, and pca without the weights of its outputs."""
    settings = full_batch(problem, normalize="zca", loss_space="original")
    trained = trained_full_batch(problem, normalize="zca", loss_space="original")
    assert worst(predict(problem.x, settings, band=False).train, trained.train) < EXACT
    with monkeypatch.context() as patch:
        patch.setattr("idjax.prediction.problem.zca_to_pca", lambda fitted, weights, back=False: weights)
        assert worst(predict(problem.x, settings, band=False).train, trained.train) > 1e-3
    as_pca = dataclasses.replace(settings, normalize="pca")
    assert worst(predict(problem.x, as_pca, band=False).train, trained.train) > 1e-3


@pytest.fixture
def start_file(tmp_path):
    """Saves weights for `Settings.start`."""

    def save(weights: Weights, name: str = "start") -> str:
        np.savez(tmp_path / f"{name}.npz", **weights._asdict())
        return str(tmp_path / f"{name}.npz")

    return save


@where(lambda problem: problem.name in ("autoencoder, large mean",))
@pytest.mark.parametrize("loss_space", UNITS)
def test_zca_is_pca_from_a_turned_start_for_sgd_alone(problem, loss_space, start_file):
    """Of training itself, on minibatches: what the prediction of zca rests on, and why it has none for Adam."""
    start = start_weights("glorot", problem.x.shape[1], problem.target.shape[1], 4)
    turned = zca_to_pca(fit("pca", moments_of(problem.x, problem.y)), start)
    zca = Settings(batch_size=16, validation_split=0.0, dtype="float64", epochs=20, learning_rate=0.02)
    zca = dataclasses.replace(zca, normalize="zca", loss_space=loss_space, start=start_file(start, "zca"))
    pca = dataclasses.replace(zca, normalize="pca", start=start_file(turned, "pca"))

    def difference(**changes) -> float:
        runs = [train(problem.x, dataclasses.replace(kind, **changes), target=problem.y) for kind in (zca, pca)]
        return worst(runs[0].train, runs[1].train)

    assert difference() < 1e-10
    assert difference(momentum=0.9, nesterov=True) < 1e-10
    assert difference(optimizer="adam") > 1e-3
    followed = predict(problem.x, dataclasses.replace(zca, optimizer="adam"), target=problem.y)
    assert "--normalize zca with --optimizer adam" in followed.no_theory


@pytest.mark.parametrize("loss_space", UNITS)
def test_whitening_with_minibatches(loss_space, start_file):
    x = prescribed(np.array([0.5, -0.2, 3.0]), np.array([1.0, 0.3, 0.1]), 20_000, 5)
    settings = Settings(batch_size=20, validation_split=0.2, dtype="float64", epochs=4, learning_rate=0.0005)
    settings = dataclasses.replace(settings, start=start_file(start_weights("glorot", 3, 3, 0)))
    settings = dataclasses.replace(settings, normalize="zca", loss_space=loss_space)
    trained = [train(x, dataclasses.replace(settings, seed=seed)) for seed in range(6)]
    predicted = predict(x, settings, band=False)
    assert fallen(predicted.validation, 0.0) > 0.6
    assert beyond_chance(predicted, trained) < 1e-4  # as `feature` on these rows: second order in the rate
    faster = dataclasses.replace(settings, learning_rate=0.000502)
    assert beyond_chance(predict(x, faster, band=False), trained) > 1e-3
