"""`LayerFacts` of a layer, from its inputs' moments, its kernel and its gradient."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from idjax.diagnosis.trace.layer_moments import InputMoments, ends
from idjax.diagnosis.trace.layers import Layer
from idjax.results.program import LayerFacts
from idjax.settings import Settings
from idjax.theory.finite_precision import DIGITS, lost, unit


class Kernel(NamedTuple):
    """A kernel as stored and its gradient over all rows."""

    weights: Float[np.ndarray, "..."]
    gradient: Float[np.ndarray, "..."]


def facts_of(name: str, layer: Layer, moments: InputMoments, kernel: Kernel, settings: Settings) -> LayerFacts:
    """The facts of a layer with a kernel (p, q); constant channels are left out of what is said of mean and scale."""
    varying = ~moments.constant
    mean, variance = moments.mean[varying], np.diagonal(moments.covariance)[varying]
    squared, spread = float(mean @ mean), float(variance.sum())
    of_inputs = ends(moments.second_moment, moments.noise)
    movable = min(len(moments.second_moment), moments.count)
    constant, dead = _constant(moments)
    outlier, feature, ratio = _outlier(moments)
    return LayerFacts(
        bias=bool(layer.bias),
        positions=moments.count,
        input_scale=float(np.sqrt((squared + spread) / max(1, len(mean)))),
        mean_share=squared / spread if spread > 0 else np.inf if squared > 0 else 0.0,
        top=of_inputs.top,
        bottom=of_inputs.bottom,
        null_modes=max(0, movable - of_inputs.rank) if of_inputs.rank >= 0 else 0,
        constant=constant,
        dead=dead,
        channels=len(moments.channels.mean),
        outlier=outlier,
        outlier_feature=feature,
        outlier_ratio=ratio,
        **_kernel_facts(name, layer, kernel, settings),
    )


def embedding_facts(
    name: str, layer: Layer, counts: Int[np.ndarray, " v"], kernel: Kernel, settings: Settings
) -> LayerFacts:
    """The facts of an embedding: its input is one-hot, M = diag(f) with f the shares of the tokens."""
    shares = counts / counts.sum()
    squared = float(shares @ shares)
    seen = shares[shares > 0]
    return LayerFacts(
        bias=False,
        positions=int(counts.sum()),
        input_scale=float(np.sqrt(1 / len(counts))),
        mean_share=squared / (1 - squared) if squared < 1 else np.inf,
        top=float(seen.max()),
        bottom=float(seen.min()),
        null_modes=len(counts) - len(seen),
        constant=(),
        dead=(),
        channels=len(counts),
        outlier=float(seen.max()),
        outlier_feature=int(shares.argmax()),
        outlier_ratio=float(seen.max() / np.median(seen)),
        **_kernel_facts(name, layer, kernel, settings),
    )


@np.errstate(over="ignore", invalid="ignore")  # gradients of a loss that is not finite
def _kernel_facts(name: str, layer: Layer, kernel: Kernel, settings: Settings) -> dict[str, Any]:
    """Name, shape, kernel and gradient of a layer of any kind, among its facts."""
    scale = _root_mean_square(kernel.weights)
    dropped, passing = _rounding(kernel, settings)
    return {
        "path": name,
        "kind": layer.kind,
        "inputs": layer.inputs,
        "outputs": layer.outputs,
        "gain": scale if layer.kind == "embed" else scale * layer.inputs**0.5,
        "kernel_dtype": str(kernel.weights.dtype),
        "kernel_scale": scale,
        "gradient": _root_mean_square(kernel.gradient),
        "update_lost": dropped,
        "passing_rate": passing,
    }


def _rounding(kernel: Kernel, settings: Settings) -> tuple[float, float]:
    """The share of updates lost, of weights that have a gradient, and the rate at which half of them pass."""
    dtype = str(kernel.weights.dtype)
    moved = kernel.gradient != 0
    if dtype not in DIGITS or not moved.any():
        return (float("nan"), float("nan")) if dtype not in DIGITS else (0.0, 0.0)
    direction = _per_unit_rate(kernel.gradient, settings).astype(np.float64)
    weights = kernel.weights.astype(np.float64)
    dropped = lost(weights, -settings.step_size * direction, dtype)[moved]
    with np.errstate(divide="ignore"):
        passing = unit(weights, dtype)[moved] / 2 / np.abs(direction)[moved]
    return float(dropped.mean()), float(np.median(passing))


def _per_unit_rate(gradient: Float[np.ndarray, "..."], settings: Settings) -> Float[np.ndarray, "..."]:
    """The update over the learning rate: the gradient (what it adds up to with momentum), or that over its size."""
    epsilon = settings.numbers.get("epsilon")
    if epsilon is None:
        return gradient / (1 - settings.momentum)
    return gradient / (np.abs(gradient) + epsilon)


def _root_mean_square(values: Float[np.ndarray, "..."]) -> float:
    flat = values.astype(np.float32).ravel()
    return float(np.sqrt(np.dot(flat, flat) / len(flat)))


def _constant(moments: InputMoments) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels that are one number other than 0, and those that are 0."""
    same, zero = moments.constant_channels, moments.channels.high == 0
    return tuple(np.flatnonzero(same & ~zero).tolist()), tuple(np.flatnonzero(same & zero).tolist())


def _outlier(moments: InputMoments) -> tuple[float, int, float]:
    """The channel of the largest mean square: its share of all, which it is, and its ratio to the others' median."""
    square = moments.channels.second + moments.channels.mean**2
    largest = int(square.argmax())
    others = np.delete(square, largest)
    others = others[others > 0]
    total = float(square.sum())
    ratio = float(square[largest] / np.median(others)) if len(others) else 1.0
    return (float(square[largest] / total) if total > 0 else 0.0), largest, ratio
