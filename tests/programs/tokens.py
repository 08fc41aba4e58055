"""Programs of tokens, of which some go past the end of the table of their embedding."""

import functools
from collections.abc import Callable

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import keras
import numpy as np
from flax import linen as nn
from flax import nnx

import idjax
from programs.compared import integer_labels
from programs.shape import KEY, ROWS, MadeProgram

WORDS = 50
LABELS = np.random.default_rng(8).integers(0, 3, ROWS)


def _linen():
    model = nn.Sequential([nn.Embed(WORDS, 8), lambda h: h.mean(1), nn.Dense(3)])
    return lambda p, t, y: integer_labels(model.apply(p, t), y), model.init(KEY, np.zeros((2, 5), int))


def _nnx():
    parts = nnx.List([nnx.Embed(WORDS, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 3, rngs=nnx.Rngs(1))])
    model = nnx.Sequential(parts[0], lambda h: h.mean(1), parts[1])
    return lambda model, t, y: integer_labels(model(t), y), model


def _equinox():
    parts = [eqx.nn.Embedding(WORDS, 8, key=KEY), eqx.nn.Linear(8, 3, key=KEY)]

    def loss(parts, t, y):
        return integer_labels(jax.vmap(lambda t: parts[1](jax.vmap(parts[0])(t).mean(0)))(t), y)

    return loss, parts


def _haiku():
    net = hk.without_apply_rng(hk.transform(lambda t: hk.Linear(3)(hk.Embed(WORDS, 8)(t).mean(1))))
    return lambda p, t, y: integer_labels(net.apply(p, t), y), net.init(KEY, np.zeros((2, 5), int))


def _keras():
    layers = keras.layers
    parts = [layers.Embedding(WORDS, 8), layers.GlobalAveragePooling1D(), layers.Dense(3)]
    model = keras.Sequential([keras.Input((5,), dtype="int32"), *parts])
    return idjax.from_keras(model, keras.losses.SparseCategoricalCrossentropy(from_logits=True))


def _plain():
    keys = jax.random.split(KEY)
    params = {"words": jax.random.normal(keys[0], (WORDS, 8)), "head": jax.random.normal(keys[1], (8, 3)) / 3}
    return lambda p, t, y: integer_labels(p["words"][t].mean(1) @ p["head"], y), params


TOKEN_NETS: dict[str, Callable] = {
    "linen": _linen, "nnx": _nnx, "equinox": _equinox, "haiku": _haiku, "keras": _keras, "plain": _plain,
}  # fmt: skip


def _made(library: str, words: int, codes: tuple[str, ...]) -> MadeProgram:
    tokens = np.random.default_rng(9).integers(0, words, (ROWS, 5))
    return MadeProgram(*TOKEN_NETS[library](), (jnp.asarray(tokens), LABELS), codes)


PAST_THE_TABLE = {f"{library}, tokens past the table": functools.partial(_made, library, 70, ("tokens-outside",))
                  for library in TOKEN_NETS}  # fmt: skip
WITHIN_THE_TABLE = {f"{library}, tokens": functools.partial(_made, library, WORDS, ()) for library in TOKEN_NETS}
