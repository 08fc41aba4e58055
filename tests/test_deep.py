"""Deep linear networks: the floor of a bottleneck, Saxe's modes, and steps on the moments, against training on rows."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from idjax.moments import moments_of
from idjax.theory import deep_linear, quadratic, stepped
from idjax.types import Weights


def sgd(hyper):
    return optax.sgd(hyper)


@functools.partial(jax.jit, static_argnames="steps")
def descend(x, y, layers, rate, steps):
    """Losses before each update of plain full-batch descent, from the rows."""

    def loss(layers):
        z = x
        for kernel, bias in layers:
            z = z @ kernel + bias
        return jnp.mean((z - y) ** 2)

    def step(layers, _):
        value, slope = jax.value_and_grad(loss)(layers)
        return jax.tree.map(lambda w, g: w - rate * g, layers, slope), value

    return jax.lax.scan(step, layers, None, length=steps)


def on_the_rows(x, y, layers, rate, steps):
    layers, losses = descend(x, y, jax.tree.map(jnp.asarray, layers), rate, steps)
    return np.asarray(losses), jax.tree.map(np.asarray, layers)


def posed(x, y=None):
    """The problem on the moments, its floor, and nothing watched."""
    moments = moments_of(x, y)
    best = quadratic.optimum(moments)
    q = moments.outputs
    problem = stepped.Layer(
        *map(jnp.asarray, (moments.covariance_xx, moments.mean_x, np.ones(()), best.stacked, np.full(q, 1 / q)))
    )
    n = moments.inputs + 1
    watched = stepped.Watched(jnp.zeros((0, n, n)), jnp.zeros((0, q)), jnp.zeros((0, n, q)))
    floor = float(quadratic.project(moments, best, np.eye(n)).residual.mean())
    return moments, problem, watched, floor


def from_moments(x, y, layers, rate, steps):
    _, problem, watched, floor = posed(x, y)
    state = deep_linear.begin(sgd, jnp.asarray(rate), jax.tree.map(jnp.asarray, layers))
    state, losses, _ = deep_linear.follow(sgd, jnp.asarray(rate), problem, (), state, watched, steps)
    return np.asarray(losses) + floor, state.params


def gaussian_layers(rng, sizes, scale=1.0):
    return tuple(
        Weights(scale * rng.normal(size=(a, b)) / np.sqrt(a), 0.1 * rng.normal(size=b))
        for a, b in itertools.pairwise(sizes)
    )


def centred(rng, rows, eigenvalues):
    """Rows of mean 0 whose covariance has exactly these eigenvalues, and its axes."""
    p = len(eigenvalues)
    axes = np.linalg.qr(rng.normal(size=(p, p)))[0]
    z = rng.normal(size=(rows, p))
    z = np.linalg.qr(z - z.mean(axis=0))[0] * np.sqrt(rows)
    return (z * np.sqrt(eigenvalues)) @ axes.T, axes


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_steps_on_moments_are_steps_on_rows(depth):
    rng = np.random.default_rng(depth)
    x = rng.normal(size=(60, 5)) + 0.5
    y = x @ rng.normal(size=(5, 3)) + 0.1 * rng.normal(size=(60, 3)) + 1
    layers = gaussian_layers(rng, (5, *(4, 6, 3, 5)[: depth - 1], 3))
    with jax.enable_x64(True):
        predicted, ends = from_moments(x, y, layers, 0.02, 500)
        trained, weights = on_the_rows(x, y, layers, 0.02, 500)
        wrong, _ = from_moments(x, y + 1, layers, 0.02, 500)
    np.testing.assert_allclose(predicted, trained, rtol=1e-9)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-9), ends, weights)
    assert np.max(np.abs(wrong / trained - 1)) > 0.1


@pytest.mark.parametrize("seed", range(20))
def test_modes_of_two_balanced_layers_against_training(seed):
    """Saxe's closed form, from the eigenvalues alone, within 2% of training on rows along the whole curve."""
    rng = np.random.default_rng(seed)
    p, k = int(rng.integers(3, 9)), int(rng.integers(1, 4))
    values = np.sort(np.exp(rng.uniform(np.log(0.1), 0, p)))[::-1]
    x, axes = centred(rng, 40, values)
    start = rng.uniform(0.02, 0.1, k)
    layers = deep_linear.balanced_layers(axes[:, :k], start)
    share, rate = 1 / p, 0.002 * p / values[0]
    with jax.enable_x64(True):
        # The slowest mode is at 99% of its strength at the end.
        steps = int(np.log(1 / start.min() * 100) / (4 * rate * share * values[k - 1]))
        t = np.arange(float(steps))
        trained, _ = on_the_rows(x, x, layers, rate, steps)
        strength = np.asarray(deep_linear.mode_strength(t, start, values[:k], values[:k], 2 * rate * share))
        slower = np.asarray(deep_linear.mode_strength(t, start, values[:k], values[:k], rate * share))
    floor = share * values[k:].sum()

    def loss(strength):
        return share * np.sum(values[:k] * (1 - strength) ** 2, axis=1) + floor

    assert trained[-1] - floor < 0.1 * (trained[0] - floor)
    error = np.max(np.abs(loss(strength) / trained - 1))
    assert error < 0.02
    assert np.max(np.abs(loss(slower) / trained - 1)) > 0.02


def test_floor_of_a_bottleneck_is_what_pca_leaves():
    rng = np.random.default_rng(0)
    x, _ = centred(rng, 50, np.logspace(0, -2, 6))
    x += rng.normal(size=6)
    moments, _, _, _ = posed(x)
    values = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1]
    for k in range(7):
        found = deep_linear.discarded(moments.covariance_xx, np.eye(6), np.full(6, 1 / 6), k)
        np.testing.assert_allclose(found, values[k:].sum() / 6, atol=1e-14)


def test_training_reaches_the_floor_and_the_principal_subspace():
    rng = np.random.default_rng(1)
    x, axes = centred(rng, 50, np.array([1.0, 0.7, 0.5, 0.2, 0.1, 0.05]))
    x += 0.3
    moments, _, _, _ = posed(x)
    layers = gaussian_layers(rng, (6, 2, 6))
    with jax.enable_x64(True):
        losses, ends = from_moments(x, x, layers, 0.3, 20_000)
        kernel = np.asarray(deep_linear.end_to_end(ends).kernel)
    floor = deep_linear.discarded(moments.covariance_xx, np.eye(6), np.full(6, 1 / 6), 2)
    assert abs(losses[-1] / floor - 1) < 1e-6
    assert deep_linear.principal_angles(kernel, moments.covariance_xx, 2).max() < 1e-5
    turned = axes @ np.diag([1, 0, 1, 0, 0, 0]) @ axes.T
    np.testing.assert_allclose(
        deep_linear.principal_angles(turned, moments.covariance_xx, 2), [0, np.pi / 2], atol=1e-7
    )


def test_floor_of_a_regression_is_that_of_reduced_rank():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 5)) * np.array([1, 0.8, 1.2, 0.5, 1])
    y = x @ rng.normal(size=(5, 4)) + 0.3 * rng.normal(size=(80, 4)) + 2
    moments, _, _, floor = posed(x, y)
    best = quadratic.optimum(moments)
    with jax.enable_x64(True):
        losses, _ = from_moments(x, y, gaussian_layers(rng, (5, 2, 4)), 0.1, 20_000)
    left = deep_linear.discarded(moments.covariance_xx, best.kernel, np.full(4, 0.25), 2)
    assert abs(losses[-1] / (floor + left) - 1) < 1e-6
    assert abs(losses[-1] / (floor + 1.1 * left) - 1) > 1e-3
