"""Nets of a shape in Equinox, Haiku, Keras and plain JAX."""

import itertools

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import keras

import idjax
from programs.shape import KEY, Shape, activation, attended, bias_start, kernel_start

WIDTHS = {"mlp": 6, "line": 1, "cnn": 128, "rnn": 8, "attention": 8}


class EquinoxShaped(eqx.Module):
    front: dict
    hidden: list
    head: eqx.nn.Linear
    beside: eqx.nn.Linear | None
    shape: Shape = eqx.field(static=True)

    def __init__(self, shape, key):
        keys = iter(jax.random.split(key, 99))
        self.front = {
            "mlp": lambda: {},
            "line": lambda: {},
            "cnn": lambda: {"conv": _started(eqx.nn.Conv2d(2, 8, 3, padding=1, key=next(keys)), shape, next(keys))},
            "rnn": lambda: {"cell": eqx.nn.GRUCell(3, 8, key=next(keys))},
            "attention": lambda: {
                "attention": eqx.nn.MultiheadAttention(2, 8, key=next(keys)), "norm": eqx.nn.LayerNorm(8),
            },
        }[shape.body]()  # fmt: skip
        sizes = (WIDTHS[shape.body], *shape.widths)
        pairs = itertools.pairwise(sizes)
        self.hidden = [_started(eqx.nn.Linear(a, b, key=next(keys)), shape, next(keys)) for a, b in pairs]
        self.head = _started(eqx.nn.Linear(sizes[-1], shape.outputs, key=next(keys)), shape._replace(bias=0.0), KEY)
        self.beside = eqx.nn.Linear(sizes[-1], 3, key=next(keys)) if shape.unused else None
        self.shape = shape

    def __call__(self, x):
        act = activation(self.shape)
        if self.shape.body == "cnn":
            x = eqx.nn.MaxPool2d(2, 2)(act(self.front["conv"](jnp.moveaxis(x, -1, 0)))).reshape(-1)
        elif self.shape.body == "rnn":
            cell = self.front["cell"]
            x = jax.lax.scan(lambda state, step: (cell(step, state), None), jnp.zeros(8), x)[0]
        elif self.shape.body == "attention":
            normed = jax.vmap(self.front["norm"])(x)
            x = (x + self.front["attention"](normed, normed, normed)).mean(0)
        for layer in self.hidden:
            x = act(layer(x))
        return self.shape.last(self.head(x))


def _started(layer, shape, key):
    """A layer with the start that its shape says: Equinox has the outputs first."""
    size = layer.weight.shape
    turned = kernel_start(shape)(key, (*size[2:], size[1], size[0]))
    weight = jnp.moveaxis(turned, (-1, -2), (0, 1))
    bias = bias_start(shape)(key, (size[0],)).reshape(layer.bias.shape)
    return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (weight, bias))


def equinox(shape, compare, x, y):
    def loss(model, x, y):
        return compare(jax.vmap(model)(x), y)

    return loss, EquinoxShaped(shape, KEY), (x, y)


def haiku(shape, compare, x, y):
    def forward(x):
        act = activation(shape)
        usual = {"w_init": _haiku(kernel_start(shape)), "b_init": _haiku(bias_start(shape))}
        if shape.body == "cnn":
            x = hk.Flatten()(hk.avg_pool(act(hk.Conv2D(8, 3, **usual)(x)), (1, 2, 2, 1), (1, 2, 2, 1), "VALID"))
        elif shape.body == "rnn":
            cell = hk.LSTM(8)
            x = hk.dynamic_unroll(cell, x, cell.initial_state(len(x)), time_major=False)[0][:, -1]
        elif shape.body == "attention":
            normed = hk.LayerNorm(-1, True, True)(x)
            attention = hk.MultiHeadAttention(2, 4, w_init=hk.initializers.VarianceScaling(1.0))
            x = (x + attended(shape, lambda h: attention(h, h, h), normed)).mean(1)
        for width in shape.widths:
            x = act(hk.Linear(width, **usual)(x))
        outputs = shape.last(hk.Linear(shape.outputs, w_init=usual["w_init"])(x))
        return (outputs, hk.Linear(3, name="beside")(x)) if shape.unused else outputs

    net = hk.without_apply_rng(hk.transform(forward))

    def loss(params, x, y):
        outputs = net.apply(params, x)
        return compare(outputs[0] if shape.unused else outputs, y)

    return loss, net.init(KEY, x[:2]), (x, y)


