"""Training: Keras's counting, one compilation, donated buffers, and programs that lower for GPU and TPU."""

import dataclasses

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from idjax.data import load
from idjax.moments.moments import moments_of
from idjax.moments.normalize import fit
from idjax.nn.losses import BY_NAME, activity_penalty
from idjax.nn.metrics import shape_correlation
from idjax.nn.model import DenseModel, to_bytes, to_params
from idjax.nn.starts import start_weights
from idjax.nn.step import hyper_for, initial_state, plan_for, train_epochs, train_runs, train_step
from idjax.settings import Settings
from idjax.training import train as training
from idjax.training.train import train
from idjax.types import IdjaxError, Rows, Weights


def data(rows=103, p=5, seed=0):
    return np.random.default_rng(seed).normal(0.5, 1, (rows, p)).astype(np.float32)


def by_hand(x, settings, epochs):
    """Keras's epoch in NumPy: split, shuffle, last partial batch kept, losses before updates, row-weighted."""
    rows = int(len(x) * (1 - settings.validation_split))
    kernel, bias = start_weights("glorot", x.shape[1], x.shape[1], settings.seed)
    order = np.random.default_rng([settings.seed, 1])
    train_losses, validation = [], []
    for _ in range(epochs):
        shuffled = x[:rows][order.permutation(rows)].astype(np.float64)
        total = 0.0
        for i in range(0, rows, settings.batch_size):
            batch = shuffled[i : i + settings.batch_size]
            error = batch @ kernel + bias - batch
            total += len(batch) * np.mean(error**2)
            slope = 2 * error / error.size
            kernel = kernel - settings.step_size * batch.T @ slope
            bias = bias - settings.step_size * slope.sum(axis=0)
        train_losses.append(total / rows)
        held_out = x[rows:].astype(np.float64)
        validation.append(np.mean((held_out @ kernel + bias - held_out) ** 2))
    return np.array(train_losses), np.array(validation), kernel


@pytest.mark.parametrize("batch_size", [1, 8, 9, 72])
def test_an_epoch_is_keras_epoch(batch_size):
    x = data()
    settings = Settings(learning_rate=0.05, batch_size=batch_size, epochs=4, dtype="float64")
    got = train(x.astype(np.float64), settings)
    train_losses, validation, kernel = by_hand(x, settings, 4)
    np.testing.assert_allclose(got.train, train_losses, rtol=1e-10)
    np.testing.assert_allclose(got.validation, validation, rtol=1e-10)
    np.testing.assert_allclose(got.weights.kernel, kernel, rtol=1e-10)
    assert got.steps_per_epoch == -(-72 // batch_size)


def test_chunks_of_epochs_do_not_matter(monkeypatch):
    x = data()
    settings = Settings(learning_rate=0.05, batch_size=16, epochs=6)
    together = train(x, settings)
    monkeypatch.setattr(training, "ROWS_PER_CALL", 1)
    heard = []
    apart = train(x, settings, on_epoch=heard.append)
    np.testing.assert_allclose(apart.train, together.train, rtol=1e-6)
    assert [progress.done for progress in heard] == [1, 2, 3, 4, 5, 6]
    assert heard[-1].seconds_left == 0


def test_one_compilation_for_all_epochs_rates_and_data():
    base = Settings(batch_size=7, epochs=3, learning_rate=0.011, momentum=0.5, activity_l2=1e-3)
    train(data(41), base)
    before = train_runs._cache_size()
    train(data(41, seed=9), dataclasses.replace(base, learning_rate=0.3, momentum=0.9, seed=4, activity_l2=0.1))
    assert train_runs._cache_size() == before
    train(data(41), dataclasses.replace(base, batch_size=8))
    assert train_runs._cache_size() > before


def prepared(settings, rows=40, p=6):
    x = data(rows, p)
    plan = plan_for(settings, autoencoder=True, outputs=p)
    hyper = hyper_for(settings)
    fitted = jax.tree.map(jnp.asarray, fit(settings.normalize, moments_of(x)))
    fitted = jax.tree.map(lambda a: a.astype(jnp.float32), fitted)
    state = initial_state(plan, hyper, to_params(start_weights("glorot", p, p, 0)))
    order = jnp.asarray(np.random.default_rng(0).permutation(rows)[None], jnp.int32)
    return plan, hyper, fitted, state, Rows(jnp.asarray(x), None), order


def test_buffers_are_donated():
    plan, hyper, fitted, state, rows, order = prepared(Settings(batch_size=8))
    hyper, state = jax.tree.map(lambda leaf: leaf[None], (hyper, state))
    kernel = state.params["params"]["dense"]["kernel"]
    train_runs(plan, hyper, fitted, state, rows, rows, order)
    assert kernel.is_deleted()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("normalize", ["none", "feature", "sample"])
def test_step_and_epoch_lower_for_accelerators(platform, optimizer, normalize):
    """Neither is here; the programs are built for them all the same, with products at the highest precision."""
    settings = Settings(batch_size=8, optimizer=optimizer, normalize=normalize)
    plan, hyper, fitted, state, rows, order = prepared(settings)

    def epoch(hyper, fitted, state, rows, order):
        return train_epochs(plan, hyper, fitted, state, rows, rows, order)

    def step(hyper, fitted, state, rows):
        return train_step(plan, hyper, fitted, state, rows)

    for program, arguments in (
        (epoch, (hyper, fitted, state, rows, order)),
        (step, (hyper, fitted, state, rows)),
    ):
        exported = export.export(jax.jit(program), platforms=[platform])(*arguments)
        assert exported.platforms == (platform,)
        products = [line for line in exported.mlir_module().splitlines() if "stablehlo.dot_general" in line]
        assert products
        assert all("HIGHEST" in line for line in products)


def test_identity_start_is_exactly_zero():
    x = np.random.default_rng(1).normal(1.1090579, 0.0012380764, (1000, 84)).astype(np.float32)
    got = train(x, Settings(start="identity", learning_rate=0.01, batch_size=8, epochs=3))
    assert not got.train.any()
    assert not got.validation.any()
    nudged = train(x + 1e-3 * np.eye(84, dtype=np.float32)[0], Settings(batch_size=8, epochs=1))
    assert nudged.train.any()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
def test_explained_variance_survives_squares_that_float32_cannot_hold(scale):
    settings = Settings(normalize="feature", epochs=3, batch_size=8, learning_rate=0.1)
    plain = train(data(), settings).explained_variance
    np.testing.assert_allclose(train(data() * np.float32(scale), settings).explained_variance, plain, atol=1e-5)


def test_a_data_set_of_another_dtype_is_cast():
    settings = Settings(epochs=2, batch_size=8, dtype="float64")
    single = load(data())
    assert single.x.dtype == np.float32
    got = train(single, settings)
    np.testing.assert_array_equal(got.train, train(data().astype(np.float64), settings).train)


def test_divergence_stops_the_run():
    heard = []
    got = train(data(), Settings(learning_rate=1e6, batch_size=8, epochs=2000), on_epoch=heard.append)
    assert len(heard) <= 2000
    assert not np.isfinite(got.train[-1])
    assert got.steps_to_learn == np.inf


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("mse", lambda e: e**2),
        ("mae", np.abs),
        ("huber", lambda e: np.where(np.abs(e) <= 1, e**2 / 2, np.abs(e) - 0.5)),
        ("log-cosh", lambda e: np.log(np.cosh(e))),
    ],
)
def test_losses(name, formula):
    rng = np.random.default_rng(2)
    output, target = rng.normal(size=(2, 9, 3))
    output[0] += 5
    with jax.enable_x64(True):
        got = float(BY_NAME[name](jnp.asarray(output), jnp.asarray(target)))
    assert got == pytest.approx(np.mean(formula(output - target)), rel=1e-12)


