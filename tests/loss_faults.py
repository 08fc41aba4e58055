"""Small programs of linen and plain JAX with one fault in the loss, the labels, the output or the start, or none."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 2)).astype(np.float32)
Y = (X[:, 0] - 2 * X[:, 1] + np.sin(3 * X[:, 0])).astype(np.float32)
TRUE = (Y > 0).astype(np.float32)[:, None]
LABELS = RNG.integers(0, 4, 100)
ONE_HOT = np.eye(4, dtype=np.float32)[LABELS]
USUAL = nn.initializers.lecun_normal()


class Net(nn.Module):
    """Two layers."""

    outputs: int = 1
    activation: Callable = nn.relu
    last: Callable = lambda o: o
    start: Callable = USUAL

    @nn.compact
    def __call__(self, x):
        x = self.activation(nn.Dense(16, kernel_init=self.start)(x))
        return self.last(nn.Dense(self.outputs, kernel_init=self.start)(x))


class FaultyLoss(NamedTuple):
    """What `diagnose_loss` takes, and the cause that it has to name first; "" is none."""

    code: str
    loss: Callable
    params: Any
    args: tuple[Any, ...]


def squares(outputs, targets):
    return jnp.mean((outputs - targets) ** 2)


def integer_labels(outputs, targets):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()


def binary(outputs, targets):
    return optax.sigmoid_binary_cross_entropy(outputs, targets).mean()


def of(code: str, model: nn.Module, x: Any, y: Any, compare: Callable = squares) -> Callable[[], FaultyLoss]:
    """A program that compares a model's outputs with targets."""

    def made() -> FaultyLoss:
        def loss(params, x, y):
            return compare(model.apply(params, x), y)

        return FaultyLoss(code, loss, model.init(jax.random.key(0), x[:2]), (x, y))

    return made


def contrastive() -> FaultyLoss:
    def loss(w, a, b):
        return -jnp.mean(jnp.diag(jax.nn.log_softmax((a @ w) @ (b @ w).T)))

    return FaultyLoss("", loss, RNG.normal(size=(2, 8)).astype(np.float32), (X, X + 0.1))


def physics() -> FaultyLoss:
    """A residual of a differential equation, by a derivative forward."""
    model = Net(activation=nn.tanh)

    def loss(params, x):
        def one(t):
            u, slope = jax.jvp(lambda t: model.apply(params, t[None])[0], (t,), (jnp.ones(1),))
            return (slope + u) ** 2

        return jnp.mean(jax.vmap(one)(x)) + jnp.mean((model.apply(params, jnp.zeros((1, 1))) - 1) ** 2)

    return FaultyLoss("", loss, model.init(jax.random.key(0), X[:2, :1]), (X[:, :1],))


def reinforce() -> FaultyLoss:
    model = Net(4)

    def loss(params, x, actions, advantages):
        logs = jax.nn.log_softmax(model.apply(params, x))
        return -jnp.mean(jnp.take_along_axis(logs, actions[:, None], 1)[:, 0] * advantages)

    return FaultyLoss("", loss, model.init(jax.random.key(0), X[:2]), (X, LABELS, Y))


def unused() -> FaultyLoss:
    def loss(params, x, y):
        return squares(x @ params["a"], y[:, None])

    return FaultyLoss("unused-parameters", loss, {"a": np.ones((2, 1), "f"), "b": np.ones(3, "f")}, (X, Y))


def holed() -> np.ndarray:
    x = X.copy()
    x[7] = np.nan
    return x


def steep(*args: Any) -> Any:
    return 16 * USUAL(*args)


class Pooled(nn.Module):
    """A convolutional network for digits."""

    @nn.compact
    def __call__(self, x):
        for features in (16, 32):
            x = nn.max_pool(nn.relu(nn.Conv(features, (3, 3))(x)), (2, 2), (2, 2))
        return nn.Dense(10)(nn.relu(nn.Dense(64)(x.reshape(len(x), -1))))


