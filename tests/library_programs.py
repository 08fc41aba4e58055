"""Losses as their users write them, in every library that runs on JAX: the loss, its parameters, its arguments."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
from flax import linen as nn
from flax import nnx

import idjax

ROWS = 24
KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(ROWS, 6)).astype(np.float32)
IMAGES = np.random.default_rng(1).normal(size=(ROWS, 8, 8, 2)).astype(np.float32)
TOKENS = np.random.default_rng(2).integers(0, 11, (ROWS, 5))
LABELS = np.random.default_rng(3).integers(0, 4, ROWS)


class LibraryProgram(NamedTuple):
    """What `jax.value_and_grad` takes, and the names of the layers in it with the widths of their inputs."""

    loss: Callable
    params: Any
    args: tuple[Any, ...]
    layers: dict[str, int]


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        h = nn.Dense(16)(nn.LayerNorm()(x))
        return x + nn.Dense(8)(nn.gelu(h)), None


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(11, 8)
        x = embed(tokens)
        stack = nn.scan(nn.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        x, _ = stack(name="blocks")(x, None)
        x = x + nn.MultiHeadDotProductAttention(2, name="attention")(x)
        return embed.attend(x)


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(nn.RNN(nn.OptimizedLSTMCell(7, name="cell"))(x[:, :, None])[:, -1])


class Convolved(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
        x = nn.relu(nn.ConvTranspose(6, (2, 3), strides=(2, 1))(x))
        x = nn.BatchNorm(use_running_average=False)(nn.Conv(6, (3, 3), feature_group_count=2, kernel_dilation=2)(x))
        return nn.Dense(4)(x.mean((1, 2)))


def linen_scanned() -> LibraryProgram:
    model = Scanned()
    attention = {f"attention/{name}": 8 for name in ("query", "key", "value", "out")}
    blocks = {f"blocks/Dense_{place}[{step}]": (8, 16)[place] for step in range(3) for place in range(2)}
    return LibraryProgram(
        lambda params, tokens: cross_entropy(model.apply(params, tokens), jnp.roll(tokens, -1, 1)),
        model.init(KEY, TOKENS), (TOKENS,), {"Embed_0": 11, **blocks, **attention, "Embed_0 (call 2)": 8},
    )  # fmt: skip


def linen_recurrent() -> LibraryProgram:
    model = Recurrent()
    return LibraryProgram(
        lambda params, x, y: cross_entropy(model.apply(params, x), y),
        model.init(KEY, X), (X, LABELS), {"cell/{hf,hg,hi,ho}": 7, "cell/{if,ig,ii,io}": 1, "Dense_0": 7},
    )  # fmt: skip


def linen_convolved() -> LibraryProgram:
    model = Convolved()
    variables = model.init(KEY, IMAGES)

    def loss(params, statistics, batch):
        outputs, state = model.apply(
            {"params": params, "batch_stats": statistics}, batch["image"], mutable=["batch_stats"]
        )
        return cross_entropy(outputs, batch["label"]), state

    batch = {"image": IMAGES, "label": LABELS}
    layers = {"Conv_0": 18, "ConvTranspose_0": 24, "Conv_1": 27, "Dense_0": 6}
    return LibraryProgram(loss, variables["params"], (variables["batch_stats"], batch), layers)


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(6, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.3, rngs=rngs)
        self.last = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(nnx.relu(self.norm(self.first(x)))))


def nnx_mlp() -> LibraryProgram:
    def loss(model, x, y):
        return cross_entropy(model(x), y)

    return LibraryProgram(loss, NnxNet(nnx.Rngs(0)), (X, LABELS), {"first": 6, "last": 8})


def equinox_mlp() -> LibraryProgram:
    def loss(model, x, y):
        return cross_entropy(jax.vmap(model)(x), y)

    model = eqx.nn.MLP(6, 4, 8, 2, key=KEY)
    return LibraryProgram(loss, model, (X, LABELS), {"layers/0": 6, "layers/1": 8, "layers/2": 8})


def haiku_mlp() -> LibraryProgram:
    def forward(tokens):
        return hk.nets.MLP([8, 4])(hk.Flatten()(hk.Embed(11, 3)(tokens)))

    net = hk.without_apply_rng(hk.transform(forward))
    layers = {"embed": 11, "mlp/~/linear_0": 15, "mlp/~/linear_1": 8}
    return LibraryProgram(
        lambda params, tokens, y: cross_entropy(net.apply(params, tokens), y),
        net.init(KEY, TOKENS), (TOKENS, LABELS), layers,
    )  # fmt: skip


def keras_mlp() -> LibraryProgram:
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu", name="first"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(4, activation="softmax", name="last"),
        ],
        name="net",
    )
    loss, params = idjax.from_keras(model, "sparse_categorical_crossentropy")
    return LibraryProgram(loss, params, (X, LABELS), {"net/first": 6, "net/last": 8})


def plain() -> LibraryProgram:
    rng = np.random.default_rng(4)
    sizes = {"w1": (6, 8), "w2": (8, 8), "w3": (8, 1)}
    params = {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}

    def loss(params, x, y):
        def one(x, y):
            direction = params["w2"] / jnp.linalg.norm(params["w2"], axis=0)
            return (jnp.tanh(jnp.tanh(x @ params["w1"]) @ direction) @ params["w3"] - y) ** 2

        return jax.vmap(one)(x, y).mean()

    return LibraryProgram(loss, params, (X, X[:, :1]), {"w1": 6, "w2": 8, "w3": 8})


LIBRARY_PROGRAMS = {
    "linen, scan and remat": linen_scanned,
    "linen, LSTM": linen_recurrent,
    "linen, convolutions": linen_convolved,
    "nnx": nnx_mlp,
    "equinox": equinox_mlp,
    "haiku": haiku_mlp,
    "keras": keras_mlp,
    "plain": plain,
}
