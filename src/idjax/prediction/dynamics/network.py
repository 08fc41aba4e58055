"""The network of a run as functions of flat weights, the rows as it sees them, and which of its units are of no use."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from idjax.moments.moments import BLOCK_ROWS
from idjax.moments.normalize import encode
from idjax.nn.model import ACTIVATIONS, layers_of, to_params
from idjax.nn.step import Plan
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.types import ACTIVATION_RANGES, Layers, Rows, Weights

NAMED = 8
"""Units that are named one by one."""


class Seen(NamedTuple):
    """Rows as the network sees them: inputs, targets and what its errors are multiplied by in original units."""

    z: Float[np.ndarray, "N p"]
    target: Float[np.ndarray, "N q"]
    scale: Float[np.ndarray, "N q"]


class Network(NamedTuple):
    """Weights at the start (g, P), the compiled outputs and derivatives at weights and rows, and layers of weights.

    The outputs of a single layer share no weights: g = q groups of n. A network with hidden layers is one group.
    """

    start: Float[np.ndarray, "g P"]
    compiled: Callable[[np.ndarray, np.ndarray], tuple[Array, Array]]
    layers: Callable[[np.ndarray], Layers]

    def linearised(
        self, weights: Float[np.ndarray, "g P"], z: Float[np.ndarray, "N p"]
    ) -> tuple[Float[np.ndarray, "g r"], Float[np.ndarray, "g r P"]]:
        """The outputs on these rows, and their derivatives by the weights."""
        outputs, jacobian = self.compiled(weights, z)
        return np.asarray(outputs), np.asarray(jacobian)

    def grouped(self, values: Float[np.ndarray, "N q"]) -> Float[np.ndarray, "g r"]:
        """Numbers of every row and output in the order of `output`."""
        return values.T if len(self.start) > 1 else values.reshape(1, -1)


def network_of(plan: Plan, layers: Layers) -> Network:
    """The Flax model of this plan, in float64, at these weights."""
    if len(layers) == 1:
        return Network(np.asarray(layers[0].stacked.T, np.float64), *_one_layer(plan.activation))
    leaves = jax.tree.leaves(to_params(layers, "float64"))
    start = np.concatenate([np.ravel(leaf) for leaf in leaves])
    return Network(start[None], *_deep(plan, tuple(layer.kernel.shape for layer in layers)))


@functools.lru_cache(maxsize=8)
def _one_layer(activation: str) -> tuple[Callable, Callable]:
    function = ACTIVATIONS[activation]

    def linearised(weights: Array, z: Array) -> tuple[Array, Array]:
        inputs = jnp.concatenate([z, jnp.ones_like(z[:, :1])], axis=1)
        outputs, slope = jax.vmap(jax.vmap(jax.value_and_grad(function)))(weights @ inputs.T)
        return outputs, slope[..., None] * inputs

    def layers(weights: np.ndarray) -> Layers:
        stacked = weights.T
        return (Weights(stacked[:-1], stacked[-1]),)

    return jax.jit(linearised), layers


@functools.lru_cache(maxsize=8)
def _deep(plan: Plan, shapes: tuple[tuple[int, int], ...]) -> tuple[Callable, Callable]:
    """Functions of the weights, which other starts of the same shapes share with their compiled programs."""
    model = plan._replace(dtype="float64").model()
    start = to_params(tuple(Weights(np.zeros(shape), np.zeros(shape[1])) for shape in shapes), "float64")
    flat, unravel = ravel_pytree(start)

    def output(weights: Array, row: Array) -> Array:
        return jnp.asarray(model.apply(unravel(weights), row, method="layer"))

    def linearised(weights: Array, z: Array) -> tuple[Array, Array]:
        outputs = jax.vmap(lambda row: output(weights[0], row))(z)
        jacobian = jax.vmap(lambda row: jax.jacrev(output)(weights[0], row))(z)
        return outputs.reshape(1, -1), jacobian.reshape(1, -1, len(flat))

    return jax.jit(linearised), lambda weights: layers_of(unravel(weights[0]))


def seen(spec: RunSpec, sample: Rows) -> Seen:
    """The rows in the network's units."""
    x, y = (None if part is None else np.asarray(part, np.float64) for part in sample)
    z, target, affine = encode(spec.settings.normalize, spec.problem.normalizer, x, y)
    return Seen(np.asarray(z), np.asarray(target), np.broadcast_to(affine.scale, target.shape))


def unreachable(spec: RunSpec, rows: Seen) -> list[str]:
    """Targets outside the range of the output's activation, and the loss that they leave."""
    activation = spec.settings.activation
    if activation not in ACTIVATION_RANGES:
        return []
    count, lost = np.zeros(rows.target.shape[1], int), 0.0
    for first in range(0, len(rows.target), BLOCK_ROWS):
        target = rows.target[first : first + BLOCK_ROWS]
        beyond = target - target.clip(*ACTIVATION_RANGES[activation])
        count += np.count_nonzero(beyond, axis=0)
        lost += float(np.vdot(beyond, beyond))
    if not count.any():
        return []
    outputs, size = _named("output", np.flatnonzero(count), len(count)), rows.target.size
    return [
        f"unreachable: {count.sum() / size:.2%} of the targets lie outside the range of {activation}, which "
        f"leaves a loss of at least {lost / size:.4g} ({outputs})"
    ]


def dead(spec: RunSpec, rows: Seen, layers: Layers, when: str) -> list[str]:
    """Units of relu that are 0 on every row, where no gradient reaches them."""
    settings, z, notes = spec.settings, rows.z, []
    kinds = [settings.hidden_activation] * len(settings.hidden) + [settings.activation]
    last = max((index for index, kind in enumerate(kinds) if kind == "relu"), default=-1)
    for index, (layer, kind) in enumerate(zip(layers[: last + 1], kinds, strict=False)):
        z = z @ layer.kernel + layer.bias
        if kind == "relu" and len(units := np.flatnonzero((z <= 0).all(axis=0))):
            where = f"hidden layer {index + 1}" if index < len(settings.hidden) else "the output layer"
            notes.append(f"dead {when}, 0 on every training row: {_named('unit', units, z.shape[1])} of {where}")
        z = np.maximum(z, 0) if kind == "relu" else np.asarray(ACTIVATIONS[kind](z))
    return notes


def _named(what: str, units: np.ndarray, total: int) -> str:
    if len(units) == total:
        return f"all {total} {what}s"
    names = ", ".join(map(str, units[:NAMED])) + (", …" if len(units) > NAMED else "")
    return f"{what} {names}" if len(units) == 1 else f"{len(units)} {what}s: {names}"
