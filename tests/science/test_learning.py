"""A program that learns well as it is given has no cause of slowness, and what it learned is measured."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from planted_models import planted_model

from idjax import diagnose_loss, diagnose_model

RNG = np.random.default_rng(0)
X = np.arange(0, 1, 0.02, dtype=np.float32)[:, None]
Y = (125 * X**2 + RNG.normal(size=X.shape) ** 3).astype(np.float32)
LINE = np.arange(-10, 10.05, 0.1, dtype=np.float32)[:, None]


class Net(nn.Module):
    widths: tuple[int, ...] = (50, 30)
    activation: object = nn.relu

    @nn.compact
    def __call__(self, x):
        for width in self.widths:
            x = self.activation(nn.Dense(width)(x))
        return nn.Dense(1)(x)


def found(model, x, y, **options):
    def loss(params, x, y):
        return jnp.mean((model.apply(params, x) - y) ** 2)

    return diagnose_loss(loss, model.init(jax.random.key(0), x[:2]), x, y, **options)


def codes(*given, **options):
    return [finding.code for finding in found(*given, **options).causes]


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [(optax.sgd(1e-3), []), pytest.param(optax.sgd(0.1), ["step-too-large"], marks=pytest.mark.slow),
     pytest.param(optax.adam(1e-4), ["target-scale"], marks=pytest.mark.slow), ("sgd", ["target-scale"])],
)  # fmt: skip
def test_targets_to_125_are_no_cause_where_a_rate_learns_them(optimizer, expected):
    assert codes(Net(), X, Y, optimizer=optimizer) == expected


@pytest.mark.slow
def test_inputs_of_5_are_a_cause_where_the_rate_that_is_given_does_not_learn():
    model = Net((5,), nn.sigmoid)
    assert codes(model, LINE, LINE**2 / 30, optimizer=optax.sgd(0.1)) == []
    assert codes(model, LINE, LINE**2 / 30) == ["layer-scale"]


@pytest.mark.slow
def test_bytes_are_a_cause_in_a_program_that_learns_all_the_same():
    made = planted_model("mlp", "bytes", 0)
    told = diagnose_model(made.model, made.params, made.batch, made.loss, made.settings)
    assert told.workshop.context.learns
    assert [finding.code for finding in told.causes] == ["layer-scale"]


def test_what_is_learned_is_told_by_the_targets_of_other_rows():
    x = RNG.normal(size=(120, 3)).astype(np.float32)
    y = (x @ [1, -2, 0.5] + 3 * RNG.normal(size=120) + 2000).astype(np.float32)[:, None]

    def loss(params, x, y):
        return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)

    design = np.c_[x, np.ones(120)]
    r2 = 1 - np.var(y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) / np.var(y)
    params = {"w": np.zeros((3, 1), np.float32), "b": np.full(1, 2000, np.float32)}
    context = diagnose_loss(loss, params, x, y, optimizer=optax.sgd(0.1), codes=["not-finite"]).workshop.context
    assert context.learned_at(1.0) == pytest.approx(2 * r2 / (1 + r2), abs=0.05)
    assert not context.learns
    assert "begin at 0" in diagnose_loss(loss, params | {"b": np.zeros(1, np.float32)}, x, y).verdict
    # All of the loss but a millionth falls by the bias alone, and nothing is learned of the rows.
    far = diagnose_loss(lambda p, *rows: loss(p | {"w": 0 * p["w"]}, *rows), params | {"b": np.zeros(1, np.float32)},
                        x, y, optimizer=optax.sgd(0.1), codes=["not-finite"]).workshop.context  # fmt: skip
    assert abs(far.learned_at(1.0)) < 1e-3
