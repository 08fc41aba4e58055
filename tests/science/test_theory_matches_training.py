"""Prediction against training: the whole curve, far enough that the loss has fallen 90% of the way to its floor.

Each comparison has negative controls: predictors that are wrong in one way must fail the same comparison.
"""

import dataclasses

import numpy as np
import pytest
from full_batches import EXACT, beyond_chance, fallen, floor_of, full_batch, trained_full_batch, where, worst

import idjax
from idjax.data import prescribed
from idjax.moments.moments import measure
from idjax.moments.spectrum import spectrum_of
from idjax.prediction.learning_rates import learning_rates
from idjax.prediction.predict import predict, predict_from_moments
from idjax.prediction.problem import quadratic_problem
from idjax.results.curve import Status
from idjax.settings import Settings
from idjax.theory.sgd import minibatch
from idjax.training.train import train


def test_full_batch_curves_are_exact(problem):
    settings = full_batch(problem)
    trained = trained_full_batch(problem)
    predicted = predict(problem.x, settings, target=problem.y, band=False)
    assert fallen(trained.train, floor_of(problem, settings)) > 0.9
    assert worst(predicted.train, trained.train) < EXACT
    np.testing.assert_allclose(predicted.explained_variance, trained.explained_variance, atol=EXACT)
    np.testing.assert_allclose(predicted.weights.kernel, trained.weights.kernel, atol=1e-8)
    np.testing.assert_allclose(predicted.weights.bias, trained.weights.bias, atol=1e-8)


UNITS = ["original", pytest.param("normalized", marks=pytest.mark.slow)]
WHITENINGS = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("pca", "zca")]


@pytest.mark.quick(25)
@pytest.mark.parametrize("normalize", ["center", "feature", "sample", *WHITENINGS])
@pytest.mark.parametrize("loss_space", ["original", "normalized"])
def test_full_batch_curves_are_exact_for_every_normaliser_and_unit(problem, normalize, loss_space):
    settings = full_batch(problem, normalize=normalize, loss_space=loss_space)
    trained = trained_full_batch(problem, normalize=normalize, loss_space=loss_space)
    predicted = predict(problem.x, settings, target=problem.y, band=False)
    assert worst(predicted.train, trained.train) < EXACT
    np.testing.assert_allclose(predicted.explained_variance, trained.explained_variance, atol=EXACT)


@pytest.mark.quick(5)
@pytest.mark.parametrize("l2", [0.003, 0.1])
def test_the_l2_activity_penalty_is_exact_too(problem, l2):
    settings = full_batch(problem, activity_l2=l2)
    trained = trained_full_batch(problem, activity_l2=l2)
    predicted = predict(problem.x, settings, target=problem.y, band=False)
    assert worst(predicted.train, trained.train) < EXACT
    without = predict(problem.x, dataclasses.replace(settings, activity_l2=0.0), target=problem.y, band=False)
    assert worst(without.train, trained.train) > EXACT


def test_validation_curves_are_exact(problem):
    """Validation rows with moments of their own: cross terms between modes, and signs where η h > 1."""
    rows = 2 * len(problem.x) // 3
    settings = dataclasses.replace(full_batch(problem), validation_split=1 / 3, batch_size=rows, epochs=300)
    trained = train(problem.x, settings, target=problem.y)
    predicted = predict(problem.x, settings, target=problem.y, band=False)
    finite = np.isfinite(trained.validation) & (trained.validation < 1e6)
    assert finite.sum() > 2
    # Relative to the size of the loss at the start: where rounding of the weights, 1e-16 each, is all that is left.
    error = np.abs(predicted.validation - trained.validation)[finite]
    assert np.max(error / np.maximum(trained.validation[finite], 1e-8 * trained.validation[0])) < EXACT


class TestNegativeControls:
    """Wrong predictors fail the comparison that the right one passes."""

    def test_a_predictor_that_never_moves(self, problem):
        settings = full_batch(problem)
        trained = trained_full_batch(problem)
        still = np.full_like(trained.train, predict(problem.x, settings, target=problem.y, band=False).train[0])
        assert worst(still, trained.train) > EXACT

    @where(lambda problem: problem.target.shape[1] > 1)  # with one output there is nothing to forget
    def test_the_1_over_q_forgotten(self, problem):
        settings = full_batch(problem)
        trained = trained_full_batch(problem)
        outputs = problem.target.shape[1]
        faster = dataclasses.replace(settings, learning_rate=settings.step_size * outputs)
        with np.errstate(over="ignore", invalid="ignore"):
            wrong = predict(problem.x, faster, target=problem.y, band=False).train
        assert not worst(wrong, trained.train) < EXACT

    def test_the_mean_left_out(self, problem, monkeypatch):
        settings = full_batch(problem)
        trained = trained_full_batch(problem)

        def without_mean(moments):
            return spectrum_of(dataclasses.replace(moments, mean_x=np.zeros_like(moments.mean_x)))

        monkeypatch.setattr("idjax.prediction.problem.spectrum_of", without_mean)
        wrong = predict(problem.x, settings, target=problem.y, band=False)
        assert worst(wrong.train, trained.train) > EXACT


SEEDS = 24