class Cell(nn.Module):
    """An LSTM over the numbers of a row."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(nn.RNN(nn.OptimizedLSTMCell(8, name="cell"))(x[:, :, None])[:, -1])


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images[:256, ..., None] / 16).astype(np.float32), found.target[:256]


BYTES = np.round(255 * RNG.uniform(size=(100, 8))).astype(np.float32)

LOSS_FAULTS: dict[str, Callable[[], FaultyLoss]] = {
    "healthy regression": of("", Net(), X, Y[:, None]),
    "healthy classes": of("", Net(4), X, LABELS, integer_labels),
    "healthy mean absolute error": of("", Net(), X, Y[:, None], lambda o, t: jnp.abs(o - t).mean()),
    "healthy sigmoid": of("", Net(), X, TRUE, binary),
    "healthy contrastive loss": contrastive,
    "healthy physics": physics,
    "healthy policy gradient": reinforce,
    "P1, outputs (100, 1), targets (100,)": of("broadcast-loss", nn.Dense(1), X, Y),
    "P2, without log_softmax": of("unbounded-loss", Net(4), X, ONE_HOT, lambda o, t: -jnp.mean(jnp.sum(o * t, -1))),
    "P2, squares maximised": of("unbounded-loss", Net(), X, Y[:, None], lambda o, t: -squares(o, t)),
    "P2, cross-entropy maximised": of("unbounded-loss", Net(4), X, LABELS, lambda o, t: -integer_labels(o, t)),
    "P3, ReLU at the output": of("no-gradient", Net(last=lambda o: nn.relu(o - 30)), X, Y[:, None]),
    "P3, softmax of one unit": of("no-gradient", Net(last=nn.softmax), X, TRUE),
    "P3, dead hidden layer": of("no-gradient", Net(4, lambda h: nn.relu(h - 50)), X, LABELS, integer_labels),
    "P3, stop_gradient": of("no-gradient", Net(last=jax.lax.stop_gradient), X, Y[:, None]),
    "argmax": of("no-gradient", Net(4), X, LABELS, lambda o, t: jnp.mean((o.argmax(-1) - t) ** 2.0)),
    "P5, targets to a million": of("target-scale", Net(), 1000 * X, 1e6 * Y[:, None]),
    "P6, bytes into a cross-entropy": of("unreachable-output", Net(2), 255 * abs(X), 255 * abs(X), binary),
    "sigmoid, targets to 10": of("unreachable-output", Net(last=nn.sigmoid), X, 10 * abs(Y[:, None])),
    "labels from 1": of("unreachable-output", Net(4), X, LABELS + 1, integer_labels),
    "labels from 1, one-hot": of(
        "unreachable-output", Net(4), X, LABELS + 1,
        lambda o, t: optax.softmax_cross_entropy(o, jax.nn.one_hot(t, 4)).mean(),
    ),
    "P11, a constant start": of("symmetric-start", Net(4, start=nn.initializers.constant(0.1)), X, LABELS,
                                integer_labels),
    "zeros": of("symmetric-start", Net(4, start=nn.initializers.zeros), X, LABELS, integer_labels),
    "P12, softmax twice": of("softmax-twice", Net(4, last=nn.softmax), X, LABELS, integer_labels),
    "sigmoid twice": of("softmax-twice", Net(last=nn.sigmoid), X, TRUE, binary),
    "P14, gain 16 before a sigmoid": of("saturated-units", Net(activation=nn.sigmoid, start=steep), X, Y[:, None]),
    "P16, targets all 3": of("constant-target", Net(), X, 0 * Y[:, None] + 3),
    "P16, log of what is below 0": of("not-finite", Net(4, last=nn.softmax), X, ONE_HOT,
                                      lambda o, t: -jnp.mean(t * jnp.log(o - 0.3))),
    "root of 0": of("not-finite", Net(), X, Y[:, None], lambda o, t: squares(o, t) + jnp.mean(jnp.sqrt(0 * o))),
    "NaN in row 7": of("not-finite", Net(), holed(), Y[:, None]),
    "unused": unused,
    "bytes": of("layer-scale", Net(4), BYTES, LABELS, integer_labels),
    "inputs around 30": of("layer-mean", Net(), X + 30, Y[:, None]),
    "healthy, P4, a network that pools": of("", Pooled(), *digits(), integer_labels),
    "P10, LSTM on inputs of 500": of("layer-scale", Cell(), 500 * RNG.normal(size=(100, 4)).astype(np.float32), LABELS,
                                     integer_labels),
    "a kernel times 100": of("layer-init", Net(start=lambda *args: 100 * USUAL(*args)), X, Y[:, None]),
}  # fmt: skip
