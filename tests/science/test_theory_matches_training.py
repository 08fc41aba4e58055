"""Prediction against training: the whole curve, far enough that the loss has fallen 90% of the way to its floor.

Each comparison has negative controls: predictors that are wrong in one way must fail the same comparison.
"""

import dataclasses
import functools

import numpy as np
import pytest
from conftest import PROBLEMS

import idjax
from idjax.data import prescribed
from idjax.moments.moments import measure, moments_of
from idjax.moments.normalize import encode, fit, undo, zca_to_pca
from idjax.moments.spectrum import spectrum_of
from idjax.nn.starts import start_weights
from idjax.prediction.learning_rates import learning_rates
from idjax.prediction.predict import NoTheoryError, predict, predict_from_moments
from idjax.prediction.problem import quadratic_problem
from idjax.results.curve import Status
from idjax.settings import Settings
from idjax.theory.sgd import minibatch
from idjax.training.train import train
from idjax.types import Weights

EXACT = 1e-8


def where(condition):
    """Runs a test on the problems of which the condition holds."""
    return pytest.mark.parametrize("problem", list(filter(condition, PROBLEMS)), ids=lambda problem: problem.name)


@functools.cache
def full_batch(problem, **changes) -> Settings:
    """Full batch in float64 at the problem's share of the largest rate, long enough to lose 90% of what can be lost."""
    rows = len(problem.x)
    settings = Settings(batch_size=rows, validation_split=0.0, dtype="float64", epochs=1, **changes)
    problem_of = quadratic_problem(measure(problem.x, problem.y), None, settings)
    rate = problem.learning_rate_share * learning_rates(problem_of, rows).full_batch_max
    settings = dataclasses.replace(settings, learning_rate=rate)
    for epochs in (100, 1_000, 10_000, 100_000):
        settings = dataclasses.replace(settings, epochs=epochs)
        curve = predict(problem.x, settings, target=problem.y, band=False)
        if fallen(curve.train, floor_of(problem, settings)) > 0.9:
            return settings
    raise AssertionError("no horizon moves the loss 90% of the way to its floor")


@functools.cache
def trained_full_batch(problem, **changes) -> idjax.Curve:
    """What training with these settings gives, which several tests compare predictions with."""
    return train(problem.x, full_batch(problem, **changes), target=problem.y)


def floor_of(problem, settings: Settings) -> float:
    """The smallest loss, by least squares on the rows as the layer sees them; the L2 penalty shrinks its solution."""
    fitted = fit(settings.normalize, moments_of(problem.x, problem.y))
    z, target, affine = encode(settings.normalize, fitted, problem.x, problem.y)
    a = np.c_[z, np.ones(len(z))]
    output = a @ np.linalg.lstsq(a, target, rcond=None)[0]
    shrink = 1 + settings.activity_l2 * target.shape[1]
    error = target - output / shrink
    if settings.loss_space == "original" and settings.normalize != "none":
        error = undo(error, affine) - affine.shift
    loss = np.mean(error**2)
    return float(loss + settings.activity_l2 * np.mean(np.sum((output / shrink) ** 2, axis=1)))


def fallen(losses: np.ndarray, floor: float) -> float:
    return (losses[0] - losses[-1]) / (losses[0] - floor)


def worst(predicted: np.ndarray, trained: np.ndarray) -> float:
    """The largest difference along the curve, relative to the loss; below 1e-16 of the start it is rounding."""
    return float(np.max(np.abs(predicted - trained) / np.maximum(trained, 1e-12 * trained[0])))


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


@pytest.mark.parametrize("normalize", ["center", "feature", "sample", *WHITENINGS])
@pytest.mark.parametrize("loss_space", ["original", "normalized"])
def test_full_batch_curves_are_exact_for_every_normaliser_and_unit(problem, normalize, loss_space):
    settings = full_batch(problem, normalize=normalize, loss_space=loss_space)
    trained = trained_full_batch(problem, normalize=normalize, loss_space=loss_space)
    predicted = predict(problem.x, settings, target=problem.y, band=False)
    assert worst(predicted.train, trained.train) < EXACT
    np.testing.assert_allclose(predicted.explained_variance, trained.explained_variance, atol=EXACT)


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
    with pytest.raises(NoTheoryError, match="--normalize zca with --optimizer adam"):
        predict(problem.x, dataclasses.replace(zca, optimizer="adam"), target=problem.y)


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


def beyond_chance(predicted, trained) -> float:
    """The largest difference of the mean over seeds beyond three standard errors, relative to the loss."""
    losses = np.array([curve.validation for curve in trained])
    error = losses.std(axis=0, ddof=1) / np.sqrt(len(losses))
    return float(np.max((np.abs(losses.mean(axis=0) - predicted.validation) - 3 * error) / predicted.validation))


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
