"""Runs that no theory predicts, followed on their rows: against trainings with other seeds."""

import dataclasses

import numpy as np
import pytest

from idjax import Settings, predict, train
from idjax.moments.moments import measure
from idjax.prediction import budget
from idjax.prediction.dynamics.extrapolation import extrapolated
from idjax.prediction.predict import predict_from_moments
from idjax.results.curve import Status

SEEDS = 4


def regression(rows: int = 300, inputs: int = 6) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(7)
    x = draws.normal(size=(rows, inputs)) * np.logspace(0, -0.7, inputs) + 0.5
    noise = draws.standard_t(4, size=(rows, 2))
    return x.astype(np.float32), (x[:, :2] + x[:, -2:] + 0.3 * noise).astype(np.float32)


SETTINGS = [
    {"loss": "mae", "learning_rate": 0.05},
    {"optimizer": "adagrad", "learning_rate": 0.1},
    {"activity_l1": 0.01, "learning_rate": 0.05},
]


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_followed_losses_are_those_of_training(changes):
    """The same start, other orders of the rows: half of the learning rate is told apart."""
    x, y = regression()
    settings = Settings(epochs=10, **changes)
    found = predict(x, settings, target=y)
    runs = [train(x, dataclasses.replace(settings, seed=seed), target=y) for seed in range(SEEDS)]
    assert (found.status, found.known_until) == (Status.FOLLOWED, 10 * found.steps_per_epoch)
    assert "8 runs side by side on all 210 rows" in found.how
    own = runs[0]
    for predicted, trained in ((found.train, own.train), (found.validation, own.validation)):
        error = np.abs(trained / predicted - 1)
        assert np.median(error) < 0.03
        assert error.max() < 0.1
    assert found.train_band is not None
    inside = [(run.train >= found.train_band.low) & (run.train <= found.train_band.high) for run in runs]
    assert np.mean(inside) >= 0.8  # of four runs; the slow test counts forty
    slower = predict(x, dataclasses.replace(settings, learning_rate=settings.step_size / 2), target=y, band=False)
    assert np.abs(own.train / slower.train - 1).max() > 0.1


def test_a_full_batch_is_followed_once_and_exactly():
    x, _ = regression()
    settings = Settings(loss="huber", batch_size=1000, epochs=10, start="identity", dtype="float64")
    found, run = predict(x, settings, target=x), train(x, settings, target=x)
    assert "1 run on all 210 rows" in found.how
    assert found.train_band is None
    np.testing.assert_allclose(found.train, run.train, rtol=1e-9)
    np.testing.assert_allclose(found.explained_variance, run.explained_variance, rtol=1e-9)
    np.testing.assert_allclose(found.weights.kernel, run.weights.kernel, rtol=1e-7)


def test_past_what_is_affordable_it_is_said(monkeypatch):
    monkeypatch.setattr(budget, "FOLLOWED_RUNS", 1.2e7)
    monkeypatch.setattr(budget, "OF_TRAINING", 0.0)
    x, y = regression()
    settings = Settings(optimizer="adagrad", learning_rate=0.1, epochs=60)
    found = predict(x, settings, target=y, band=False)
    assert found.status in (Status.FOLLOWED, Status.OUTSIDE_RANGE)
    assert found.known_until < 60 * found.steps_per_epoch
    known = int(found.known_until // found.steps_per_epoch)
    assert np.isfinite(found.train[:known]).all()
    trained = train(x, settings, target=y).train
    told = np.isfinite(found.train)
    assert np.abs(trained[told] / found.train[told] - 1).max() < 0.1


def test_what_the_first_part_does_not_tell_is_not_extrapolated():
    times = np.arange(1.0, 41)
    for fall in (1 + np.exp(-times / 20), times**-0.5, np.full(40, 2.0)):
        assert np.isfinite(extrapolated(fall, 80)).all()
    late = 1 + np.where(times < 25, 0, -0.3) + 1e-3 * np.sin(times)
    assert np.isfinite(extrapolated(late, 80)).sum() == 40


def test_adam_faster_than_its_v_is_followed_on_the_rows():
    """At zero mean, a rate of 1e-2 and batches of 4 runs go their own ways once the loss has fallen a thousandfold."""
    x = np.random.default_rng(3).normal(size=(2000, 8)) * np.geomspace(1, 0.1, 8)
    settings = Settings(optimizer="adam", learning_rate=1e-2, batch_size=4, epochs=4)
    found = predict(x, settings, band=False)
    assert (found.status, found.known_until) == (Status.FOLLOWED, 4 * found.steps_per_epoch)
    assert "the loss falls tenfold within 1,000 steps" in found.no_theory
    runs = [train(x[np.random.default_rng(order).permutation(2000)], settings).train for order in range(8)]
    logs = np.log(runs)  # of losses that are about lognormal over the orders
    mean, variance = logs.mean(axis=0), logs.var(axis=0, ddof=1)
    error = np.abs(np.log(found.train) - mean - variance / 2)
    assert (error < 3 * np.sqrt(2 * (variance + variance**2 / 2) / 8) + 0.03).all()
    slower = predict(x, dataclasses.replace(settings, learning_rate=5e-3), band=False)
    assert np.abs(np.log(slower.train / found.train)).min() > 0.5
    # At a tenth of the rate v follows, and the theory tells the run.
    gentle = dataclasses.replace(settings, learning_rate=1e-3)
    assert predict(x, gentle, band=False).status is Status.VALID


@pytest.mark.slow
def test_adam_that_comes_to_nothing_and_back_is_no_zero():
    """v decays where nothing is left, until updates are too large: the expectation alone would say 0 from then on."""
    x = np.random.default_rng(0).normal(size=(20000, 30)).astype(np.float32)
    settings = Settings(optimizer="adam", learning_rate=1e-2, batch_size=4, epochs=2, validation_split=0.0)
    found = predict(x, settings, band=False)
    orders = [np.random.default_rng(order).permutation(len(x)) for order in range(4)]
    trained = np.mean([train(x[order], settings).train for order in orders], axis=0)
    assert found.status is Status.FOLLOWED
    np.testing.assert_allclose(found.train, trained, rtol=0.1)
    alone = predict_from_moments(measure(x), None, settings, band=False)
    assert np.isnan(alone.train).all()


def test_a_run_that_overflows_diverges_without_a_word_of_numpy():
    """Warnings are errors here: those of its band's runs are held back too, which are followed in another thread."""
    x = 1e18 * np.random.default_rng(0).normal(size=(40, 5))
    curve = predict(x, Settings(loss="mae", learning_rate=1e5))
    assert curve.status is Status.DIVERGES
    assert curve.train_band is None
