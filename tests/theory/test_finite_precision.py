"""What rounding of weights does to descent: the units, what passes, stalls of a full batch, slowed minibatches."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest

from idjax.data import load
from idjax.moments.moments import measure
from idjax.prediction.predict import predict, predict_from_moments
from idjax.results.curve import Status
from idjax.settings import Settings
from idjax.theory import finite_precision
from idjax.training.train import train

TYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float32": np.float32}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("weight", [1.0, 0.3, -0.7, 1e-3, 100.0, 1.9921875, -2.0, 1e-30])
def test_the_unit_is_the_distance_to_the_next_number(dtype, weight):
    stored = TYPES[dtype](weight)
    away = np.nextafter(stored, TYPES[dtype](np.copysign(np.inf, weight)))
    unit = float(finite_precision.unit(np.array([float(stored)]), dtype)[0])
    assert unit == abs(float(away) - float(stored))


@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_lost_is_what_the_type_drops(dtype):
    rng = np.random.default_rng(0)
    weights = np.concatenate([rng.normal(size=4000), 2.0 ** rng.integers(-9, 3, 1000)]).astype(TYPES[dtype])
    unit = np.abs(np.spacing(weights)).astype(np.float64)
    updates = unit * rng.uniform(-1.2, 1.2, len(weights))
    exact = weights.astype(np.float64)
    dropped = (exact + updates).astype(TYPES[dtype]) == weights
    lost = finite_precision.lost(exact, updates, dtype)
    np.testing.assert_array_equal(lost, dropped)
    assert 0.3 < dropped.mean() < 0.7
    # Half a unit for all is wrong where the numbers below a power of 2 are closer.
    assert np.any((np.abs(updates) < unit / 2) != dropped)


def test_what_noise_lets_pass_against_simulation():
    """A tenth of the noise as mean update: the share of it that arrives, of a million draws each."""
    rng = np.random.default_rng(0)
    noise = np.array([0.15, 0.2, 0.26, 0.35, 0.5, 0.7, 2.0])
    drift = 0.02 * noise
    predicted = finite_precision.passed(noise)
    draws = rng.normal(size=(1_000_000, 1))
    # Mirrored draws: the odd part of the noise cancels and only the drift is left.
    moved = (np.round(drift + noise * draws) + np.round(drift - noise * draws)) / 2
    error = moved.std(axis=0, ddof=1) / np.sqrt(len(draws))
    z = (moved.mean(axis=0) - predicted * drift) / error
    assert np.all(np.abs(z) < 4), z
    assert abs(predicted[2] - 0.5) < 0.02
    # Controls: all of it passes; none of it does.
    assert np.abs(moved.mean(axis=0) - drift)[0] > 4 * error[0]
    assert np.all(moved.mean(axis=0)[2:] > 4 * error[2:])


@pytest.mark.parametrize("loss_scale", [1.0, 512.0])
def test_what_float16_holds_of_gradients(loss_scale):
    """Without noise what is not rounded to 0; with it the share of a small mean that arrives."""
    smallest = 2.0**-24 / loss_scale
    gradients = smallest * np.array([0.3, -0.49, 0.51, -0.7, 5.0, 0.0])
    stored = (gradients * loss_scale).astype(np.float16) != 0
    held = finite_precision.gradients_held(gradients, np.zeros(6), loss_scale)
    np.testing.assert_array_equal(held, stored)
    assert not np.array_equal(held, finite_precision.gradients_held(gradients, np.zeros(6), 2 * loss_scale))
    rng = np.random.default_rng(0)
    noise, drift = 0.3 * smallest, 0.02 * smallest
    draws = noise * rng.normal(size=1_000_000)
    moved = ((drift + draws) * loss_scale).astype(np.float16) - ((draws - drift) * loss_scale).astype(np.float16)
    share = moved.astype(float).mean() / loss_scale / (2 * drift)
    error = moved.astype(float).std() / 1000 / loss_scale / (2 * drift)
    predicted = float(finite_precision.gradients_held(np.array([drift]), np.array([noise]), loss_scale)[0])
    assert abs(share - predicted) < 4 * error
    assert error < 0.05 < 0.3 < predicted < 0.8


def test_the_noise_that_rounding_adds():
    """Descent on one output with dithered rounding: the excess loss against Σ u²/(48 η) in its transient and end."""
    eigenvalues, learning_rate, unit = np.array([1.0, 0.2]), 0.05, 2.0**-8
    rng = np.random.default_rng(0)
    rates = 2 * eigenvalues
    runs, steps = 20_000, (10, 400)
    error = np.zeros((runs, 2))
    found = {}
    for step in range(1, steps[-1] + 1):
        # Weights near 0.75, where bfloat16 has this unit, and noise enough to dither.
        error = error - learning_rate * rates * error + unit * rng.uniform(-0.5, 0.5, size=error.shape)
        if step in steps:
            found[step] = error**2 @ eigenvalues
    for step in steps:
        weights = np.full((2, 1), 0.75)
        predicted = finite_precision.noise_after(weights, rates[None], learning_rate, float(step), "bfloat16")
        mean, error = found[step].mean(), found[step].std() / np.sqrt(runs)
        # For small rates: off by η h/2, 5% here.
        assert abs(mean / predicted - 1) < 0.05 + 4 * error / mean, (step, mean, predicted)
        assert abs(mean / (predicted / 2) - 1) > 0.05 + 4 * error / mean


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(3)
    return 2 + rng.normal(size=(2000, 6)) * np.array([1, 0.7, 0.5, 1, 0.6, 0.8])


FULL = Settings(batch_size=2000, validation_split=0.0, learning_rate=0.02, epochs=600)


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", TYPES)
def test_a_full_batch_in_few_digits_is_predicted_step_by_step(rows, dtype):
    settings = dataclasses.replace(FULL, dtype=dtype)
    predicted, trained = predict(rows, settings, band=False), train(rows, settings)
    exact = predict(rows, dataclasses.replace(FULL, dtype="float64"), band=False)
    assert exact.train[-1] < 0.1 * exact.train[0]
    tolerance = {"bfloat16": 0.01, "float16": 1e-3, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(trained.train, predicted.train, rtol=tolerance)
    if dtype == "bfloat16":
        assert predicted.stall is not None
        assert trained.train[int(predicted.stall.steps)] < 1.05 * trained.train[-1]
        assert abs(predicted.stall.loss / trained.train[-1] - 1) < tolerance
        assert np.abs(trained.train / exact.train - 1).max() > tolerance  # rounding left out is wrong
        assert np.isinf(predicted.steps_to_learn)


def test_the_published_failing_set_never_learns_from_full_batches_of_float32():
    """Updates of 3e-11 against units of 7e-9: what 7e9 steps would learn in exact arithmetic is never learned."""
    moments = measure(load("narrow-normal").x[:4000])

    def curve(**changes):
        settings = Settings(learning_rate=0.01, batch_size=4000, validation_split=0.0, epochs=10)
        return predict_from_moments(moments, None, dataclasses.replace(settings, **changes), band=False, details=False)

    rounded, exact = curve(), curve(dtype="float64")
    assert rounded.stall is not None
    assert 100 < rounded.stall.steps < 1000
    assert 3.0e-6 < rounded.stall.loss < 3.2e-6
    assert np.isinf(rounded.steps_to_learn)
    assert exact.stall is None
    assert 5e9 < exact.steps_to_learn < 1e10
    # The noise of batches of 8 is larger than the unit, and carries most updates over it.
    noisy = curve(batch_size=8)
    assert noisy.stall is None
    assert exact.steps_to_learn < noisy.steps_to_learn < 2 * exact.steps_to_learn


@pytest.mark.slow
def test_rounding_slows_minibatches_as_predicted():
    """Label noise keeps the batches' noise at 0.4 units: the excess loss of 8 runs, each from its own start."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 6))
    y = x @ rng.uniform(0.55, 0.95, size=(6, 2)) + rng.normal(size=(2000, 2))
    settings = Settings(batch_size=8, validation_split=0.0, learning_rate=0.0046, epochs=3, dtype="bfloat16")
    trained, predicted, exact = [], [], []
    for seed in range(8):
        run = dataclasses.replace(settings, seed=seed)
        trained.append(train(x, run, target=y).train)
        predicted.append(predict(x, run, target=y, band=False).train)
        exact.append(predict(x, dataclasses.replace(run, dtype="float64"), target=y, band=False).train)
    floor = predict(x, dataclasses.replace(settings, dtype="float64", epochs=40), target=y, band=False).train[-1]
    trained, predicted, exact = (np.log(np.array(losses) - floor) for losses in (trained, predicted, exact))
    error = (trained - predicted).std(axis=0, ddof=1) / np.sqrt(8)
    assert np.all(np.abs((trained - predicted).mean(axis=0)) < 0.02 + 2 * error)
    assert np.any(np.abs((trained - exact).mean(axis=0)) > 0.02 + 2 * error)  # as if nothing were rounded


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 2000, "learning_rate": 0.02, "loss_scale": 64.0},
        {"batch_size": 2000, "learning_rate": 0.02, "rounding": "master"},
        {"batch_size": 2000, "learning_rate": 0.02, "hidden": (3,), "loss_scale": 64.0},
        {"batch_size": 2000, "optimizer": "adam", "learning_rate": 0.002, "loss_scale": 64.0},
        {"batch_size": 2000, "activation": "relu", "learning_rate": 0.02},
        {"loss_scale": 16.0},
        {"rounding": "master"},
        {"rounding": "stochastic"},
        {"optimizer": "adam", "rounding": "master", "learning_rate": 0.002},
        {"normalize": "zca"},
        {"hidden": (3,)},
    ],
    ids=str,
)
def test_every_float16_run_is_predicted_or_followed(rows, changes):
    base = Settings(batch_size=8, validation_split=0.0, learning_rate=0.01, epochs=4, dtype="float16")
    settings = dataclasses.replace(base, **changes)
    settings = dataclasses.replace(settings, epochs=100) if settings.batch_size == 2000 else settings
    predicted, trained = predict(rows, settings, band=False), train(rows, settings)
    assert predicted.status in (Status.VALID, Status.FOLLOWED)
    np.testing.assert_allclose(trained.train, predicted.train, rtol=0.05)
    assert trained.train[-1] < 0.9 * trained.train[0]


