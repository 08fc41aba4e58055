"""Layers, biases, activations and loss of a model, found from outside: from its parameters and its answers."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idjax.nn.model import ACTIVATIONS
from idjax.types import IdjaxError, Layers, Weights

SAME = 1e-4
"""Relative difference of outputs that is rounding."""
PROBED = 64
"""Rows that the function is asked about."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A stack of dense layers as somebody's code has it: parameters at the start, function, loss, and rate of sgd.

    loss takes outputs and targets, (N, q) each, and returns a number.
    """

    name: str
    params: Any
    apply: Callable[[Any, Array], Array]
    loss: Callable[[Array, Array], Array]
    learning_rate: float


@dataclasses.dataclass(frozen=True)
class Inspection:
    """A stack of dense layers as found: layers at the start, bias or not, activations, its loss over the mse."""

    layers: Layers
    bias: bool
    hidden_activation: str
    activation: str
    loss_factor: float
    learning_rate: float

    @property
    def scale(self) -> float:
        """Root mean square of √inputs · kernel over the layers: 1 where a layer keeps the size of its inputs."""
        return float(np.sqrt(np.mean([len(kernel) * np.mean(kernel**2) for kernel, _ in self.layers])))


def inspect_model(model: Model, x: Float[np.ndarray, "N p"], outputs: int) -> Inspection:
    """Layers, activations and loss of a model, from its parameters and the answers of its function and loss."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(model.params)]
    kernels, biases = ([leaf for leaf in leaves if leaf.ndim == rank] for rank in (2, 1))
    rows = jnp.asarray(x[:PROBED])
    answer = np.asarray(model.apply(model.params, rows), np.float64)
    for layers in _orders(kernels, biases, x.shape[1], outputs):
        for hidden, last in itertools.product(ACTIVATIONS, ACTIVATIONS):
            error = np.abs(np.asarray(forward(layers, hidden, last, rows)) - answer).max()
            if error < SAME * np.abs(answer).max():
                hidden = hidden if len(layers) > 1 else "linear"
                factor = _loss_factor(model, outputs)
                return Inspection(layers, bool(biases), hidden, last, factor, model.learning_rate)
    raise IdjaxError(
        f"{model.name} is no stack of dense layers x W + b with {', '.join(ACTIVATIONS)}: no order of its "
        f"{len(kernels)} kernels and {len(biases)} biases gives what its function does"
    )


def _orders(kernels: list[np.ndarray], biases: list[np.ndarray], inputs: int, outputs: int) -> list[Layers]:
    """The orders in which kernels fit each other, kernels of x Wᵀ turned, each with biases that fit or with zeros."""
    found = []
    for order in itertools.permutations(kernels):
        for turned in (order, [kernel.T for kernel in order]):
            sizes = [inputs, *(kernel.shape[1] for kernel in turned)]
            if [kernel.shape[0] for kernel in turned] != sizes[:-1] or sizes[-1] != outputs:
                continue
            for shifts in itertools.permutations(biases) if biases else [[np.zeros(size) for size in sizes[1:]]]:
                if [len(shift) for shift in shifts] == sizes[1:]:
                    found.append(tuple(itertools.starmap(Weights, zip(turned, shifts, strict=True))))
    return found


def forward(layers: Layers, hidden: str, last: str, rows: Array) -> Array:
    """Outputs of dense layers with these activations, (N, q)."""
    for index, (kernel, bias) in enumerate(layers):
        rows = ACTIVATIONS[last if index == len(layers) - 1 else hidden](rows @ kernel + bias)
    return rows


def _loss_factor(model: Model, outputs: int) -> float:
    """The loss over the mean squared error."""
    draws = np.random.default_rng(0)
    factors = []
    for size in (0.1, 1.0, 3.0):
        output, target = (jnp.asarray(size * draws.normal(size=(32, outputs))) for _ in range(2))
        factors.append(float(model.loss(output, target) / jnp.mean((output - target) ** 2)))
    if np.ptp(factors) > SAME * abs(factors[0]):
        raise IdjaxError(f"the loss of {model.name} is no multiple of the squared error: only that is predicted")
    return factors[0]


def loss_words(factor: float, outputs: int) -> str:
    """The axes that a loss averages over, in words, from its factor over the mean squared error."""
    for value, words in (
        (1.0, "mean over rows and outputs"),
        (0.5, "half the mean over rows and outputs"),
        (outputs, "sum over outputs, mean over rows"),
        (outputs / 2, "half the sum over outputs, mean over rows"),
    ):
        if abs(factor / value - 1) < SAME:
            return words
    return f"{factor:.4g} times the mean over rows and outputs"
