"""The Flax model: normalise → dense → undo. Pure functions of parameters; start weights by name or from a file."""

import pathlib
from typing import Any

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idjax.normalize import Fitted, standardize, standardize_samples, undo
from idjax.types import IdjaxError, Weights

ACTIVATIONS = {"linear": lambda x: x, "relu": nn.relu, "tanh": nn.tanh, "sigmoid": nn.sigmoid}


class DenseModel(nn.Module):
    """One Dense layer between a normaliser and its inverse.

    `__call__` maps rows in original units to outputs in original units; `layer` is the part in between, which
    sees and gives normalised units. Products run at 'highest' precision: at the default one a GPU or TPU rounds
    inputs to 10 or 8 bits, and the identity start would not give a loss of exactly 0.
    """

    features: int
    activation: str = "linear"
    normalize: str = "none"
    autoencoder: bool = True
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Declares the layer."""
        arithmetic = jnp.promote_types(self.param_dtype, jnp.float32)  # weights of bfloat16 are seen exactly
        self.dense = nn.Dense(self.features, dtype=arithmetic, param_dtype=self.param_dtype, precision="highest")

    def layer(self, z: Float[Array, "N p"]) -> Float[Array, "N q"]:
        """activation(z W + b)."""
        return ACTIVATIONS[self.activation](self.dense(z))

    def __call__(self, x: Float[Array | np.ndarray, "N p"], fitted: Fitted | None = None) -> Float[Array, "N q"]:
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


def to_params(weights: Weights, dtype: str = "float32") -> dict[str, Any]:
    """Flax variables of `DenseModel` with these weights."""
    return {
        "params": {
            "dense": {
                "kernel": jnp.asarray(weights.kernel, dtype),
                "bias": jnp.asarray(weights.bias, dtype),
            }
        }
    }


def from_params(variables: dict[str, Any]) -> Weights:
    """The weights inside Flax variables of `DenseModel`, as float64 NumPy arrays."""
    dense = variables["params"]["dense"]
    return Weights(np.asarray(dense["kernel"], np.float64), np.asarray(dense["bias"], np.float64))


def start_weights(start: str, inputs: int, outputs: int, seed: int) -> Weights:
    """Weights before training: glorot (uniform kernel, zero bias, as Keras), identity, or read from a file.

    Source: Glorot and Bengio 2010, eq. 16: kernel uniform on ±sqrt(6/(p + q)). Draws are float32 whatever the
    dtype of training, so that all dtypes start from the same point.

    Raises:
      IdjaxError: a file that is not weights of this shape, or an identity that is not square.
    """
    if start == "glorot":
        key = jax.random.key(seed)
        kernel = nn.initializers.glorot_uniform()(key, (inputs, outputs), jnp.float32)
        return Weights(np.asarray(kernel, np.float64), np.zeros(outputs))
    if start == "identity":
        if inputs != outputs:
            raise IdjaxError(
                f"--start identity needs as many inputs as outputs, not {inputs} and {outputs}: use glorot"
            )
        return Weights(np.eye(inputs), np.zeros(outputs))
    return _read_weights(start, inputs, outputs)


def _read_weights(path: str, inputs: int, outputs: int) -> Weights:
    file = pathlib.Path(path)
    if not file.is_file():
        raise IdjaxError(f"--start {path}: no such file; give glorot, identity, or a .npz, .npy or .msgpack file")
    try:
        if file.suffix == ".msgpack":
            tree = flax.serialization.msgpack_restore(file.read_bytes())
            dense = tree["params"]["dense"]
            kernel, bias = np.asarray(dense["kernel"]), np.asarray(dense["bias"])
        elif file.suffix == ".npy":
            kernel, bias = np.load(file, allow_pickle=False), np.zeros(outputs)
        else:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                kernel, bias = arrays["kernel"], arrays["bias"] if "bias" in arrays else np.zeros(outputs)
        kernel, bias = kernel.astype(np.float64), bias.astype(np.float64)
    except Exception as error:  # a damaged file fails in as many ways as there are parsers
        raise IdjaxError(
            f"--start {path}: not weights ({type(error).__name__}); give an .npz with kernel and bias, "
            "a .npy kernel, or a .msgpack written by train --out"
        ) from None
    if kernel.shape != (inputs, outputs) or bias.shape != (outputs,):
        raise IdjaxError(
            f"--start {path}: kernel {kernel.shape} and bias {bias.shape}, but the data need "
            f"({inputs}, {outputs}) and ({outputs},)"
        )
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise IdjaxError(f"--start {path}: the weights hold NaN or infinity")
    return Weights(kernel, bias)


def to_bytes(weights: Weights, dtype: str = "float32") -> bytes:
    """The variables in Flax's msgpack form, which `flax.serialization` and --start read back."""
    return flax.serialization.to_bytes(jax.tree.map(np.asarray, to_params(weights, dtype)))