@pytest.mark.parametrize(("deviation", "left"), [(0.00012, 1.0), (0.001, 0.5)])
def test_gradients_that_vanish_in_float16_are_predicted_or_followed(deviation, left):
    """The loss in units of narrow rows: all gradients are 0 from the start, or from some way on."""
    x = np.random.default_rng(0).normal(1.1, deviation, size=(400, 6))
    settings = Settings(
        dtype="float16", batch_size=400, validation_split=0.0, epochs=60, normalize="feature", loss_space="original",
        learning_rate=0.7 / deviation**2,
    )  # fmt: skip
    for batch in (400, 40):
        run = dataclasses.replace(settings, batch_size=batch)
        predicted, trained = predict(x, run, band=False), train(x, run)
        # One run, and the mean of several orders of the rows.
        np.testing.assert_allclose(trained.train, predicted.train, rtol=0.05 if batch == 400 else 0.3)
        exact = predict(x, dataclasses.replace(run, dtype="float64"), band=False)
        assert exact.train[-1] < 0.01 * trained.train[-1]
        assert left == 1.0 or trained.train[-1] < left * trained.train[0]
        saved = dataclasses.replace(run, loss_scale=2.0**16)
        expected = predict(x, saved, band=False).train
        np.testing.assert_allclose(train(x, saved).train, expected, rtol=0.05, atol=0.01 * expected[0])


