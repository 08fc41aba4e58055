"""Blocks of batches: the same run as batch by batch, in exact arithmetic and in float32; and where they are used."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from idjax.data import load
from idjax.nn.model import to_params
from idjax.nn.starts import start_weights
from idjax.nn.step import hyper_for
from idjax.settings import Schedule, Settings
from idjax.training import block_sgd as blocks
from idjax.training.block_sgd import InBlocks, goes_in_blocks, train_in_blocks
from idjax.training.train import prepare, train
from idjax.types import IdjaxError, Rows

RATES = np.array([0.05, 0.1, 0.02, 0.3])
MOMENTA = np.array([0.0, 0.5, 0.9, 0.99])


def by_steps(rows, targets, weights, velocity, sizes, *, rates=RATES, momenta=MOMENTA, nesterov=False):
    """Keras's sgd, written out: v ← β v - η g, w ← w + v or w + β v - η g; Σ R² of each batch before its update."""
    squares = []
    for begin, size in zip(itertools.accumulate((0, *sizes)), sizes, strict=False):
        batch = slice(begin, begin + size)
        residual = rows[batch] @ weights - targets[batch]
        step = -rates / size * (rows[batch].T @ residual)
        squares.append((residual**2).sum(axis=0))
        velocity = momenta * velocity + step
        weights = weights + (momenta * velocity + step if nesterov else velocity)
    return weights, velocity, np.array(squares)


def problem(sizes, seed=0, inputs=5):
    rng = np.random.default_rng(seed)
    rows = rng.normal(0.5, 1, (sum(sizes), inputs))
    return rows, rng.normal(size=(len(rows), 4)), rng.normal(size=(inputs, 4)), rng.normal(size=(inputs, 4))


def in_blocks(rows, targets, weights, velocity, sizes, *, rates=RATES, momenta=MOMENTA, nesterov=False):
    with jax.enable_x64(True):
        rule = blocks.HeavyBall(jnp.asarray(rates), jnp.asarray(momenta), nesterov)
        start, rows, targets = jax.tree.map(jnp.asarray, (blocks.Motion(weights, velocity), rows, targets))
        pair, squares = blocks.descend(rule, start, rows, targets, sizes)
        return jax.tree.map(np.asarray, (*pair, squares))


SIZES = [(4, 4, 4, 4, 4, 3), (1,) * 7, (8, 8, 8, 8), (7,), (2, 1)]


@pytest.mark.quick(1)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_block_is_its_batches_one_by_one(sizes, nesterov):
    given = problem(sizes)
    truth = by_steps(*given, sizes, nesterov=nesterov)
    for got, expected in zip(in_blocks(*given, sizes, nesterov=nesterov), truth, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.quick(2)
@pytest.mark.parametrize("sizes", SIZES)
def test_a_block_without_momentum(sizes):
    rows, targets, weights, _ = problem(sizes)
    goals = np.zeros_like(targets)
    weights_after, _, squares = by_steps(rows, goals, weights, 0.0, sizes, momenta=np.zeros(4))
    got = in_blocks(rows, None, weights, None, sizes)
    np.testing.assert_allclose(got[0], weights_after, rtol=1e-11, atol=1e-12)
    assert got[1] is None
    np.testing.assert_allclose(got[2], squares, rtol=1e-11)


def test_a_wrong_step_and_forgotten_batches_are_seen(monkeypatch):
    """Negative controls: the step 1% off, and no word of the earlier batches (G without its lower triangle)."""
    sizes = (8, 8, 8, 8)
    rows, targets, weights, _ = problem(sizes)
    truth = by_steps(rows, targets, weights, 0.0, sizes, momenta=np.zeros(4))[2]
    off = in_blocks(rows, targets, weights, None, sizes, rates=1.01 * RATES)[2]
    assert np.abs(off[1:] / truth[1:] - 1).min() > 1e-5
    solve = blocks._solve
    monkeypatch.setattr(blocks, "_solve", lambda descent, gram, *rest: solve(descent, 0 * gram, *rest))
    forgotten = in_blocks(rows, targets, weights, None, sizes)[2]
    np.testing.assert_allclose(forgotten[0], truth[0], rtol=1e-11)
    assert np.abs(forgotten[1:] / truth[1:] - 1).min() > 1e-2


def data(rows=103, p=5, seed=0):
    return np.random.default_rng(seed).normal(0.5, 1, (rows, p))


def both(x, settings, y=None):
    return (train(x, dataclasses.replace(settings, solver=solver), target=y) for solver in ("blocks", "steps"))


def assert_same(got, expected, rtol):
    np.testing.assert_allclose(got.train, expected.train, rtol=rtol)
    np.testing.assert_allclose(got.validation, expected.validation, rtol=rtol)
    np.testing.assert_allclose(1 - got.explained_variance, 1 - expected.explained_variance, rtol=rtol)
    np.testing.assert_allclose(got.weights.kernel, expected.weights.kernel, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(got.weights.bias, expected.weights.bias, rtol=rtol, atol=rtol)
    assert got.steps_per_epoch == expected.steps_per_epoch


@pytest.mark.quick(1)
@pytest.mark.parametrize("batch_size", [4, 9, 10, 71])
def test_training_in_blocks_is_training_in_steps(batch_size):
    settings = Settings(learning_rate=0.02, batch_size=batch_size, epochs=3, dtype="float64", momentum=0.5)
    blocked, stepped = both(data(), settings)
    assert_same(blocked, stepped, 1e-10)
    assert "blocks" in blocked.how
    assert "blocks" not in stepped.how


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "change",
    [
        {"normalize": "feature"},
        {"normalize": "sample"},
        {"normalize": "pca"},
        {"momentum": 0.9, "nesterov": True},
        {"start": "identity"},
        {"validation_split": 0.0},
    ],
)
@pytest.mark.parametrize("targets", [False, True])
def test_whatever_the_rows_pass_through(change, targets):
    settings = Settings(learning_rate=0.02, batch_size=7, epochs=2, dtype="float64", **change)
    y = data(seed=3) if targets else None
    blocked, stepped = both(data(), settings, y)
    assert_same(blocked, stepped, 1e-9)


def test_float32_stays_with_the_truth_and_no_further_from_it_than_steps():
    """Rows like the published ones: a mean of 900 deviations. 10 epochs; both runs round, each in its own way."""
    x = np.random.default_rng(1).normal(1.109, 0.00124, (6000, 20)).astype(np.float32)
    settings = Settings(learning_rate=0.01, batch_size=8, epochs=10)
    blocked, stepped = both(x, settings)
    exact = train(x.astype(np.float64), dataclasses.replace(settings, dtype="float64"))

    def distance(curve):
        return np.linalg.norm(curve.weights.kernel - exact.weights.kernel) / np.linalg.norm(exact.weights.kernel)

    assert_same(blocked, exact, 1e-5)
    assert distance(blocked) < 2 * distance(stepped)
    with pytest.raises(AssertionError):
        assert_same(train(x, dataclasses.replace(settings, learning_rate=0.0101)), exact, 1e-5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"optimizer": "adam"}, "`optimizer='sgd'`"),
        ({"loss": "mae"}, "`loss='mse'`"),
        ({"activation": "tanh"}, "`activation='linear'`"),
        ({"schedule": Schedule("cosine")}, "a constant `schedule`"),
        ({"activity_l2": 0.1}, "no activity penalty"),
        ({"normalize": "center", "loss_space": "original"}, "`loss_space='normalized'`"),
        ({"dtype": "bfloat16"}, "`dtype='float32'` or float64"),
        ({"rounding": "stochastic"}, "`rounding='nearest'`"),
    ],
)
def test_blocks_are_refused_where_they_do_not_hold(change, reason):
    with pytest.raises(IdjaxError, match=f"solver is blocks: blocks of batches need {reason}; use auto or steps"):
        Settings(solver="blocks", **change)
    assert Settings(**change).against_blocks
    assert not goes_in_blocks(Settings(**change), 10**7, 84)


