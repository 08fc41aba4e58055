"""Healthy programs that are near a fault: linear ones of linear targets, rows that are meant to meet."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from programs.healthy_plain import X, Y, forward, layers
from programs.shape import ROWS, MadeProgram, targets_of

RNG = np.random.default_rng(6)


def linear_autoencoder() -> MadeProgram:
    """Two layers without an activation, which the target asks for no more than."""

    def loss(params, x):
        return jnp.mean((forward(params, x, lambda h: h) - x) ** 2)

    return MadeProgram(loss, layers(6, 3, 6), (X,))


def linear_with_noise() -> MadeProgram:
    def loss(params, x, y):
        return jnp.mean((forward(params, x, lambda h: h) - y) ** 2)

    y = X @ RNG.normal(size=(6, 1)) / 2.4 + RNG.normal(size=(ROWS, 1))
    return MadeProgram(loss, layers(6, 16, 8, 1), (X, y.astype(np.float32)))


def mixed_examples() -> MadeProgram:
    """Each example blended with the one before it, in inputs and targets."""

    def loss(params, x, y):
        x, y = (0.7 * part + 0.3 * jnp.roll(part, 1, 0) for part in (x, y))
        return jnp.mean((forward(params, x) - y) ** 2)

    return MadeProgram(loss, layers(6, 16, 1), (X, Y))


def time_first() -> MadeProgram:
    """Attention of time, with the axes of rows and time exchanged and back."""

    def loss(params, x, y):
        h = jnp.einsum("tnd,de->tne", x.swapaxes(0, 1), params["in"])
        weights = jax.nn.softmax(jnp.einsum("tnd,snd->tsn", h, h) / 3, axis=1)
        h = jnp.einsum("tsn,snd->tnd", weights, h).reshape(-1, 8)
        return jnp.mean(((jnp.tanh(h) @ params["out"]).reshape(5, len(y)).mean(0)[:, None] - y) ** 2)

    x = RNG.normal(size=(ROWS, 5, 3)).astype(np.float32)
    params = {"in": RNG.normal(size=(3, 8)) / 1.7, "out": RNG.normal(size=(8, 1)) / 2.8}
    return MadeProgram(loss, {name: value.astype(np.float32) for name, value in params.items()}, (x, targets_of(x)))


HEALTHY_NEAR: dict[str, Callable[[], MadeProgram]] = {
    f"plain, {made.__name__}": made for made in (linear_autoencoder, linear_with_noise, mixed_examples, time_first)
}
