"""Deep linear networks: the floor of a bottleneck, Saxe's modes, and steps on the moments, against training on rows."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from idjax.moments.moments import moments_of
from idjax.nn.model import DenseModel, layers_of, to_bytes
from idjax.prediction.predict import predict
from idjax.report.comparison import prediction_error
from idjax.results.curve import Status
from idjax.settings import Schedule, Settings
from idjax.theory import quadratic
from idjax.theory.full_batch import stepped
from idjax.theory.networks import deep_linear
from idjax.training.train import train
from idjax.types import IdjaxError, Weights


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


def problem_of(x, y=None):
    """The problem on the moments, its floor, and nothing watched."""
    moments = moments_of(x, y)
    best = quadratic.optimum(moments)
    q = moments.outputs
    problem = stepped.LinearLayer(
        *map(jnp.asarray, (moments.covariance_xx, moments.mean_x, np.ones(()), best.stacked, np.full(q, 1 / q)))
    )
    n = moments.inputs + 1
    watched = stepped.Watched(jnp.zeros((0, n, n)), jnp.zeros((0, q)), jnp.zeros((0, n, q)))
    floor = float(quadratic.project(moments, best, np.eye(n)).residual.mean())
    return moments, problem, watched, floor


def from_moments(x, y, layers, rate, steps):
    _, problem, watched, floor = problem_of(x, y)
    state = stepped.begin(sgd, jnp.asarray(rate), deep_linear.parameters_of(layers))
    linear = deep_linear.LinearLayers(problem, (), watched)
    state, losses, _ = stepped.follow(sgd, jnp.asarray(rate), linear, state, steps)
    return np.asarray(losses) + floor, linear.layers(state.params)


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


def balanced_layers(axes, strength):
    """Two layers U C and C Uᵀ with C = diag(√u): balanced, and along the axes U, no bias."""
    root = np.diag(np.sqrt(strength))
    return tuple(Weights(kernel, np.zeros(kernel.shape[1])) for kernel in (axes @ root, root @ axes.T))


def mode_strength(steps, start, variance, rate):
    """u(t) of the modes of a balanced autoencoder of two layers under gradient flow, (t, m) (D8).

    du/dt = 2 r λ u (1 - u), solved by u = 1 / (1 + (1/u₀ - 1) e^{-2 r λ t}): Saxe et al. 2014, equation 6.
    """
    return 1 / (1 + (1 / start - 1) * np.exp(-2 * rate * variance * steps[:, None]))


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
    p, k = int(rng.choice([4, 8])), int(rng.integers(1, 4))
    values = np.sort(np.exp(rng.uniform(np.log(0.1), 0, p)))[::-1]
    x, axes = centred(rng, 40, values)
    start = rng.uniform(0.02, 0.1, k)
    layers = balanced_layers(axes[:, :k], start)
    share, rate = 1 / p, 0.002 * p / values[0]
    with jax.enable_x64(True):
        # The slowest mode is at 99% of its strength at the end; powers of two, so that few programs are compiled.
        steps = 2 ** math.ceil(np.log2(np.log(1 / start.min() * 100) / (4 * rate * share * values[k - 1])))
        t = np.arange(float(steps))
        trained, _ = on_the_rows(x, x, layers, rate, steps)
        strength = mode_strength(t, start, values[:k], 2 * rate * share)
        slower = mode_strength(t, start, values[:k], rate * share)
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
    moments, _, _, _ = problem_of(x)
    values = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1]
    for k in range(7):
        found = deep_linear.discarded(moments.covariance_xx, np.eye(6), np.full(6, 1 / 6), k)
        np.testing.assert_allclose(found, values[k:].sum() / 6, atol=1e-14)


def test_training_reaches_the_floor_and_the_principal_subspace():
    rng = np.random.default_rng(1)
    x, axes = centred(rng, 50, np.array([1.0, 0.7, 0.5, 0.2, 0.1, 0.05]))
    x += 0.3
    moments, _, _, _ = problem_of(x)
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
    moments, _, _, floor = problem_of(x, y)
    best = quadratic.optimum(moments)
    with jax.enable_x64(True):
        losses, _ = from_moments(x, y, gaussian_layers(rng, (5, 2, 4)), 0.1, 20_000)
    left = deep_linear.discarded(moments.covariance_xx, best.kernel, np.full(4, 0.25), 2)
    assert abs(losses[-1] / (floor + left) - 1) < 1e-6
    assert abs(losses[-1] / (floor + 1.1 * left) - 1) > 1e-3


def rows(count=60, p=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, p)) @ rng.normal(size=(p, p)) * 0.4 + 0.5


FULL = Settings(learning_rate=0.05, batch_size=42, epochs=200, dtype="float64", hidden=(3,))


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden": (5, 2, 5)},
        {"hidden": (4, 7, 4, 5), "normalize": "feature"},
        {"momentum": 0.9, "nesterov": True, "learning_rate": 0.01},
        {"optimizer": "adam", "schedule": Schedule("cosine", warmup=5.0)},
        {"normalize": "pca", "activity_l2": 0.01},
        {"normalize": "sample", "start": "lecun"},
        {"normalize": "feature", "loss_space": "original"},
        {"dtype": "float32"},
        {"hidden_l2": (0.001, 0.01)},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())) or "plain",
)
def test_predict_is_the_twin_of_train(changes):
    settings = dataclasses.replace(FULL, **changes)
    trained, predicted = train(rows(), settings), predict(rows(), settings, band=False)
    bar = 1e-4 if settings.dtype == "float32" else 1e-8
    assert prediction_error(trained, predicted) < bar
    np.testing.assert_allclose(predicted.explained_variance, trained.explained_variance, atol=bar)
    np.testing.assert_allclose(predicted.weights.kernel, trained.weights.kernel, atol=bar)
    np.testing.assert_allclose(predicted.layers[-1].bias, trained.layers[-1].bias, atol=bar)
    other = predict(rows(), dataclasses.replace(settings, learning_rate=1.1 * settings.step_size), band=False)
    assert prediction_error(trained, other) > 1e-3


def test_a_regression_through_a_hidden_layer():
    x, y = rows(), rows(seed=1)[:, :2]
    trained, predicted = train(x, FULL, target=y), predict(x, FULL, target=y)
    assert prediction_error(trained, predicted) < 1e-8
    assert predicted.train_band is not None
    others = np.stack([train(x, dataclasses.replace(FULL, seed=seed), target=y).train for seed in range(1, 7)])
    inside = (predicted.train_band.low < others) & (others < predicted.train_band.high)
    assert inside.mean() > 0.8


def test_minibatches_without_their_noise_are_close_and_said_to_be_without():
    settings = dataclasses.replace(FULL, batch_size=20, learning_rate=0.01, epochs=60)
    x = rows(2000)
    trained, predicted = train(x, settings), predict(x, settings, band=False)
    assert "noise of the batches left out" in predicted.how
    assert prediction_error(trained, predicted) < 0.03


def test_no_learning_rate_compiles_anything_new():
    predict(rows(), FULL, band=False)
    before = stepped.follow._cache_size()
    predict(rows(), dataclasses.replace(FULL, learning_rate=0.031), band=False)
    assert stepped.follow._cache_size() == before


def test_notes_name_the_floor_and_the_bands_stay_above_it():
    x = rows()[:42]
    settings = dataclasses.replace(FULL, validation_split=0.0, epochs=3000)
    predicted = predict(x, settings)
    floor = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[:3].sum() / 6
    assert f"at least {floor:.6g}" in predicted.notes[0]
    assert "principal axes" in predicted.notes[1]
    assert predicted.train_band is not None
    assert (predicted.train_band.low > floor * (1 - 1e-9)).all()
    assert predict(x, dataclasses.replace(settings, hidden=(6,), epochs=5), band=False).notes == ()


def test_weights_of_all_layers_are_written_and_read(tmp_path):
    trained = train(rows(), dataclasses.replace(FULL, epochs=3))
    file = tmp_path / "weights.msgpack"
    file.write_bytes(to_bytes(trained.layers, "float64"))
    settings = dataclasses.replace(FULL, start=str(file), epochs=2)
    again, predicted = train(rows(), settings), predict(rows(), settings, band=False)
    assert again.train[0] < trained.train[-1]
    assert prediction_error(again, predicted) < 1e-8
    with pytest.raises(IdjaxError, match="2 layers, but there are 1"):
        train(rows(), dataclasses.replace(settings, hidden=()))
    with pytest.raises(IdjaxError, match=r"the data need \(6, 4\)"):
        train(rows(), dataclasses.replace(settings, hidden=(4,)))


def test_the_flax_model_has_the_layers_in_order():
    model = DenseModel(features=6, widths=(4, 2))
    layers = layers_of(model.init(jax.random.key(0), np.zeros((1, 6), np.float32)))
    assert [layer.kernel.shape for layer in layers] == [(6, 4), (4, 2), (2, 6)]


def test_what_cannot_be_is_refused():
    with pytest.raises(IdjaxError, match="identity needs"):
        train(rows(), dataclasses.replace(FULL, start="identity"))
    for changes in ({"normalize": "zca"}, {"loss": "mae"}, {"moments": "data", "batch_size": 8}):
        found = predict(rows(), dataclasses.replace(FULL, **changes, epochs=3), band=False)
        assert (found.status, found.no_theory[:18]) == (Status.FOLLOWED, "no theory predicts")