@pytest.mark.quick(1)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_where_rounding_leaves_weights_behind_the_run_is_followed(rows, optimizer):
    settings = Settings(
        batch_size=8, validation_split=0.0, learning_rate=0.01, epochs=12, dtype="bfloat16", optimizer=optimizer
    )
    curve = predict(rows, settings, band=False)
    assert curve.status is Status.FOLLOWED
    trained = np.array([train(rows, dataclasses.replace(settings, seed=seed)).train for seed in range(4)])
    error = trained.std(axis=0, ddof=1)
    assert np.all(np.abs(curve.train - trained.mean(axis=0)) < 0.05 * trained.mean(axis=0) + 3 * error)
    exact = predict(rows, dataclasses.replace(settings, dtype="float64"), band=False)
    assert not exact.train[-1] > 0.8 * curve.train[-1]  # as if nothing were rounded


@pytest.mark.parametrize("rounding", ["stochastic", "master"])
def test_the_remedies_learn_as_if_nothing_was_rounded(rows, rounding):
    settings = Settings(
        batch_size=8, validation_split=0.0, learning_rate=0.01, epochs=6, dtype="bfloat16", rounding=rounding
    )
    predicted, trained = predict(rows, settings, band=False), train(rows, settings)
    assert predicted.train[-1] < 0.1 * predicted.train[0]
    np.testing.assert_allclose(trained.train[:3], predicted.train[:3], rtol=0.05)
    slowed = train(rows, dataclasses.replace(settings, rounding="nearest"))
    assert slowed.train[2] > 1.05 * predicted.train[2]
