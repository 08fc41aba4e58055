"""Stochastic rounding is unbiased, and training that stalls in few digits goes on with it or a float32 copy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idjax.nn.rounding import add_stochastically
from idjax.prediction.predict import predict
from idjax.settings import Settings
from idjax.training.train import train

DRAWS = 20_000


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize(
    ("weight", "share"), [(1.0, 0.3), (-0.7, 0.02), (3e-5, -0.45), (1.0, -0.2), (100.0, 1.7), (1e-7, 0.4)]
)
def test_the_mean_of_rounded_sums_is_exact(dtype, weight, share):
    weight = jnp.asarray(weight, dtype)
    digits = {"bfloat16": 8, "float16": 11, "float32": 24}[dtype]
    least = -14 if dtype == "float16" else -126  # below which numbers have fewer digits
    ulp = 2.0 ** (max(np.floor(np.log2(abs(float(weight)))), least) + 1 - digits)
    update = jnp.float32(share * ulp)
    many = jnp.full((DRAWS,), weight)
    got = np.asarray(add_stochastically(many, jnp.full((DRAWS,), update), jax.random.key(1)), np.float64)
    assert got.dtype == np.float64
    assert len(np.unique(got)) == 2
    moved = (got - float(weight)) / ulp
    error = moved.std(ddof=1) / np.sqrt(DRAWS)
    assert abs(moved.mean() - float(update) / ulp) < 4 * error
    nearest = float((weight.astype(jnp.float32) + update).astype(dtype))
    assert abs((nearest - float(weight)) / ulp - share) > 4 * error


def test_sums_that_fit_are_left_alone():
    for dtype in ("bfloat16", "float16", "float32"):
        weights = jnp.asarray([1.0, -2.5, 0.0], dtype)
        got = add_stochastically(weights, jnp.asarray([0.5, 0.5, 1.0], jnp.float32), jax.random.key(0))
        np.testing.assert_array_equal(np.asarray(got, np.float32), [1.5, -2.0, 1.0])
        assert got.dtype == dtype


def test_what_float16_cannot_hold_is_infinite():
    weights = jnp.asarray([65504.0, -65504.0, 65504.0], jnp.float16)
    got = add_stochastically(weights, jnp.asarray([40.0, -40.0, 0.0], jnp.float32), jax.random.key(0))
    np.testing.assert_array_equal(np.asarray(got, np.float32), [np.inf, -np.inf, 65504.0])


def test_full_batch_training_stalls_in_bfloat16_but_not_with_a_remedy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5))
    y = x @ rng.normal(size=(5, 2)) + 0.5
    settings = Settings(batch_size=300, validation_split=0.0, learning_rate=0.002, epochs=1500)

    def losses(**changes) -> np.ndarray:
        curve = train(x, dataclasses.replace(settings, **changes), target=y).train
        return curve / curve[0]

    exact, stalled = losses(dtype="float64"), losses(dtype="bfloat16")
    assert exact[-1] < 0.1
    assert stalled[-1] == stalled[len(stalled) // 2] > 2 * exact[-1]
    assert 1 - losses(dtype="bfloat16", rounding="stochastic")[-1] > 0.97 * (1 - exact[-1])
    assert 1 - losses(dtype="bfloat16", rounding="master")[-1] > 0.97 * (1 - exact[-1])


def test_stochastic_rounding_is_the_same_for_the_same_seed():
    x = np.random.default_rng(0).normal(size=(60, 4))
    settings = Settings(dtype="bfloat16", rounding="stochastic", epochs=3, batch_size=10)
    first, again = train(x, settings), train(x, settings)
    np.testing.assert_array_equal(first.weights.kernel, again.weights.kernel)
    other = train(x, dataclasses.replace(settings, dtype="float32", rounding="nearest"))
    assert not np.array_equal(first.weights.kernel, other.weights.kernel)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic", "master"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_full_batches_in_bfloat16_are_predicted_to_float32(optimizer, rounding):
    """Updates are rounded as in training, at random too; with another decay they are others."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8)) * np.geomspace(1, 0.1, 8) + 0.5
    y = x @ rng.normal(size=(8, 3)) + 0.1 * rng.normal(size=(60, 3))
    settings = Settings(
        optimizer=optimizer, dtype="bfloat16", rounding=rounding, batch_size=64, epochs=50, validation_split=0.0
    )
    trained = train(x, settings, target=y).train
    np.testing.assert_allclose(predict(x, settings, target=y, band=False).train, trained, rtol=2e-6)
    other = dataclasses.replace(settings, beta_2=0.99)
    assert np.max(np.abs(predict(x, other, target=y, band=False).train / trained - 1)) > 1e-4
