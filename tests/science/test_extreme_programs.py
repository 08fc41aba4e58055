"""Programs at the ends of what numbers hold: sizes, rates, types, loops, and nothing at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idjax import IdjaxError, diagnose_loss

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(256, 12)).astype(np.float32)
Y = np.sin(X[:, :1])
START = np.zeros((12, 1), np.float32)


def squares(w, x, y):
    return jnp.mean((x @ w - y) ** 2)


def codes(loss, *args, **options):
    return [finding.code for finding in diagnose_loss(loss, *args, **options).findings]


@pytest.mark.parametrize("size", [1e6, 1e10, 1e15])
def test_large_inputs_are_told_however_large(size):
    """Their curvature goes as the square, and that of its length in single precision would be no number."""
    assert codes(squares, START, size * X, Y)[:1] == ["layer-scale"]
    assert codes(squares, START, X, Y) == []


def test_a_column_of_nanoseconds_since_1970_is_told():
    x = X.copy()
    x[:, 0] = 1.7e18 + DRAWS.integers(0, 10**15, len(x))
    assert codes(squares, START, x, Y)[0] == "layer-outliers"


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_rates_far_too_small_are_told_where_their_falls_are_lost_in_rounding(optimizer):
    for rate in (1e-8, 1e-12):
        found = diagnose_loss(squares, START, X, Y, optimizer=optimizer, learning_rate=rate).findings
        assert [finding.code for finding in found] == ["step-too-small"]
        better = float(str(found[0].evidence["one that is as stable"]))
        assert 30 * rate < better < 1
    assert codes(squares, START, X, Y, optimizer=optimizer, learning_rate=0.05) == []


def test_small_inputs_without_a_bias_ask_for_a_larger_rate():
    assert codes(squares, START, 1e-6 * X, Y, learning_rate=0.01) == ["step-too-small"]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_outputs_of_16_bits_are_moved_as_others(dtype):
    x, y = jnp.asarray(X, dtype), jnp.asarray(Y, dtype)

    def loss(w, x, y):
        return jnp.mean((x @ w - y).astype(jnp.float32) ** 2)

    assert codes(loss, jnp.zeros((12, 1), dtype), x, y) == []
    assert codes(lambda *args: -loss(*args), jnp.ones((12, 1), dtype), x, y)[:1] == ["unbounded-loss"]


def test_a_loop_that_counts_is_looked_into():
    def loss(w, x, y):
        return jnp.mean((jax.lax.fori_loop(0, 3, lambda _, h: jnp.tanh(h @ w), x)[:, :1] - y) ** 2)

    found = diagnose_loss(loss, 0.5 * np.eye(12, dtype=np.float32), X, Y)
    assert found.causes == ()
    assert "1 layer" in found.looked_at


def test_an_empty_batch_is_named():
    with pytest.raises(IdjaxError, match=r"x is empty, of shape \(0, 12\): give a batch with rows"):
        diagnose_loss(squares, START, X[:0], Y[:0])


def test_parameters_that_are_plain_numbers_are_learned_as_jax_does():
    def line(params, x, y):
        return jnp.mean((params["slope"] * x[:, :1] + params["level"] - y) ** 2)

    found = diagnose_loss(line, {"slope": np.ones(1, np.float32), "level": 0.0}, X, Y)
    assert (found.causes, found.parameters) == ((), 2)
    assert diagnose_loss(lambda slope, x, y: jnp.mean((slope * x[:, :1] - y) ** 2), 1.0, X, Y).parameters == 1
    with pytest.raises(IdjaxError, match="no real numbers"):
        diagnose_loss(lambda slope, x, y: jnp.mean((slope * x[:, :1] - y) ** 2), 1, X, Y)


def test_a_loss_that_no_rate_keeps_finite_is_named_by_its_equation():
    """Descent leads below 0, where the root has no value: a smaller rate comes there later. Of too large a rate not."""

    def roots(w, x, y):
        return jnp.mean((jnp.sqrt(x @ w + 2.0) + 1 - y) ** 2)

    y = 0.1 * np.abs(X[:, :1])
    found = diagnose_loss(roots, START, X, y, optimizer="sgd", learning_rate=1.0).causes
    assert [finding.code for finding in found] == ["not-finite"]
    assert "steps in which the loss fell" in found[0].message
    assert "root" in found[0].message
    assert found[0].where.startswith("test_extreme_programs.py")
    assert codes(squares, START, X, Y, optimizer="sgd", learning_rate=1e6) == ["step-too-large"]
