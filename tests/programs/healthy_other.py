"""Healthy programs in Equinox, Haiku and Keras."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax

import idjax
from programs.compared import CLASSES, binary, integer_labels
from programs.shape import KEY, ROWS, MadeProgram, inputs_of, labels_of, targets_of

RNG = np.random.default_rng(8)
X, IMAGES, SERIES = inputs_of("mlp"), inputs_of("cnn"), inputs_of("rnn")
TOKENS = np.cumsum(RNG.integers(0, 3, (ROWS, 7)), 1) % 11
AUX = {"has_aux": True}


def differential_equation() -> MadeProgram:
    """Runge-Kutta steps of a field that is learned, by scan."""

    def loss(field, begin, path):
        def step(x, _):
            a = field(x)
            b = field(x + 0.05 * a)
            return x + 0.1 * b, x + 0.1 * b

        made = jax.vmap(lambda x: jax.lax.scan(step, x, None, 6)[1])(begin)
        return jnp.mean((made - path) ** 2)

    begin = RNG.normal(size=(ROWS, 2)).astype(np.float32)
    angles = np.arange(1, 7)[None] * 0.1
    path = np.stack([begin[:, :1] * np.cos(angles) - begin[:, 1:] * np.sin(angles),
                     begin[:, :1] * np.sin(angles) + begin[:, 1:] * np.cos(angles)], -1).astype(np.float32)  # fmt: skip
    return MadeProgram(loss, eqx.nn.MLP(2, 2, 16, 2, jnp.tanh, key=KEY), (begin, path))


class TwoTowers(eqx.Module):
    a: eqx.nn.MLP
    b: eqx.nn.MLP
    heat: jax.Array

    def __init__(self, key):
        self.a, self.b = (eqx.nn.MLP(6, 8, 16, 1, key=key) for key in jax.random.split(key))
        self.heat = jnp.array(np.log(1 / 0.3).astype(np.float32))


def two_towers() -> MadeProgram:
    """Each row of one kind against all of another, with a temperature that is learned."""

    def loss(model, a, b):
        a, b = jax.vmap(model.a)(a), jax.vmap(model.b)(b)
        a, b = (z / jnp.linalg.norm(z, axis=-1, keepdims=True) for z in (a, b))
        logits, same = a @ b.T * jnp.exp(model.heat), jnp.arange(len(a))
        return (integer_labels(logits, same) + integer_labels(logits.T, same)) / 2

    return MadeProgram(loss, TwoTowers(KEY), (X, X[:, ::-1].copy()))


class Operator(eqx.Module):
    branch: eqx.nn.MLP
    trunk: eqx.nn.MLP

    def __init__(self, key):
        a, b = jax.random.split(key)
        self.branch, self.trunk = eqx.nn.MLP(6, 8, 16, 2, key=a), eqx.nn.MLP(1, 8, 16, 2, jnp.tanh, key=b)

    def __call__(self, function, place):
        return jnp.sum(self.branch(function) * self.trunk(place))


def operator() -> MadeProgram:
    def loss(model, functions, places, y):
        return jnp.mean((jax.vmap(model)(functions, places) - y) ** 2)

    places = RNG.uniform(size=(ROWS, 1)).astype(np.float32)
    return MadeProgram(loss, Operator(KEY), (X, places, (X[:, 0] * np.cos(3 * places[:, 0])).astype(np.float32)))


def equinox_series() -> MadeProgram:
    """One-dimensional convolutions."""
    a, b = jax.random.split(KEY)
    model = eqx.nn.Sequential([
        eqx.nn.Conv1d(3, 8, 3, padding=1, key=a), eqx.nn.Lambda(jax.nn.gelu),
        eqx.nn.AdaptiveAvgPool1d(1), eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(8, 4, key=b),
    ])  # fmt: skip

    def loss(model, x, labels):
        return integer_labels(jax.vmap(model)(x.swapaxes(1, 2)), labels)

    return MadeProgram(loss, model, (SERIES, labels_of(SERIES)))


def filtered() -> MadeProgram:
    """The arrays of a model apart from the rest, as eqx.partition gives them."""
    model = eqx.nn.MLP(6, "scalar", 16, 2, jax.nn.silu, key=KEY)
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)

    def loss(arrays, x, y):
        return jnp.mean(optax.huber_loss(jax.vmap(eqx.combine(arrays, rest))(x), y))

    return MadeProgram(loss, arrays, (X, targets_of(X)[:, 0]))


def haiku_statistics() -> MadeProgram:
    def forward(x):
        for width in (4, 8):
            x = hk.Conv2D(width, 3, stride=2, with_bias=False)(x)
            x = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(x, is_training=True))
        return hk.Linear(4)(x.mean((1, 2)))

    net = hk.without_apply_rng(hk.transform_with_state(forward))
    params, state = net.init(KEY, IMAGES)

    def loss(params, state, x, labels):
        logits, state = net.apply(params, state, x)
        return integer_labels(logits, labels), state

    return MadeProgram(loss, params, (state, IMAGES, labels_of(IMAGES)), settings=AUX)


def haiku_text() -> MadeProgram:
    def forward(tokens):
        x, cell = hk.Embed(11, 8)(tokens), hk.GRU(8)
        return hk.Linear(11)(hk.dynamic_unroll(cell, x, cell.initial_state(len(x)), time_major=False)[0])

    net = hk.without_apply_rng(hk.transform(forward))

    def loss(params, tokens):
        return integer_labels(net.apply(params, tokens[:, :-1]), tokens[:, 1:])

    return MadeProgram(loss, net.init(KEY, TOKENS[:, :-1]), (TOKENS,))


def haiku_variational() -> MadeProgram:
    def forward(x):
        h = jax.nn.relu(hk.Linear(16)(x))
        mean, deviation = hk.Linear(3)(h), jax.nn.softplus(hk.Linear(3)(h))
        z = mean + deviation * jax.random.normal(hk.next_rng_key(), mean.shape)
        return hk.nets.MLP([16, 6])(z), mean, deviation

    net = hk.transform(forward)

    def loss(params, key, x):
        made, mean, deviation = net.apply(params, key, x)
        divergence = 0.5 * jnp.sum(mean**2 + deviation**2 - 2 * jnp.log(deviation) - 1, -1)
        return jnp.mean(jnp.sum((made - x) ** 2, -1) + 0.1 * divergence)

    return MadeProgram(loss, net.init(KEY, X), (KEY, X))


def haiku_generator() -> MadeProgram:
    """A generator's loss, through a discriminator that is given."""
    maker, judge = (hk.without_apply_rng(hk.transform(lambda x, n=n: hk.nets.MLP([16, n])(x))) for n in (6, 1))
    noise = RNG.normal(size=(ROWS, 3)).astype(np.float32)

    def loss(params, fixed, noise):
        return jnp.mean(jax.nn.softplus(-judge.apply(fixed, maker.apply(params, noise))))

    return MadeProgram(loss, maker.init(KEY, noise), (judge.init(KEY, X), noise))


