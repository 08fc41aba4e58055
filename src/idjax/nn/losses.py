"""Losses and activity penalties, as Keras has them: means over rows and outputs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def mean_squared_error(output: Float[Array, "N q"], target: Float[Array, "N q"]) -> Float[Array, ""]:
    """mean (output - target)²."""
    return jnp.mean((output - target) ** 2)


def mean_absolute_error(output: Float[Array, "N q"], target: Float[Array, "N q"]) -> Float[Array, ""]:
    """mean |output - target|."""
    return jnp.mean(jnp.abs(output - target))


def huber(output: Float[Array, "N q"], target: Float[Array, "N q"]) -> Float[Array, ""]:
    """Mean of e²/2 where |e| <= 1 and |e| - 1/2 beyond, e = output - target (Keras's delta is 1)."""
    size = jnp.abs(output - target)
    return jnp.mean(jnp.where(size <= 1, size**2 / 2, size - 0.5))


def log_cosh(output: Float[Array, "N q"], target: Float[Array, "N q"]) -> Float[Array, ""]:
    """mean log cosh(output - target), as e + softplus(-2e) - log 2, which does not overflow."""
    error = output - target
    return jnp.mean(error + jax.nn.softplus(-2 * error) - jnp.log(2.0).astype(error.dtype))


def cross_entropy(output: Float[Array, "N q"], target: Float[Array, "N q"]) -> Float[Array, ""]:
    """Mean over rows of the cross-entropy of logits: of two classes for one output, else by the softmax of all."""
    if output.shape[1] == 1:
        return jnp.mean(jax.nn.softplus(output) - target * output)
    return jnp.mean(jax.nn.logsumexp(output, axis=1) - jnp.sum(target * output, axis=1))


BY_NAME: dict[str, Callable[..., Array]] = {
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
    "huber": huber,
    "log-cosh": log_cosh,
    "cross-entropy": cross_entropy,
}


def activity_penalty(
    output: Float[Array, "N q"], l1: Float[Array, ""] | float, l2: Float[Array, ""] | float
) -> Float[Array, ""]:
    """(l1 Σ|output| + l2 Σ output²) / N: Keras sums over outputs and divides by the batch size."""
    return jnp.sum(l1 * jnp.abs(output) + l2 * output**2) / output.shape[0]


def unit_penalty(penalties: tuple[Array, ...], kernels: list[Array]) -> Float[Array, ""]:
    """Σ_h Σ_i μ_hi (|in_hi|² + |out_hi|²), from the kernels of all layers; 0 without penalties."""
    # Weights of 16 bits are seen exactly, and their squares are float32.
    kernels = [kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32)) for kernel in kernels]
    total = jnp.zeros((), kernels[0].dtype)
    for each, before, after in zip(penalties, kernels, kernels[1:], strict=False):
        total += jnp.sum(each * (jnp.sum(before**2, axis=0) + jnp.sum(after**2, axis=1)))
    return total
