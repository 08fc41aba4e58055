"""Healthy programs in linen and NNX: the architectures that people train."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import nnx

from programs.compared import binary, integer_labels
from programs.shape import KEY, ROWS, MadeProgram, inputs_of, labels_of, targets_of

RNG = np.random.default_rng(6)
IMAGES, SERIES = inputs_of("cnn"), inputs_of("rnn")
TOKENS = np.cumsum(RNG.integers(0, 3, (ROWS, 7)), 1) % 11
AUX = {"has_aux": True}


class Residual(nn.Module):
    """A block of a residual net with batch statistics."""

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        h = nn.Conv(self.width, (3, 3), self.stride, use_bias=False)(x)
        h = nn.relu(nn.BatchNorm(use_running_average=False)(h))
        h = nn.BatchNorm(use_running_average=False)(nn.Conv(self.width, (3, 3), use_bias=False)(h))
        if x.shape != h.shape:
            x = nn.Conv(self.width, (1, 1), self.stride, use_bias=False)(x)
        return nn.relu(h + x)


class ResidualNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width, stride in ((4, 1), (8, 2)):
            x = Residual(width, stride)(x)
        return nn.Dense(4)(x.mean((1, 2)))


def residual_net() -> MadeProgram:
    model = ResidualNet()
    state = model.init(KEY, IMAGES)

    def loss(params, statistics, x, labels):
        variables = {"params": params, "batch_stats": statistics}
        logits, new = model.apply(variables, x, mutable=["batch_stats"])
        return integer_labels(logits, labels), new

    return MadeProgram(loss, state["params"], (state["batch_stats"], IMAGES, labels_of(IMAGES)), settings=AUX)


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        mask = nn.make_causal_mask(x[..., 0])
        x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x), mask=mask)
        return x + nn.Dense(16)(nn.gelu(nn.Dense(32)(nn.LayerNorm()(x)))), None


class LanguageModel(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(11, 16)(tokens) + self.param("places", nn.initializers.normal(0.02), (tokens.shape[1], 16))
        stack = nn.scan(nn.remat(Layer), variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
        return nn.Dense(11)(nn.LayerNorm()(stack()(x, None)[0]))


def language_model() -> MadeProgram:
    model = LanguageModel()

    def loss(params, tokens):
        return integer_labels(model.apply(params, tokens[:, :-1]), tokens[:, 1:])

    return MadeProgram(loss, model.init(KEY, TOKENS[:, :-1]), (TOKENS,))


def masked_tokens() -> MadeProgram:
    model = LanguageModel()

    def loss(params, batch):
        logits = model.apply(params, jnp.where(batch["hidden"], 0, batch["tokens"]))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["tokens"])
        return jnp.sum(losses * batch["hidden"]) / jnp.sum(batch["hidden"])

    batch = {"tokens": TOKENS, "hidden": RNG.uniform(size=TOKENS.shape) < 0.3}
    return MadeProgram(loss, model.init(KEY, TOKENS), (batch,))


class Variational(nn.Module):
    @nn.compact
    def __call__(self, x, key):
        h = nn.relu(nn.Dense(16)(x))
        mean, log_variance = nn.Dense(3)(h), nn.Dense(3)(h)
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        return nn.Dense(x.shape[-1])(nn.relu(nn.Dense(16)(z))), mean, log_variance


def variational() -> MadeProgram:
    model, x = Variational(), RNG.uniform(size=(ROWS, 12)).astype(np.float32)

    def loss(params, key, x):
        logits, mean, log_variance = model.apply(params, x, key)
        divergence = -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance), -1)
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, x).sum(-1) + divergence)

    return MadeProgram(loss, model.init(KEY, x, KEY), (KEY, x))


class Encoder(nn.Module):
    outputs: int = 8

    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.GroupNorm(4)(nn.Conv(8, (3, 3), strides=2)(x)))
        return nn.Dense(self.outputs)(x.reshape(len(x), -1))


def contrastive() -> MadeProgram:
    """Two views of each row against all others."""
    model = Encoder()

    def loss(params, a, b):
        z = model.apply(params, jnp.concatenate([a, b]))
        z = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
        near = z @ z.T / 0.5 - 1e9 * jnp.eye(len(z))
        return integer_labels(near, jnp.roll(jnp.arange(len(z)), len(a)))

    noise = 0.1 * RNG.normal(size=IMAGES.shape).astype(np.float32)
    return MadeProgram(loss, model.init(KEY, IMAGES), (IMAGES, IMAGES + noise))


def smoothed() -> MadeProgram:
    model = Encoder(4)

    def loss(params, x, labels):
        wanted = optax.smooth_labels(jax.nn.one_hot(labels, 4), 0.1)
        return optax.softmax_cross_entropy(model.apply(params, x), wanted).mean()

    return MadeProgram(loss, model.init(KEY, IMAGES), (IMAGES, labels_of(IMAGES)))


class UNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        top = nn.relu(nn.Conv(4, (3, 3))(x))
        low = nn.relu(nn.Conv(8, (3, 3))(nn.max_pool(top, (2, 2), (2, 2))))
        up = nn.ConvTranspose(4, (2, 2), strides=(2, 2))(low)
        return nn.Conv(1, (1, 1))(jnp.concatenate([top, up], -1))


def segmentation() -> MadeProgram:
    model = UNet()

    def loss(params, x, masks):
        return binary(model.apply(params, x)[..., 0], masks)

    return MadeProgram(loss, model.init(KEY, IMAGES), (IMAGES, (IMAGES.sum(-1) > 0.5).astype(np.float32)))


class Actor(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.tanh(nn.Dense(16)(x))
        return nn.Dense(4, kernel_init=nn.initializers.orthogonal(0.01))(h), nn.Dense(1)(h)[..., 0]


def clipped_policy() -> MadeProgram:
    """An actor and a critic, with the ratio of probabilities clipped."""
    model, x = Actor(), inputs_of("mlp")

    def loss(params, batch):
        logits, values = model.apply(params, batch["x"])
        logs = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["action"][:, None], 1)[:, 0]
        ratio, gain = jnp.exp(logs - batch["log"]), batch["advantage"]
        policy = -jnp.mean(jnp.minimum(ratio * gain, jnp.clip(ratio, 0.8, 1.2) * gain))
        return policy + 0.5 * jnp.mean((values - batch["return"]) ** 2)

    y = targets_of(x)[:, 0]
    batch = {"x": x, "action": labels_of(x), "log": np.full(ROWS, -1.39, np.float32), "advantage": y, "return": y}
    return MadeProgram(loss, model.init(KEY, x), (batch,))


def adversary() -> MadeProgram:
    """The discriminator's loss on rows and on what a generator made."""
    model, x = Encoder(1), IMAGES

    def loss(params, real, made):
        ones, zeros = model.apply(params, real), model.apply(params, made)
        return jnp.mean(jax.nn.softplus(-ones)) + jnp.mean(jax.nn.softplus(zeros))

    return MadeProgram(loss, model.init(KEY, x), (x, RNG.normal(size=x.shape).astype(np.float32)))


