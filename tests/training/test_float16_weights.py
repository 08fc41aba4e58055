"""Training with float16 weights: the updates written out, and what a scaled loss saves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idjax.nn.starts import start_weights
from idjax.nn.step import plan_for
from idjax.prediction.predict import predict
from idjax.results.curve import Status
from idjax.settings import Settings
from idjax.training.train import train

ROWS = 400
BASE = Settings(dtype="float16", batch_size=ROWS, validation_split=0.0, epochs=40, learning_rate=0.05)
ADAM = {"optimizer": "adam", "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-10}


def written_out(x, y, settings):
    """Losses and weights of sgd or adam on the full batch, in plain JAX, weights rounded to nearest."""
    start = start_weights("glorot", x.shape[1], y.shape[1], settings.seed)
    w, b = (jnp.asarray(part, jnp.float16) for part in start)
    x, y, scale, rate = (jnp.asarray(part, jnp.float32) for part in (x, y, settings.loss_scale, settings.step_size))

    def loss(w, b):
        error = jnp.matmul(x, w.astype(jnp.float32), precision="highest") + b.astype(jnp.float32) - y
        return jnp.mean(error**2)

    @jax.jit
    def slopes(w, b):
        slopes = jax.grad(lambda w, b: scale * loss(w, b), argnums=(0, 1))(w, b)
        assert all(slope.dtype == jnp.float16 for slope in slopes)
        return loss(w, b), [slope.astype(jnp.float32) / scale for slope in slopes]

    losses, means, squares = [], [0.0, 0.0], [0.0, 0.0]
    for step in range(1, settings.epochs + 1):
        value, gradients = slopes(w, b)
        if settings.optimizer == "adam":
            one, two = settings.beta_1, settings.beta_2
            means = [one * m + (1 - one) * g for m, g in zip(means, gradients, strict=True)]
            squares = [two * v + (1 - two) * g * g for v, g in zip(squares, gradients, strict=True)]
            size = np.sqrt(1 - two**step) / (1 - one**step)
            pairs = zip(means, squares, strict=True)
            gradients = [size * m / (jnp.sqrt(v) + settings.epsilon) for m, v in pairs]
        w, b = ((p.astype(jnp.float32) - rate * g).astype(jnp.float16) for p, g in zip((w, b), gradients, strict=True))
        losses.append(float(value))
    return np.array(losses), np.asarray(w, np.float64)


@pytest.mark.quick(1)
@pytest.mark.parametrize("loss_scale", [1.0, 4096.0, 3000.0])
@pytest.mark.parametrize("changes", [{}, ADAM], ids=["sgd", "adam"])
def test_updates_are_those_written_out(changes, loss_scale):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 5)).astype(np.float32) * np.float32(0.0003)
    y = (x @ rng.normal(size=(5, 2))).astype(np.float32)
    settings = dataclasses.replace(BASE, **changes, loss_scale=loss_scale)
    losses, kernel = written_out(x, y, settings)
    trained = train(x, settings, target=y)
    np.testing.assert_allclose(trained.train, losses, rtol=1e-3)
    np.testing.assert_allclose(trained.weights.kernel, kernel, atol=2**-10)
    if changes:
        _, other = written_out(x, y, dataclasses.replace(settings, loss_scale=4096.0 if loss_scale == 1 else 1.0))
        assert np.abs(other - kernel).max() > 0.01  # the scale makes a difference


NARROW = np.random.default_rng(0).normal(1.1, 0.00012, size=(ROWS, 6))
"""In units of these rows gradients are below 1e-8."""
IN_UNITS = dataclasses.replace(BASE, normalize="feature", loss_space="original", learning_rate=5e7, epochs=60)


@pytest.mark.parametrize(
    "changes", [{}, {"batch_size": 40}, {"rounding": "master"}, {"rounding": "stochastic"}], ids=str
)
def test_a_scaled_loss_rescues_gradients_that_vanish(changes):
    settings = dataclasses.replace(IN_UNITS, **changes)
    lost, saved = (train(NARROW, dataclasses.replace(settings, loss_scale=scale)) for scale in (1.0, 2.0**24))
    assert saved.train[-1] < 0.1 * saved.train[0]
    assert lost.train[-1] > 0.99 * lost.train[0]


def test_a_scale_of_which_gradients_overflow_is_told():
    settings = dataclasses.replace(BASE, loss_scale=2.0**30)
    rows = 1 + NARROW
    assert train(rows, settings).status is Status.DIVERGES
    predicted = predict(rows, settings, band=False)
    assert predicted.status is Status.DIVERGES
    assert "overflow float16" in predicted.how
    assert predicted.stall is None
    batches = predict(rows, dataclasses.replace(settings, batch_size=40), band=False)
    assert "overflow float16" in batches.no_theory
    assert train(rows, BASE).status is Status.VALID


def test_scales_share_a_compiled_program():
    one, other = (dataclasses.replace(BASE, loss_scale=scale) for scale in (1.0, 1024.0))
    assert plan_for(one, autoencoder=True, outputs=3) == plan_for(other, autoencoder=True, outputs=3)


def test_the_optimizer_of_float16_weights_works_in_float32():
    """In float16 its epsilon of 1e-10 is 0, and so are the squares of small gradients: 0/0."""
    rows = NARROW - 1.1
    settings = dataclasses.replace(BASE, **ADAM, epochs=3, loss_scale=2.0**20)
    assert np.isfinite(train(rows, settings).train).all()
    assert np.float16(ADAM["epsilon"]) == 0