def test_log_cosh_does_not_overflow():
    assert float(BY_NAME["log-cosh"](jnp.full((1, 1), 1e4), jnp.zeros((1, 1)))) == pytest.approx(1e4, rel=1e-3)


def test_activity_penalty_is_per_row():
    output = np.array([[1.0, -2.0], [3.0, 0.0]], np.float32)
    got = float(activity_penalty(jnp.asarray(output), 0.1, 0.01))
    assert got == pytest.approx(0.1 * 6 / 2 + 0.01 * 14 / 2)


def test_shape_correlation_is_the_mean_of_the_rows():
    rng = np.random.default_rng(3)
    output, target = rng.normal(size=(2, 30, 7))
    truth = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(output, target, strict=True)])
    assert float(shape_correlation(jnp.asarray(output), jnp.asarray(target))) == pytest.approx(truth, abs=1e-5)
    assert np.isnan(shape_correlation(jnp.ones((4, 1)), jnp.ones((4, 1))))


def test_weights_are_read_back_by_flax_and_by_start(tmp_path):
    weights = Weights(np.arange(6.0).reshape(3, 2), np.array([0.5, -0.5]))
    file = tmp_path / "weights.msgpack"
    file.write_bytes(to_bytes(weights))
    model = DenseModel(features=2, autoencoder=False)
    variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    restored = flax.serialization.from_bytes(variables, file.read_bytes())
    np.testing.assert_array_equal(model.apply(restored, jnp.eye(3)), weights.kernel + weights.bias)
    np.testing.assert_array_equal(start_weights(str(file), 3, 2, 0).kernel, weights.kernel)
    np.savez(tmp_path / "w.npz", kernel=weights.kernel, bias=weights.bias)
    np.testing.assert_array_equal(start_weights(str(tmp_path / "w.npz"), 3, 2, 0).bias, weights.bias)
    with pytest.raises(IdjaxError, match=r"kernel \(3, 2\)"):
        start_weights(str(file), 2, 2, 0)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_activations_train(activation):
    got = train(np.abs(data()), Settings(activation=activation, learning_rate=0.1, epochs=3, batch_size=8))
    assert got.train[-1] < got.train[0]


@pytest.mark.parametrize("normalize", ["center", "feature", "sample", "pca", "zca"])
def test_the_model_alone_gives_what_training_judged(normalize):
    """`DenseModel.__call__` with the fitted statistics has the explained variance that `train` reports."""
    x = data(60)
    settings = Settings(normalize=normalize, epochs=3, batch_size=8, learning_rate=0.1)
    got = train(x, settings)
    rows = 42
    fitted = jax.tree.map(jnp.asarray, fit(normalize, moments_of(x[:rows])))
    fitted = jax.tree.map(lambda a: a.astype(jnp.float32), fitted)
    output = DenseModel(features=5, normalize=normalize).apply(to_params(got.weights), jnp.asarray(x[rows:]), fitted)
    error = np.mean((np.asarray(output) - x[rows:]) ** 2)
    assert got.explained_variance[-1] == pytest.approx(1 - error / x[rows:].var(axis=0).mean(), abs=1e-5)
