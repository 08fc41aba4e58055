"""The Gauss-Newton matrix by its products: eigenvalues, traces, and what a cure changes in a block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree
from planted_models import MLP, cross_entropy

from idjax.diagnosis.program import diagnose_model
from idjax.diagnosis.program.gauss_newton import PROBES, extremes, gauss_newton_product
from idjax.results.program import Eigenvalue


def small_problem():
    rng = np.random.default_rng(3)
    model = nn.Sequential([nn.Dense(4), nn.tanh, nn.Dense(3)])
    x, y = jnp.asarray(rng.normal(size=(20, 5)), jnp.float32), jnp.asarray(rng.integers(0, 3, 20))
    params = model.init(jax.random.key(0), x)["params"]
    return (lambda params, x: model.apply({"params": params}, x)), params, x, y


def dense_gauss_newton(forward, params, x, y, loss=cross_entropy):
    flat, nested = ravel_pytree(params)
    jacobian = jax.jacobian(lambda flat: forward(nested(flat), x).ravel())(flat)
    out = forward(params, x)
    curved = jax.hessian(lambda out: loss(out.reshape(len(x), -1), y))(out.ravel())
    return np.asarray(jacobian.T @ curved @ jacobian), nested


def test_products_are_those_of_the_gauss_newton_matrix():
    forward, params, x, y = small_problem()
    matrix, nested = dense_gauss_newton(forward, params, x, y)
    vector = np.random.default_rng(0).normal(size=len(matrix)).astype(np.float32)
    product = ravel_pytree(gauss_newton_product(forward, cross_entropy, params, x, y, nested(jnp.asarray(vector))))[0]
    np.testing.assert_allclose(product, matrix @ vector, atol=2e-6)


def test_eigenvalues_are_true_ones_by_their_residual():
    forward, params, x, y = small_problem()
    matrix, _ = dense_gauss_newton(forward, params, x, y)
    true = np.linalg.eigvalsh(matrix)
    found = extremes(forward, cross_entropy, params, x, y, jax.random.key(0), 20)
    for value, residual in zip(found.values, found.residuals, strict=True):
        assert np.abs(true - value).min() <= residual + 1e-6 * true[-1]
    assert found.values[0] == pytest.approx(true[-1], rel=1e-5)
    assert Eigenvalue(float(found.values[0]), float(found.residuals[0])).resolved
    assert sum(jax.tree.leaves(found.top_shares)) == pytest.approx(1.0, rel=1e-5)
    exact, off = np.trace(matrix), np.sqrt(2 * (matrix**2).sum() / PROBES)
    assert abs(sum(jax.tree.leaves(found.traces)) - exact) < 4 * off
    # Too few products: what is not an eigenvalue is not taken for one.
    rough = extremes(forward, cross_entropy, params, x, y, jax.random.key(0), 2)
    assert not Eigenvalue(float(rough.values[-1]), float(rough.residuals[-1])).resolved


def top_of_first_block(model, params, first, x, y, loss):
    """The largest eigenvalue of a layer's block of H, formed."""

    def forward(part, x):
        return model.apply({"params": {**params, **part}}, x)

    own = {first: params[first]} if first else params
    return np.linalg.eigvalsh(dense_gauss_newton(forward, own, x, y, loss)[0].astype(float))[-1]


def test_a_cure_changes_a_linear_block_exactly_as_predicted():
    """One linear layer under a squared error: H is M ⊗ G without any approximation."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(256, 6)).astype(np.float32), rng.normal(size=(256, 2)).astype(np.float32)
    model = nn.Dense(2)
    params = model.init(jax.random.key(1), x)["params"]

    def loss(outputs, targets):
        return jnp.mean((outputs - targets) ** 2)

    effect = diagnose_model(model, params, (x + 10, y), loss).causes[0].effect
    centred = x - x.mean(axis=0)
    measured = top_of_first_block(model, params, "", centred, y, loss) / top_of_first_block(
        model, params, "", x + 10, y, loss
    )
    assert effect.top == pytest.approx(measured, rel=1e-3)
    assert measured < 0.01


@pytest.mark.slow
def test_a_cure_changes_the_block_of_a_network_about_as_predicted():
    """Behind a ReLU the inputs and the outputs' gradients are not independent: within a factor of 3."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(256, 6)).astype(np.float32), rng.integers(0, 10, 256)
    model = MLP()
    params = model.init(jax.random.key(1), x)["params"]
    first = params["dense1"]
    shifted = {**params, "dense1": {**first, "bias": first["bias"] - 10 * first["kernel"].sum(0)}}
    found = diagnose_model(model, {"params": shifted}, (x + 10, y), cross_entropy)
    effect = found.causes[0].effect
    assert found.causes[0].code == "layer-mean"
    measured = top_of_first_block(model, params, "dense1", x, y, cross_entropy) / top_of_first_block(
        model, shifted, "dense1", x + 10, y, cross_entropy
    )
    assert measured / 3 < effect.top < 3 * measured
    assert measured < 0.01