@pytest.fixture(scope="module")
def small_rate_runs():
    """SGD at less than a thousandth of the largest stable rate, for many orders of the batches, from one start.

    The loss halves within an epoch. With slower learning the noise of an epoch cancels: it shows every row once.
    """
    rng = np.random.default_rng(11)
    x = prescribed(np.array([0.5, -0.2, 0.1, 0.3]), np.array([1.0, 0.8, 0.6, 0.5]), 50_000, 5)
    settings = Settings(
        batch_size=20, validation_split=0.2, dtype="float64", epochs=8, learning_rate=0.0007, start="identity"
    )
    y = x @ rng.standard_normal((4, 4)) / 2 + 1
    trained = [train(x, dataclasses.replace(settings, seed=seed), target=y) for seed in range(SEEDS)]
    return x, y, settings, trained


SECOND_ORDER = 2e-5
"""What the theory of shuffled epochs leaves out at this rate."""


def test_minibatches_at_a_small_rate(small_rate_runs):
    x, y, settings, trained = small_rate_runs
    predicted = predict(x, settings, target=y, band=False)
    assert fallen(predicted.validation, 0.0) > 0.9
    assert beyond_chance(predicted, trained) < SECOND_ORDER


@pytest.mark.parametrize("wrong", ["never moves", "1/q forgotten", "no mean", "fresh batches"])
def test_minibatch_negative_controls(small_rate_runs, wrong, monkeypatch):
    x, y, settings, trained = small_rate_runs
    if wrong == "1/q forgotten":
        settings = dataclasses.replace(settings, learning_rate=settings.step_size * y.shape[1])
    if wrong == "no mean":
        monkeypatch.setattr(
            "idjax.prediction.problem.spectrum_of",
            lambda moments: spectrum_of(dataclasses.replace(moments, mean_x=np.zeros_like(moments.mean_x))),
        )
    if wrong == "fresh batches":
        right = minibatch.updates
        monkeypatch.setattr("idjax.prediction.dynamics.minibatch.minibatch.updates", lambda *given: right(*given[:6]))
    predicted = predict(x, settings, target=y, band=False)
    if wrong == "never moves":
        predicted = dataclasses.replace(
            predicted, validation=np.full_like(predicted.validation, predicted.validation[0])
        )
    assert beyond_chance(predicted, trained) > SECOND_ORDER


@pytest.mark.quick(20)
@where(lambda problem: problem.y is None and problem.x.shape[1] > 2)  # rows that differ in their deviation
def test_the_weighted_moment_is_what_counts(problem):
    """Per-sample scales with the loss in original units: mean(s²) E[a aᵀ] in place of E[s² a aᵀ] must fail."""
    settings = full_batch(problem, normalize="sample", loss_space="original")
    trained = trained_full_batch(problem, normalize="sample", loss_space="original")
    moments = measure(problem.x)
    wrong_weighted = dataclasses.replace(moments.sample, weight=moments.sample_weighted.weight)
    wrong_moments = dataclasses.replace(moments, samples=(moments.sample, wrong_weighted))
    assert worst(predict_from_moments(moments, None, settings, band=False).train, trained.train) < EXACT
    assert worst(predict_from_moments(wrong_moments, None, settings, band=False).train, trained.train) > EXACT


def test_best_and_largest_rates_do_what_they_say(problem):
    rows = len(problem.x)
    settings = Settings(batch_size=rows, validation_split=0.0, dtype="float64", epochs=400)
    problem_of = quadratic_problem(measure(problem.x, problem.y), None, settings)
    rates = learning_rates(problem_of, rows)

    def last_loss(rate: float, epochs: int = 400) -> float:
        at = dataclasses.replace(settings, learning_rate=rate, epochs=epochs)
        return float(train(problem.x, at, target=problem.y).train[-1])

    assert last_loss(1.02 * rates.max, 3000) > last_loss(0.98 * rates.max, 3000)
    assert rates.full_batch_best < rates.max or problem_of.spectrum.rank == 1
    if problem_of.spectrum.rank > 1:
        slow = 1 - rates.best * problem_of.rates[problem_of.rates > 0].min()
        fast = 1 - rates.best * problem_of.rates.max()
        assert slow == pytest.approx(-fast, rel=1e-9)


def test_a_rate_beyond_the_limit_of_the_batches_is_said_to_diverge():
    """Stable for the full batch, not with batches of 4: no numbers are given, and training does diverge."""
    x = prescribed(np.zeros(30), np.ones(30), 400, 1)
    settings = Settings(batch_size=4, validation_split=0.0, dtype="float64", epochs=5)
    limits = learning_rates(quadratic_problem(measure(x), None, settings), 4)
    rate = 1.3 * limits.max
    assert rate < 0.5 * limits.full_batch_max
    settings = dataclasses.replace(settings, learning_rate=rate)
    predicted = predict(x, settings, band=False)
    assert predicted.how.startswith("diverges")
    assert predicted.status is Status.DIVERGES
    assert np.isnan(predicted.train).all()
    assert predicted.steps_to_learn == np.inf
    assert train(x, settings).train[-1] > 100
    overflowed = train(x, dataclasses.replace(settings, epochs=300))
    assert overflowed.status is Status.DIVERGES
    half = dataclasses.replace(settings, learning_rate=limits.max / 2)
    outside = predict(x, half, band=False)
    assert "outside its range" in outside.how
    assert outside.status is Status.OUTSIDE_RANGE
    trained = train(x, half)
    assert trained.train[-1] < 1
    assert trained.status is Status.VALID


def test_the_names_of_the_top_level_are_the_functions():
    assert idjax.predict is predict
    assert idjax.train is train
