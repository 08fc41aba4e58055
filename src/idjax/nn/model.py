"""The Flax model: normalise → dense layers → undo. Pure functions of parameters."""

import contextlib
import functools
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
        arithmetic = jnp.promote_types(self.param_dtype, jnp.float32)  # weights of 16 bits are seen exactly

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
            name: {"kernel": _put(layer.kernel, dtype), "bias": _put(layer.bias, dtype)}
            for name, layer in zip(_names(len(layers)), layers, strict=True)
        }
    }


def _put(values: Any, dtype: str) -> Array:
    """On the device in this dtype; numbers of 32 and 64 bits are made on the host, where no shape is compiled for."""
    on_host = isinstance(values, np.ndarray) and dtype in ("float32", "float64")
    return jax.device_put(np.array(values, dtype)) if on_host else jnp.asarray(values, dtype)


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


def precision(dtype: str) -> contextlib.AbstractContextManager[None]:
    """Context in which JAX keeps 64 bits if the dtype has them, and 32 otherwise; a thread does not inherit it."""
    return jax.enable_x64(dtype == "float64")


def to_bytes(weights: Weights | Layers, dtype: str = "float32") -> bytes:
    """The variables in Flax's msgpack form, which `flax.serialization` and --start read back."""
    with precision(dtype):
        return flax.serialization.to_bytes(jax.tree.map(np.asarray, to_params(weights, dtype)))


def from_bytes(content: bytes) -> Layers:
    """The layers in what `to_bytes` wrote, as float64 NumPy arrays."""
    variables: Any = flax.serialization.msgpack_restore(content)
    return layers_of(variables)