def _haiku(start):
    return lambda size, dtype: start(hk.next_rng_key(), size, dtype)


def _keras(start):
    return lambda size, dtype=None: start(KEY, tuple(size))


def keras_net(shape, compare, x, y):
    keras.utils.set_random_seed(0)
    layers, act = keras.layers, activation(shape)
    usual = {"kernel_initializer": _keras(kernel_start(shape)), "bias_initializer": _keras(bias_start(shape))}
    h = given = keras.Input(x.shape[1:])
    if shape.body == "cnn":
        h = layers.Flatten()(layers.MaxPooling2D()(layers.Conv2D(8, 3, padding="same", activation=act, **usual)(h)))
    elif shape.body == "rnn":
        h = layers.LSTM(8)(h)
    elif shape.body == "attention":
        normed = layers.LayerNormalization()(h)
        attention = layers.MultiHeadAttention(2, 4)
        h = layers.GlobalAveragePooling1D()(h + attended(shape, lambda h: attention(h, h), normed))
    for place, width in enumerate(shape.widths):
        # Each kernel of its own, though the start is a function of the size alone.
        kernel = _keras(lambda key, size, place=place: kernel_start(shape)(jax.random.fold_in(key, place), size))
        h = layers.Dense(width, activation=act, kernel_initializer=kernel, bias_initializer=usual["bias_initializer"])(
            h
        )
    outputs = layers.Lambda(shape.last)(layers.Dense(shape.outputs, kernel_initializer=usual["kernel_initializer"])(h))
    model = keras.Model(given, [outputs, layers.Dense(3, name="beside")(h)] if shape.unused else outputs)

    def of_targets_first(y, outputs):
        return compare(outputs[0] if shape.unused else outputs, y)

    named = isinstance(compare, keras.losses.Loss) and not shape.unused
    return *idjax.from_keras(model, compare if named else of_targets_first), (x, y)


def plain(shape, compare, x, y):
    keys = iter(jax.random.split(KEY, 99))
    start, act = kernel_start(shape), activation(shape)
    params, sizes = {}, (WIDTHS[shape.body], *shape.widths, shape.outputs)
    if shape.body == "cnn":
        params["conv"] = {"w": start(next(keys), (3, 3, 2, 8)), "b": bias_start(shape)(KEY, (8,))}
    elif shape.body == "rnn":
        params["cell"] = {"w": 0.4 * jax.random.normal(next(keys), (11, 8)), "b": jnp.zeros(8)}
    elif shape.body == "attention":
        params["attention"] = {name: jax.random.normal(next(keys), (8, 8)) / 8**0.5 for name in "qkvo"}
    for place, (a, b) in enumerate(itertools.pairwise(sizes)):
        bias = bias_start(shape)(KEY, (b,)) if place < len(shape.widths) else jnp.zeros(b)
        params[f"layer{place}"] = {"w": start(next(keys), (a, b)), "b": bias}
    if shape.unused:
        params["beside"] = jnp.ones((sizes[-2], 3))

    def body(params, x):
        if shape.body == "cnn":
            numbers = ("NHWC", "HWIO", "NHWC")
            h = jax.lax.conv_general_dilated(x, params["conv"]["w"], (1, 1), "SAME", dimension_numbers=numbers)
            h = act(h + params["conv"]["b"])
            return h.reshape(-1, 4, 2, 4, 2, 8).max((2, 4)).reshape(-1, 128)
        if shape.body == "rnn":

            def step(h, x):
                return jnp.tanh(jnp.concatenate([x, h], -1) @ params["cell"]["w"] + params["cell"]["b"]), None

            return jax.lax.scan(step, jnp.zeros((len(x), 8)), x.swapaxes(0, 1))[0]
        if shape.body == "attention":

            def attention(x):
                q, k, v = (x @ params["attention"][name] for name in "qkv")
                weights = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", q, k) / 8**0.5)
                return weights @ v @ params["attention"]["o"]

            return (x + attended(shape, attention, x)).mean(1)
        return x

    def loss(params, x, y):
        h = body(params, x)
        for place in range(len(sizes) - 1):
            h = h @ params[f"layer{place}"]["w"] + params[f"layer{place}"]["b"]
            if place < len(sizes) - 2:
                h = act(h)
        return compare(shape.last(h), y)

    return loss, params, (x, y)
