"""Any optimizer on the full batch, stepped on the moments, against training on the rows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from idjax.moments.moments import moments_of
from idjax.nn import optimizers
from idjax.theory import quadratic
from idjax.theory.full_batch import stepped
from idjax.theory.networks.deep_linear import LinearLayers, parameters_of
from idjax.types import Weights

# Rates at which no rule bounces around the optimum yet: there rounding grows, in any arithmetic.
OPTIMIZERS = {
    "adam": lambda: optax.adam(0.01),
    "adamw": lambda: optax.adamw(0.01, weight_decay=0.1),
    "nadam": lambda: optax.nadam(0.01),
    "rmsprop": lambda: optax.rmsprop(0.001, decay=0.99),
    "lion": lambda: optax.lion(0.001),
    "nesterov": lambda: optax.sgd(0.01, momentum=0.9, nesterov=True),
    "adagrad": lambda: optax.adagrad(0.1),
    "lamb": lambda: optax.lamb(0.001),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.01)),
    "Keras's adam": lambda: optimizers.build("adam", 0.01),
    "scheduled": lambda: optax.sgd(optax.cosine_decay_schedule(0.05, 1000)),
}
STEPS = 1000


def on_the_rows(optimizer, x, y, start):
    """Losses before each update of plain full-batch training, and the weights at the end."""
    a = jnp.asarray(np.c_[x, np.ones(len(x))])

    def loss(params):
        return jnp.mean((a[:, :-1] @ params["kernel"] + params["bias"] - y) ** 2)

    def step(carry, _):
        params, state = carry
        value, slope = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(slope, state, params)
        return (optax.apply_updates(params, updates), state), value

    params = {"kernel": jnp.asarray(start[:-1]), "bias": jnp.asarray(start[-1])}
    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), None, length=STEPS)
    return np.asarray(losses), np.asarray(jnp.concatenate([params["kernel"], params["bias"][None]]))


@pytest.mark.quick(6)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_on_moments_are_steps_on_rows(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 5)) * np.logspace(0, -1, 5) + 0.7
    y = x @ rng.normal(size=(5, 3)) + 0.1 * rng.normal(size=(80, 3)) + 1
    start = rng.normal(size=(6, 3))
    moments = moments_of(x, y)
    reference = quadratic.optimum(moments).stacked
    projected = quadratic.project(moments, quadratic.optimum(moments), np.eye(6))
    floor = float(projected.residual.mean())
    with jax.enable_x64(True):
        losses, weights = on_the_rows(OPTIMIZERS[name](), x, y, start)
        layer = stepped.LinearLayer(
            *map(jnp.asarray, (moments.covariance_xx, moments.mean_x, np.ones(()), reference, np.full(3, 1 / 3)))
        )
        gram = projected.gram[None]
        watched = stepped.Watched(*map(jnp.asarray, (gram, np.full((1, 3), 1 / 3), np.zeros((1, 6, 3)))))
        problem = LinearLayers(layer, (), watched)
        other = problem._replace(layer=layer._replace(shares=jnp.ones(3)))
        optimizer, none = lambda _: OPTIMIZERS[name](), ()
        state = stepped.begin(optimizer, none, parameters_of((Weights(start[:-1], start[-1]),)))
        end, got, seen = stepped.follow(optimizer, none, problem, state, STEPS)
        error = problem.error(end.params)
        _, wrong, _ = stepped.follow(optimizer, none, other, state, STEPS)
    np.testing.assert_allclose(np.asarray(got) + floor, losses, rtol=1e-10)
    np.testing.assert_allclose(reference + np.asarray(error), weights, atol=1e-9)
    np.testing.assert_allclose(np.asarray(seen)[0, :-1] + floor, losses[1:], rtol=1e-10)
    # lion and lamb do not see the scale of the gradient; the loss of a layer without the 1/q is q times this one.
    assert np.max(np.abs(np.asarray(wrong) / 3 + floor - losses)) > 1e-10 * losses[0] or name in ("lion", "lamb")