def test_a_full_batch_has_no_blocks():
    with pytest.raises(IdjaxError, match="a batch of all 30 rows"):
        train(data(30), Settings(solver="blocks", batch_size=30, validation_split=0.0))


def test_where_auto_takes_blocks():
    """Where they were measured to be faster; docs/benchmarks.md."""
    settings = Settings(batch_size=8, epochs=100)
    assert goes_in_blocks(settings, 10_000, 84 * 84)
    assert not goes_in_blocks(settings, 9_999, 84 * 84)  # not worth their compilation
    assert goes_in_blocks(settings, 5_000, 84 * 84, runs=2)
    assert not goes_in_blocks(dataclasses.replace(settings, batch_size=32), 10_000, 84 * 84)
    assert goes_in_blocks(dataclasses.replace(settings, batch_size=32), 10_000, 84 * 84, runs=16)
    assert not goes_in_blocks(dataclasses.replace(settings, batch_size=1), 10_000, 10)
    assert not goes_in_blocks(dataclasses.replace(settings, batch_size=10_000), 10_000, 84 * 84)
    assert not goes_in_blocks(dataclasses.replace(settings, solver="steps"), 10_000, 84 * 84)


def prepared(settings, x):
    plan, fitted, training, judged, rows, *_ = prepare(load(x), settings)
    hyper, params = hyper_for(settings), to_params(start_weights("glorot", *2 * x.shape[1:], 0))
    hyper, params = jax.tree.map(lambda leaf: leaf[None], (hyper, params))
    state = InBlocks().initial(plan, hyper, params, [0])
    order = jnp.asarray(np.random.default_rng(0).permutation(rows)[None], jnp.int32)
    return plan, hyper, fitted, state, training, judged, order


def test_one_compilation_for_all_rates_momenta_and_seeds():
    settings = Settings(batch_size=9, epochs=2, momentum=0.5, solver="blocks")
    train(data(53), settings)
    before = train_in_blocks._cache_size()
    train(data(53, seed=2), dataclasses.replace(settings, momentum=0.9, learning_rate=0.03, seed=4))
    assert train_in_blocks._cache_size() == before


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_blocks_lower_for_accelerators_at_the_highest_precision(platform):
    settings = Settings(batch_size=8, momentum=0.5, solver="blocks")
    plan, hyper, fitted, state, rows, judged, order = prepared(settings, data(60).astype(np.float32))

    def epoch(hyper, state, rows: Rows, order):
        return train_in_blocks(plan, hyper, fitted, state, rows, judged, order)

    exported = export.export(jax.jit(epoch), platforms=[platform])(hyper, state, rows, order)
    products = [line for line in exported.mlir_module().splitlines() if "stablehlo.dot_general" in line]
    assert len(products) > 4
    assert all("HIGHEST" in line for line in products)
