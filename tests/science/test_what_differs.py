"""Two autoencoders that should train alike, a plain one and one of Flax (google/flax issue 4087): what differs."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from idjax.nn.inspect import Model
from idjax.prediction.compare import what_differs
from idjax.types import IdjaxError

EPOCHS, STEPS = 10, 4
X = np.random.default_rng(0).normal(0.3, 1, (200, 8)) @ np.random.default_rng(1).normal(size=(8, 8)) * 0.5 + 0.7


class Autoencoder(nn.Module):
    use_bias: bool = True
    activation: str = "linear"
    scale: float = 1.0

    @nn.compact
    def __call__(self, x):
        start = nn.initializers.variance_scaling(self.scale**2, "fan_in", "normal")
        for width in (4, 8):
            if width == 8 and self.activation == "tanh":
                x = jnp.tanh(x)
            x = nn.Dense(width, use_bias=self.use_bias, kernel_init=start)(x)
        return x


def mean(output, target):
    return optax.squared_error(output, target).mean()


def summed(output, target):
    return optax.squared_error(output, target).sum(axis=-1).mean()


def of_flax(rate=0.01, loss=mean, **changes):
    net = Autoencoder(**changes)
    return Model("flax", net.init(jax.random.key(0), jnp.ones((1, 8), jnp.float32)), net.apply, loss, rate)


def plain(rate=0.01, loss=mean):
    """The same numbers by hand; the decoder's name comes before the encoder's."""
    layers = of_flax().params["params"]
    params = {"decoder": layers["Dense_1"], "encoder": layers["Dense_0"]}

    def apply(params, x):
        for name in ("encoder", "decoder"):
            x = x @ params[name]["kernel"] + params[name]["bias"]
        return x

    return Model("plain", params, apply, loss, rate)


def trained(model):
    with jax.enable_x64(True):
        x = jnp.asarray(X)
        step = jax.jit(jax.value_and_grad(lambda params: model.loss(model.apply(params, x), x)))
        params, losses = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), model.params), []
        for _ in range(EPOCHS * STEPS):
            value, slope = step(params)
            losses.append(float(value))
            params = jax.tree.map(lambda w, g: w - model.learning_rate * g, params, slope)
    return np.reshape(losses, (EPOCHS, STEPS)).mean(axis=1)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("other", "setting", "words", "bar"),
    [
        (of_flax(scale=0.3), "initial scale", "/√inputs", 1e-6),
        (of_flax(use_bias=False), "bias", "no bias", 1e-6),
        pytest.param(of_flax(loss=summed), "loss", "sum over outputs, mean over rows", 1e-6, marks=pytest.mark.slow),
        (of_flax(activation="tanh"), "hidden activation", "tanh", 0.02),
        pytest.param(of_flax(rate=0.02), "learning rate", "0.02", 1e-6, marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_setting_differs_and_is_named(other, setting, words, bar):
    found = what_differs(X, plain(), other, epochs=EPOCHS, steps_per_epoch=STEPS)
    assert [each.setting for each in found.found] == [setting]
    assert words in found.found[0].second
    np.testing.assert_allclose(found.first, trained(plain()), rtol=1e-6)
    np.testing.assert_allclose(found.second, trained(other), rtol=bar)
    assert f"{setting}: " in str(found)
    # The negative control: the first model's curve is not the second's.
    assert np.max(np.abs(found.first / trained(other) - 1)) > 5e-3


def test_changed_alone_it_makes_the_difference():
    """Where one setting differs the first model with it changed ends where the second does."""
    (loss,) = what_differs(X, plain(), of_flax(loss=summed), epochs=EPOCHS, steps_per_epoch=STEPS).found
    np.testing.assert_allclose(loss.alone, trained(of_flax(loss=summed))[-1], rtol=1e-6)


def test_the_setting_that_moves_the_loss_most_comes_first():
    other = of_flax(loss=summed, use_bias=False)
    found = what_differs(X, plain(), other, epochs=EPOCHS, steps_per_epoch=STEPS).found
    assert [each.setting for each in found] == ["loss", "bias"]


def test_nothing_differs():
    found = what_differs(X, plain(), of_flax(), epochs=EPOCHS, steps_per_epoch=STEPS)
    assert found.found == ()
    np.testing.assert_allclose(found.first, found.second, rtol=1e-9)
    assert "nothing differs" in str(found)


def test_what_is_no_stack_of_layers_is_refused():
    odd = dataclasses.replace(plain(), apply=lambda params, x: jnp.sin(3 * plain().apply(params, x)))
    with pytest.raises(IdjaxError, match="no stack of dense layers"):
        what_differs(X, odd, plain(), epochs=2)
    absolute = plain(loss=lambda output, target: jnp.abs(output - target).mean())
    with pytest.raises(IdjaxError, match="no multiple of the squared error"):
        what_differs(X, absolute, plain(), epochs=2)
