"""The Flax model: normalise → dense layers → undo. Pure functions of parameters; starts by name or from a file."""

import contextlib
import functools
import itertools
import math
import pathlib
from typing import Any

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idjax.moments.normalize import Normalizer, standardize, standardize_samples, undo
from idjax.types import IdjaxError, Layers, Weights, end_to_end

ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": nn.relu,
    "tanh": nn.tanh,
    "sigmoid": nn.sigmoid,
    "gelu": functools.partial(nn.gelu, approximate=False),
}
"""By name, as Keras has them."""
RANGES = {"relu": (0.0, math.inf), "tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "gelu": (-0.16997121, math.inf)}
"""What each can be, least and most."""


INITIALIZERS = {"glorot": nn.initializers.glorot_uniform, "lecun": nn.initializers.lecun_normal}


class DenseModel(nn.Module):
    """Dense layers, one unless there are hidden ones, between a normaliser and its inverse.

    `__call__` maps rows in original units to outputs in original units; `layer` is the part in between, which
    sees and gives normalised units. Products run at 'highest' precision: at the default one a GPU or TPU rounds
    inputs to 10 or 8 bits, and the identity start would not give a loss of exactly 0.
    """

    features: int
    activation: str = "linear"
    normalize: str = "none"
    autoencoder: bool = True
    param_dtype: Any = jnp.float32
    widths: tuple[int, ...] = ()
    hidden_activation: str = "linear"

    def setup(self) -> None:
        """Declares the layers."""
        arithmetic = jnp.promote_types(self.param_dtype, jnp.float32)  # weights of bfloat16 are seen exactly

        def dense(units: int) -> nn.Dense:
            return nn.Dense(units, dtype=arithmetic, param_dtype=self.param_dtype, precision="highest")

        self.hidden = [dense(units) for units in self.widths]
        self.dense = dense(self.features)

    def layer(self, z: Float[Array, "N p"]) -> Float[Array, "N q"]:
        """activation(z W + b), z the last hidden layer's output."""
        for hidden in self.hidden:
            z = ACTIVATIONS[self.hidden_activation](hidden(z))
        return ACTIVATIONS[self.activation](self.dense(z))

    def __call__(self, x: Float[Array | np.ndarray, "N p"], fitted: Normalizer | None = None) -> Float[Array, "N q"]:
        """Outputs in original units; `fitted` is what `normalize.fit` learned for center, feature, pca and zca."""
        x = jnp.asarray(x)
        if self.normalize == "none":
            return self.layer(x)
        if self.normalize == "sample":
            z, affine = standardize_samples(x)
            return undo(self.layer(z), affine) if self.autoencoder else self.layer(z)
        if fitted is None:
            raise IdjaxError(f"normalize={self.normalize!r} needs the statistics that normalize.fit returns")
        return undo(self.layer(standardize(x, fitted.inputs)), fitted.targets)


def to_params(weights: Weights | Layers, dtype: str = "float32") -> dict[str, Any]:
    """Flax variables of `DenseModel` with these weights: hidden_0, hidden_1, … and dense, the output layer."""
    layers = (weights,) if isinstance(weights, Weights) else weights
    return {
        "params": {
            name: {"kernel": jnp.asarray(layer.kernel, dtype), "bias": jnp.asarray(layer.bias, dtype)}
            for name, layer in zip(_names(len(layers)), layers, strict=True)
        }
    }


def layers_of(variables: dict[str, Any]) -> Layers:
    """The layers inside Flax variables of `DenseModel`, as float64 NumPy arrays."""
    params = variables["params"]
    return tuple(
        Weights(*(np.asarray(params[name][part], np.float64) for part in ("kernel", "bias")))
        for name in _names(len(params))
    )


def kernels_of(variables: dict[str, Any]) -> list[Array]:
    """The kernels inside Flax variables of `DenseModel`, in order."""
    params = variables["params"]
    return [params[name]["kernel"] for name in _names(len(params))]


def from_params(variables: dict[str, Any], hidden_activation: str = "linear") -> Weights:
    """The kernel and bias of the whole map; NaN if there are hidden layers that are not linear."""
    layers = layers_of(variables)
    whole = end_to_end(layers)
    if len(layers) > 1 and hidden_activation != "linear":
        return Weights(*(np.full_like(part, np.nan) for part in whole))
    return whole


def _names(layers: int) -> list[str]:
    return [*(f"hidden_{index}" for index in range(layers - 1)), "dense"]


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
    key = jax.random.key(seed)
    keys = [key] if len(shapes) == 1 else jax.random.split(key, len(shapes))
    kernels = [INITIALIZERS[start]()(key, shape, jnp.float32) for key, shape in zip(keys, shapes, strict=True)]
    return tuple(np.asarray(kernel, np.float64) for kernel in kernels)


def _read_layers(path: str, shapes: list[tuple[int, int]]) -> Layers:
    file = pathlib.Path(path)
    if not file.is_file():
        raise IdjaxError(f"--start {path}: no such file; give glorot, identity, or a .npz, .npy or .msgpack file")
    try:
        if file.suffix == ".msgpack":
            variables: Any = flax.serialization.msgpack_restore(file.read_bytes())
            layers = layers_of(variables)
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


def precision(dtype: str) -> contextlib.AbstractContextManager[None]:
    """Context in which JAX keeps 64 bits if the dtype has them, and 32 otherwise; a thread does not inherit it."""
    return jax.enable_x64(dtype == "float64")


def to_bytes(weights: Weights | Layers, dtype: str = "float32") -> bytes:
    """The variables in Flax's msgpack form, which `flax.serialization` and --start read back."""
    with precision(dtype):
        return flax.serialization.to_bytes(jax.tree.map(np.asarray, to_params(weights, dtype)))