def haiku_dropout() -> MadeProgram:
    def forward(x):
        h = hk.dropout(hk.next_rng_key(), 0.2, jax.nn.relu(hk.Linear(16)(x)))
        return hk.Linear(1)(h)

    net = hk.transform(forward)

    def loss(params, key, x, y):
        return binary(net.apply(params, key, x), y)

    return MadeProgram(loss, net.init(KEY, X), (KEY, X, (targets_of(X) > 0).astype(np.float32)))


def keras_of(loss: Any, x: Any, y: Any, *layers: Any) -> Callable[[], MadeProgram]:
    def made() -> MadeProgram:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input(x.shape[1:]), *(layer() for layer in layers)])
        return MadeProgram(*idjax.from_keras(model, loss), (x, y))

    return made


def of(layer: str, *args: Any, **settings: Any) -> Callable:
    return lambda: getattr(keras.layers, layer)(*args, **settings)


def keras_residual() -> MadeProgram:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = given = keras.Input(IMAGES.shape[1:])
    for width in (4, 4):
        h = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(x))
        h = layers.Conv2D(width, 3, padding="same")(layers.Activation("relu")(h))
        x = layers.Activation("relu")(layers.add([h, layers.Conv2D(width, 1)(x)]))
    outputs = layers.Dense(4)(layers.GlobalAveragePooling2D()(x))
    program = idjax.from_keras(keras.Model(given, outputs), CLASSES["keras"])
    return MadeProgram(*program, (IMAGES, labels_of(IMAGES)))


TRUE = (targets_of(X) > 0).astype(np.float32)
HEALTHY_OTHER: dict[str, Callable[[], MadeProgram]] = {
    **{f"equinox, {made.__name__}": made for made in (
        differential_equation, two_towers, operator, equinox_series, filtered)},
    **{f"haiku, {made.__name__}": made for made in (
        haiku_statistics, haiku_text, haiku_variational, haiku_generator, haiku_dropout)},
    "keras, residual net": keras_residual,
    "keras, CNN and softmax": keras_of(
        "sparse_categorical_crossentropy", IMAGES, labels_of(IMAGES), of("Conv2D", 8, 3, activation="relu"),
        of("BatchNormalization"), of("MaxPooling2D"), of("Flatten"), of("Dropout", 0.2),
        of("Dense", 4, activation="softmax")),
    "keras, text": keras_of(
        "binary_crossentropy", TOKENS, TRUE, of("Embedding", 11, 8), of("LSTM", 8),
        of("Dense", 1, activation="sigmoid")),
    "keras, targets (N,) that Keras reshapes": keras_of(
        "mse", X, targets_of(X)[:, 0], of("Dense", 16, activation="relu"), of("Dense", 1)),
    "keras, one-hot": keras_of(
        "categorical_crossentropy", X, np.eye(4, dtype=np.float32)[labels_of(X)], of("Dense", 16, activation="elu"),
        of("Dense", 4, activation="softmax")),
    "keras, autoencoder": keras_of(
        "mse", X, X, of("Dense", 4, activation="relu", kernel_regularizer="l2"), of("Dense", 6)),
    "keras, Huber and selu": keras_of(
        "huber", X, targets_of(X), of("Dense", 16, activation="selu", kernel_initializer="lecun_normal"),
        of("Dense", 1)),
    "keras, series to series": keras_of(
        "mse", SERIES, SERIES[:, ::-1, :1].copy(), of("GRU", 8, return_sequences=True), of("Dense", 1)),
}  # fmt: skip
