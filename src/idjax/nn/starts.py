"""The weights before training: drawn, the identity, or read from a file.

Glorot kernels are drawn in NumPy, bit for bit as `flax.linen.initializers.glorot_uniform` draws them with JAX's keys:
a prediction then compiles nothing. Source: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as
1, 2, 3", for Threefry-2x32 with 20 rounds.
"""

import functools
import itertools
import math
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt32

from idjax.types import IdjaxError, Layers, Weights

ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
"""Bits that each round turns the second word by."""
PARITY = 0x1BD11BDA


def start_weights(start: str, inputs: int, outputs: int, seed: int) -> Weights:
    """The weights of one layer before training; see `start_layers`."""
    return start_layers(start, (inputs, outputs), seed)[0]


def start_layers(start: str, sizes: tuple[int, ...], seed: int) -> Layers:
    """The layers between inputs, hidden layers and outputs of these sizes, before training.

    glorot is a kernel uniform on ±sqrt(6/(inputs + outputs)) of a layer (Glorot and Bengio 2010, eq. 16) as in Keras,
    lecun a normal one of variance 1/inputs cut off at two deviations, as in Flax; biases are zero. A file gives all
    layers. Draws are float32 whatever the dtype of training, so that all dtypes start from the same point.

    Raises:
      IdjaxError: a file that is not weights of these shapes, or an identity that is not square.
    """
    shapes = list(itertools.pairwise(sizes))
    if start in INITIALIZERS:
        kernels = _drawn(start, tuple(shapes), seed)
        return tuple(Weights(kernel.copy(), np.zeros(kernel.shape[1])) for kernel in kernels)
    if start == "identity":
        if len(set(sizes)) > 1:
            raise IdjaxError(
                f"--start identity needs layers with as many inputs as outputs, not {sizes[0]} and "
                f"{' and '.join(map(str, sizes[1:]))}: use glorot"
            )
        return tuple(Weights(np.eye(sizes[0]), np.zeros(sizes[0])) for _ in shapes)
    return _read_layers(start, shapes)


@functools.lru_cache(maxsize=16)
def _drawn(start: str, shapes: tuple[tuple[int, int], ...], seed: int) -> tuple[np.ndarray, ...]:
    """The kernels; searches and sweeps predict many runs from one start."""
    key = np.array([0, seed], np.uint32)
    count = np.arange(len(shapes), dtype=np.uint32)
    keys = [key] if len(shapes) == 1 else np.stack(_threefry(key, count), axis=1)
    return tuple(np.asarray(INITIALIZERS[start](*each), np.float64) for each in zip(keys, shapes, strict=True))


def _glorot(key: UInt32[np.ndarray, "2"], shape: tuple[int, int]) -> Float[np.ndarray, "p q"]:
    first, second = _threefry(key, np.arange(math.prod(shape), dtype=np.uint32))
    # 23 bits behind a float32's point: from 1 to 2, then from -1 to 1.
    fractions = ((first ^ second) >> np.uint32(9) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)
    limit = np.sqrt(np.float32(3) * np.float32(2 / sum(shape)))
    return ((fractions * np.float32(2) - np.float32(1)) * limit).reshape(shape)


def _lecun(key: UInt32[np.ndarray, "2"], shape: tuple[int, int]) -> Float[np.ndarray, "p q"]:
    import flax.linen as nn
    import jax

    wrapped = jax.random.wrap_key_data(jax.numpy.asarray(key), impl="threefry2x32")
    return np.asarray(nn.initializers.lecun_normal()(wrapped, shape, np.float32))


INITIALIZERS: dict[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray]] = {"glorot": _glorot, "lecun": _lecun}
"""Kernels by name, from a key of two words and a shape."""


def _threefry(key: UInt32[np.ndarray, "2"], count: UInt32[np.ndarray, " k"]) -> tuple[np.ndarray, np.ndarray]:
    """Two random words of each count below 2^32: the cipher of (0, count) under the key."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(PARITY))
    first, second = np.full_like(count, keys[0]), count + keys[1]
    for turn in range(5):
        for bits in ROTATIONS[turn % 2]:
            first += second
            second = (second << np.uint32(bits) | second >> np.uint32(32 - bits)) ^ first
        first += keys[(turn + 1) % 3]
        second += keys[(turn + 2) % 3]
        second += np.uint32(turn + 1)
    return first, second


def _read_layers(path: str, shapes: list[tuple[int, int]]) -> Layers:
    file = pathlib.Path(path)
    if not file.is_file():
        raise IdjaxError(f"--start {path}: no such file; give glorot, identity, or a .npz, .npy or .msgpack file")
    try:
        if file.suffix == ".msgpack":
            from idjax.nn.model import from_bytes

            layers = from_bytes(file.read_bytes())
        elif file.suffix == ".npy":
            layers = (Weights(np.load(file, allow_pickle=False).astype(np.float64), np.zeros(shapes[-1][1])),)
        else:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                bias = arrays["bias"] if "bias" in arrays else np.zeros(shapes[-1][1])
                layers = (Weights(arrays["kernel"].astype(np.float64), bias.astype(np.float64)),)
    except Exception as error:  # a damaged file fails in as many ways as there are parsers
        raise IdjaxError(
            f"--start {path}: not weights ({type(error).__name__}); give an .npz with kernel and bias, "
            "a .npy kernel, or a .msgpack written by train --out"
        ) from None
    if len(layers) != len(shapes):
        raise IdjaxError(f"--start {path}: {len(layers)} layers, but there are {len(shapes)}: give --hidden to match")
    for (kernel, bias), (inputs, outputs) in zip(layers, shapes, strict=True):
        if kernel.shape != (inputs, outputs) or bias.shape != (outputs,):
            raise IdjaxError(
                f"--start {path}: kernel {kernel.shape} and bias {bias.shape}, but the data need "
                f"({inputs}, {outputs}) and ({outputs},)"
            )
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise IdjaxError(f"--start {path}: the weights hold NaN or infinity")
    return layers
