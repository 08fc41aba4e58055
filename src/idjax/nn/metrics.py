"""Metrics of outputs against targets: in original units, and of logits against classes."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float


def accuracy(logits: Any, target: Any) -> Any:
    """The share of rows (N, q) whose own class has the largest logit, or of one output the sign that its target asks
    for; of NumPy's arrays or JAX's.
    """
    right = logits > 0, target > 0.5
    if logits.shape[1] > 1:
        right = logits.argmax(axis=1), target.argmax(axis=1)
    return (right[0] == right[1]).astype(logits.dtype).mean()


def shape_correlation(output: Float[Array, "N q"], target: Float[Array, "N q"]) -> Float[Array, ""]:
    """Mean over rows of the Pearson correlation across features of output and target.

    Rows without a shape (constant output or target) are left out; NaN if none is left, as at q = 1.
    """
    a = output - output.mean(axis=1, keepdims=True)
    b = target - target.mean(axis=1, keepdims=True)
    size = jnp.sqrt(jnp.sum(a**2, axis=1) * jnp.sum(b**2, axis=1))
    correlation = jnp.sum(a * b, axis=1) / jnp.where(size > 0, size, 1)
    return jnp.sum(correlation) / jnp.where((size > 0).any(), (size > 0).sum(), jnp.nan)
