"""How far a cure changes a layer's block of the curvature, against the Gauss-Newton matrix, formed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree
from planted_models import MLP, cross_entropy

from idjax.diagnosis.program.diagnose import diagnose_model


def dense_gauss_newton(forward, params, x, y, loss=cross_entropy):
    flat, nested = ravel_pytree(params)
    jacobian = jax.jacobian(lambda flat: forward(nested(flat), x).ravel())(flat)
    out = forward(params, x)
    curved = jax.hessian(lambda out: loss(out.reshape(len(x), -1), y))(out.ravel())
    return np.asarray(jacobian.T @ curved @ jacobian), nested


def top_of_first_block(model, params, first, x, y, loss):
    """The largest eigenvalue of a layer's block of H, formed."""

    def forward(part, x):
        return model.apply({"params": {**params, **part}}, x)

    own = {first: params[first]} if first else params
    return np.linalg.eigvalsh(dense_gauss_newton(forward, own, x, y, loss)[0].astype(float))[-1]


@pytest.mark.slow
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
    found = diagnose_model(model, {"params": params}, (x + 10, y), cross_entropy)
    effect = found.causes[0].effect
    assert found.causes[0].code == "layer-mean"
    measured = top_of_first_block(model, params, "dense1", x, y, cross_entropy) / top_of_first_block(
        model, params, "dense1", x + 10, y, cross_entropy
    )
    assert measured / 3 < effect.top < 3 * measured
    assert measured < 0.01
