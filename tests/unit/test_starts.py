"""Starts: kernels drawn in NumPy against Flax's initializers with JAX's keys, bit for bit."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from idjax.nn import starts
from idjax.nn.starts import start_layers

SEEDS = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, *map(int, np.random.default_rng(0).integers(2**32, size=45))]
SIZES = [(1, 1), (10, 1), (7, 5), (33, 17, 4), (5, 4, 3, 2)]


def _of_flax(initializer, sizes, seed):
    key, shapes = jax.random.key(seed), list(itertools.pairwise(sizes))
    keys = [key] if len(shapes) == 1 else jax.random.split(key, len(shapes))
    return [np.asarray(initializer(*each, jnp.float32), np.float64) for each in zip(keys, shapes, strict=True)]


def _agree(name, initializer, sizes, seed):
    drawn = [layer.kernel for layer in start_layers(name, sizes, seed)]
    return all(map(np.array_equal, drawn, _of_flax(initializer, sizes, seed)))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_glorot_is_that_of_flax_bit_for_bit(sizes):
    initializer = jax.jit(nn.initializers.glorot_uniform(), static_argnums=(1, 2))
    assert all(_agree("glorot", initializer, sizes, seed) for seed in SEEDS)


def test_lecun_is_that_of_flax_bit_for_bit():
    assert all(_agree("lecun", nn.initializers.lecun_normal(), (5, 4, 3), seed) for seed in SEEDS[:5])


def test_one_round_too_few_draws_other_numbers(monkeypatch):
    """Negative control."""
    monkeypatch.setattr(starts, "ROTATIONS", ((13, 15, 26), (17, 29, 16)))
    starts._drawn.cache_clear()
    try:
        assert not _agree("glorot", nn.initializers.glorot_uniform(), (7, 5), 0)
    finally:
        starts._drawn.cache_clear()
