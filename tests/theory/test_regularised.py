"""Penalties on hidden units: the optimum, the components themselves, and the slow turn onto them, against descent."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from idjax.theory.full_batch import stepped
from idjax.theory.networks import deep_linear
from idjax.theory.networks.deep_linear import component_angles
from idjax.types import Weights

VARIANCE = np.array([1.0, 0.6, 0.3, 0.1])
Q = len(VARIANCE)
AXES = np.linalg.qr(np.random.default_rng(0).normal(size=(Q, Q)))[0]
COVARIANCE = (AXES * VARIANCE) @ AXES.T


def optimal_strength(variance, penalty, share):
    """u = max(0, 1 - μ / (share λ)): what is left of each component at the optimum (D11); share is 1/q."""
    return np.maximum(1 - penalty / (share * variance), 0.0)


def sgd(hyper):
    return optax.sgd(hyper)


def descend(layers, penalty, steps, rate=0.1):
    """Layers after so many steps on the moments."""
    with jax.enable_x64(True):
        problem = stepped.LinearLayer(
            *map(jnp.asarray, (COVARIANCE, np.zeros(Q), np.ones(()), np.eye(Q + 1)[:, :Q], np.full(Q, 1 / Q)))
        )
        nothing = stepped.Watched(jnp.zeros((0, Q + 1, Q + 1)), jnp.zeros((0, Q)), jnp.zeros((0, Q + 1, Q)))
        state = stepped.begin(sgd, jnp.asarray(rate), deep_linear.parameters_of(layers))
        penalised = deep_linear.LinearLayers(problem, (jnp.asarray(penalty),), nothing)
        state, _, _ = stepped.follow(sgd, jnp.asarray(rate), penalised, state, 1, steps)
        return jax.tree.map(np.asarray, penalised.layers(state.params))


def rotation_curvature(variance, penalty):
    """The least curvature h of the loss at the optimum as two components turn into each other (D12).

    Descent at rate η takes e^{-η h} of the angle a step: h is 0 where the penalties are equal, and negative where the
    larger variance has the larger penalty, which is a saddle.
    """
    scale = np.diag(np.sqrt(optimal_strength(variance, penalty, 1 / Q)))

    def loss(turn):
        first, second = (scale + jnp.array([[0.0, a], [b, 0.0]]) for a, b in (turn[:2], turn[2:]))
        error = jnp.sum(variance[:, None] * (jnp.eye(2) - first @ second) ** 2)
        return error / Q + jnp.sum(penalty * (jnp.sum(first**2, axis=0) + jnp.sum(second**2, axis=1)))

    with jax.enable_x64(True):
        # Turns leave the components' own strengths alone to first order: their part of the Hessian stands by itself.
        return float(np.linalg.eigvalsh(np.asarray(jax.hessian(loss)(jnp.zeros(4))))[0])


def random_layers(seed):
    rng = np.random.default_rng(seed)
    return (Weights(0.3 * rng.normal(size=(Q, 2)), np.zeros(2)), Weights(0.3 * rng.normal(size=(2, Q)), np.zeros(Q)))


def turned(penalty, angle):
    """The optimum with its two units turned into each other."""
    root = np.sqrt(optimal_strength(VARIANCE[:2], penalty, 1 / Q))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (
        Weights(AXES[:, :2] @ np.diag(root) @ turn.T, np.zeros(2)),
        Weights(turn @ np.diag(root) @ AXES[:, :2].T, np.zeros(Q)),
    )


def test_different_penalties_find_the_components_and_equal_ones_only_their_span():
    """Kunin et al. 2019 and Bao et al. 2020, with the shrinkage of each component."""
    different, equal = np.array([0.01, 0.03]), np.array([0.02, 0.02])
    for penalty, bar in ((different, 1e-5), (equal, None)):
        ends = descend(random_layers(3), penalty, 40_000, rate=0.5)
        kernel = deep_linear.end_to_end(ends).kernel
        assert deep_linear.principal_angles(kernel, COVARIANCE, 2).max() < 1e-6
        expected = optimal_strength(VARIANCE[:2], penalty, 1 / Q)
        np.testing.assert_allclose(np.linalg.svd(kernel)[1][:2], np.sort(expected)[::-1], rtol=1e-6)
        angle = component_angles(ends[1].kernel, COVARIANCE, penalty).max()
        assert angle < bar if bar else angle > 0.05


@pytest.mark.quick(1)
@pytest.mark.parametrize("penalty", [(0.001, 0.05), (0.02, 0.025), (0.01, 0.03)])
def test_the_turn_onto_the_components_takes_as_long_as_its_curvature_says(penalty):
    """Within 2%: the slowdown against the learning of the span."""
    penalty = np.array(penalty)
    curvature = rotation_curvature(VARIANCE[:2], penalty)
    rate, steps = 0.1, int(0.7 / (0.1 * curvature))
    early = descend(turned(penalty, 0.02), penalty, steps, rate)
    late = descend(early, penalty, steps, rate)
    before, after = (component_angles(ends[1].kernel, COVARIANCE, penalty).max() for ends in (early, late))
    assert abs(np.log(before / after) / (rate * curvature * steps) - 1) < 0.02
    assert curvature < 0.2 * 4 / Q * VARIANCE[1]


def test_equal_penalties_turn_freely_and_the_wrong_order_is_a_saddle():
    assert abs(rotation_curvature(VARIANCE[:2], np.array([0.02, 0.02]))) < 1e-12
    assert rotation_curvature(VARIANCE[:2], np.array([0.03, 0.01])) < -1e-4
