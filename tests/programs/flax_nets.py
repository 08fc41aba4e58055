"""Nets of a shape in linen and NNX."""

import itertools

import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

from programs.shape import KEY, Shape, activation, attended, bias_start, kernel_start


class LinenShaped(nn.Module):
    shape: Shape

    @nn.compact
    def __call__(self, x):
        shape, act = self.shape, activation(self.shape)
        usual = {"kernel_init": kernel_start(shape), "bias_init": bias_start(shape)}
        if shape.body == "cnn":
            x = nn.max_pool(act(nn.Conv(8, (3, 3), **usual)(x)), (2, 2), (2, 2))
            x = x.reshape(len(x), -1)
        elif shape.body == "rnn":
            x = nn.RNN(nn.OptimizedLSTMCell(8))(x)[:, -1]
        elif shape.body == "attention":
            x = x + attended(shape, nn.MultiHeadDotProductAttention(2), nn.LayerNorm()(x))
            x = nn.LayerNorm()(x).mean(1)
        for width in shape.widths:
            x = act(nn.Dense(width, **usual)(x))
        outputs = shape.last(nn.Dense(shape.outputs, kernel_init=kernel_start(shape))(x))
        return (outputs, nn.Dense(3, name="beside")(x)) if shape.unused else outputs


def linen(shape, compare, x, y):
    model = LinenShaped(shape)

    def loss(params, x, y):
        outputs = model.apply({"params": params}, x)
        return compare(outputs[0] if shape.unused else outputs, y)

    return loss, model.init(KEY, x[:2])["params"], (x, y)


class NnxShaped(nnx.Module):
    def __init__(self, shape, rngs):
        self.shape = shape
        usual = {"kernel_init": kernel_start(shape), "bias_init": bias_start(shape), "rngs": rngs}
        width = {"mlp": 6, "cnn": 128, "rnn": 8, "attention": 8}[shape.body]
        if shape.body == "cnn":
            self.conv = nnx.Conv(2, 8, (3, 3), **usual)
        elif shape.body == "rnn":
            self.rnn = nnx.RNN(nnx.GRUCell(3, 8, rngs=rngs))
        elif shape.body == "attention":
            self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
            self.norms = nnx.List([nnx.LayerNorm(8, rngs=rngs) for _ in range(2)])
        sizes = (width, *shape.widths)
        self.hidden = nnx.List([nnx.Linear(a, b, **usual) for a, b in itertools.pairwise(sizes)])
        self.head = nnx.Linear(sizes[-1], shape.outputs, kernel_init=kernel_start(shape), rngs=rngs)
        if shape.unused:
            self.beside = nnx.Linear(sizes[-1], 3, rngs=rngs)

    def __call__(self, x):
        act = activation(self.shape)
        if self.shape.body == "cnn":
            x = nnx.avg_pool(act(self.conv(x)), (2, 2), (2, 2))
            x = jnp.reshape(x, (x.shape[0], -1))
        elif self.shape.body == "rnn":
            x = self.rnn(x)[:, -1]
        elif self.shape.body == "attention":
            x = x + attended(self.shape, self.attention, self.norms[0](x))
            x = self.norms[1](x).mean(1)
        for layer in self.hidden:
            x = act(layer(x))
        return self.shape.last(self.head(x))


def nnx_net(shape, compare, x, y):
    def loss(model, x, y):
        return compare(model(x), y)

    return loss, NnxShaped(shape, nnx.Rngs(0)), (x, y)