class NnxResidual(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Conv(2, 8, (3, 3), rngs=rngs)
        self.convolutions = nnx.List([nnx.Conv(8, 8, (3, 3), rngs=rngs) for _ in range(2)])
        self.norms = nnx.List([nnx.BatchNorm(8, rngs=rngs) for _ in range(3)])
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norms[0](self.first(x)))
        h = nnx.relu(self.norms[1](self.convolutions[0](x)))
        x = nnx.relu(x + self.norms[2](self.convolutions[1](h)))
        return self.head(x.mean((1, 2)))


def nnx_classes(model: Callable, x: Any) -> MadeProgram:
    def loss(model, x, labels):
        return integer_labels(model(x), labels)

    return MadeProgram(loss, model(nnx.Rngs(0)), (x, labels_of(x)))


class NnxRecurrent(nnx.Module):
    def __init__(self, rngs):
        self.rnn = nnx.RNN(nnx.OptimizedLSTMCell(3, 8, rngs=rngs))
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        return self.head(self.drop(self.rnn(x)[:, -1]))


class NnxAutoencoder(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in ((128, 16), (16, 4), (4, 16), (16, 128))])

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = nnx.silu(layer(x))
        return self.layers[-1](x)


def nnx_autoencoder() -> MadeProgram:
    def loss(model, x):
        return jnp.mean((model(x) - x) ** 2)

    return MadeProgram(loss, NnxAutoencoder(nnx.Rngs(0)), (IMAGES.reshape(ROWS, -1),))


HEALTHY_FLAX: dict[str, Callable[[], MadeProgram]] = {
    **{f"linen, {made.__name__}": made for made in (
        residual_net, language_model, masked_tokens, variational, contrastive, smoothed, segmentation, clipped_policy,
        adversary,
    )},
    "nnx, residual net": lambda: nnx_classes(NnxResidual, IMAGES),
    "nnx, LSTM and dropout": lambda: nnx_classes(NnxRecurrent, SERIES),
    "nnx, autoencoder": nnx_autoencoder,
}  # fmt: skip
