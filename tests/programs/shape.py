"""The shape of a small net that every library can build, and rows to train it on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.random.key(0)
ROWS = 60
BODIES = ("mlp", "cnn", "rnn", "attention")
USUAL = jax.nn.initializers.lecun_normal()


class Shape(NamedTuple):
    """What a net is made of.

    body:   what comes first: mlp nothing, nor line, of one input; cnn a convolution, rnn a recurrent cell, attention a
            block of it.
    last:   what is done to the outputs.
    start:  a factor on the usual start of kernels; or zeros, or constant.
    bias:   the start of the biases of hidden layers; "dead" is -30 for three of four.
    unused: a head beside that the loss does not use.
    turned: whether attention takes the rows for time.
    """

    body: str = "mlp"
    outputs: int = 1
    widths: tuple[int, ...] = (16,)
    activation: str = "relu"
    last: Callable = lambda o: o
    start: float | str = 1.0
    bias: float | str = 0.0
    unused: bool = False
    turned: bool = False


class MadeProgram(NamedTuple):
    """What `diagnose_loss` takes, and the causes that are true of it; none for a healthy program."""

    loss: Callable
    params: Any
    args: tuple[Any, ...]
    codes: tuple[str, ...] = ()
    settings: dict[str, Any] | None = None


def activation(shape: Shape) -> Callable:
    return {"linear": lambda h: h, "tanh": jnp.tanh}.get(shape.activation) or getattr(jax.nn, shape.activation)


def kernel_start(shape: Shape) -> Callable:
    if isinstance(shape.start, str):
        return {"zeros": jax.nn.initializers.zeros, "constant": jax.nn.initializers.constant(0.1)}[shape.start]
    return lambda key, size, dtype=jnp.float32: shape.start * USUAL(key, size, dtype)


def bias_start(shape: Shape) -> Callable:
    def start(key: Any, size: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        if shape.bias == "dead":
            return jnp.where(jnp.arange(size[-1]) % 4 == 0, 0.0, -30.0).astype(dtype)
        return jnp.full(size, shape.bias, dtype)

    return start


def attended(shape: Shape, attention: Callable, x: Any) -> Any:
    """Attention along time, or along the rows."""
    return attention(x.swapaxes(0, 1)).swapaxes(0, 1) if shape.turned else attention(x)


def inputs_of(body: str, seed: int = 0) -> np.ndarray:
    if body == "line":
        return np.linspace(-1, 1, 2 * ROWS, dtype=np.float32)[:, None]
    size = {"mlp": (6,), "cnn": (8, 8, 2), "rnn": (5, 3), "attention": (5, 8)}[body]
    return np.random.default_rng(seed).normal(size=(ROWS, *size)).astype(np.float32)


def targets_of(x: np.ndarray, outputs: int = 1) -> np.ndarray:
    """Numbers that depend on the rows, of size about 1."""
    flat = x.reshape(len(x), -1)
    w = np.random.default_rng(7).normal(size=(flat.shape[1], outputs)) / flat.shape[1] ** 0.5
    return (flat @ w + 0.3 * np.sin(3 * flat[:, :1])).astype(np.float32)


def labels_of(x: np.ndarray, classes: int = 4) -> np.ndarray:
    return targets_of(x, classes).argmax(1)
