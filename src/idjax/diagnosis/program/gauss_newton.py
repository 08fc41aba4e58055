"""Curvature without a matrix: products with the Gauss-Newton matrix, its extreme eigenvalues, its layers' traces.

H = Jᵀ L J with J the outputs' derivative by all parameters and L the second derivative of the loss by the outputs,
which is positive where the loss is convex in them. A product is one forward derivative, one of the loss's gradient and
one backward derivative. Eigenvalues come from Lanczos with full reorthogonalisation (matfree), and each is held against
its residual: for symmetric H a true eigenvalue lies within |H v - θ v| of θ.
Sources: Schraudolph 2002, "Fast curvature matrix-vector products"; Parlett 1998, "The symmetric eigenvalue problem",
theorem 4.5.1; Krämer et al. 2024 (matfree). docs/models.md (M2), (M3).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray
from matfree import decomp

Forward = Callable[[Any, Any], Any]
Loss = Callable[[Any, Any], Float[Array, ""]]

TOPS = 3
"""Eigenvalues from the top that are reported."""
PROBES = 4
"""Random vectors that traces are means over: a layer's trace is off by √(2/4) of its largest eigenvalue at most."""


class Extremes(NamedTuple):
    """Extreme eigenvalues of H with their residuals, and parts of the first eigenvector and of the trace.

    values:      eigenvalues θ, descending, the last one from the bottom.
    residuals:   |H v - θ v| of each.
    top_shares:  of each parameter, the sum of squares that the first eigenvector has there; 1 in all.
    traces:      of each parameter, the trace of its block of H.
    """

    values: Float[Array, " k"]
    residuals: Float[Array, " k"]
    top_shares: Any
    traces: Any


def gauss_newton_product(forward: Forward, loss: Loss, params: Any, inputs: Any, targets: Any, vector: Any) -> Any:
    """H v, as nested as the parameters: J v forward, L J v through the gradient of the loss, and Jᵀ back."""

    def outputs(at: Any) -> Any:
        return forward(at, inputs)

    out, tangent = jax.jvp(outputs, (params,), (vector,))
    _, curved = jax.jvp(jax.grad(lambda out: loss(out, targets)), (out,), (tangent,))
    return jax.vjp(outputs, params)[1](curved)[0]


@functools.partial(jax.jit, static_argnames=("forward", "loss", "products"))
def extremes(
    forward: Forward, loss: Loss, params: Any, inputs: Any, targets: Any, key: PRNGKeyArray, products: int
) -> Extremes:
    """The largest few eigenvalues of H, the smallest in a Krylov space of so many products, and the blocks' traces.

    A block's trace is the mean of z · H z over its own entries, z of random signs. Source: Hutchinson 1990; (M4).
    """
    flat, nested = ravel_pytree(params)

    def product(vector: Array) -> Array:
        return ravel_pytree(gauss_newton_product(forward, loss, params, inputs, targets, nested(vector)))[0]

    begin, signs = jax.random.split(key)
    basis, tridiagonal, *_ = decomp.tridiag_sym(products)(product, jax.random.normal(begin, flat.shape, flat.dtype))
    values, turns = jnp.linalg.eigh(tridiagonal)
    chosen = np.unique([*range(products - 1, max(-1, products - 1 - TOPS), -1), 0])[::-1]
    vectors = turns[:, chosen].T @ basis
    vectors = vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)
    probes = jax.random.rademacher(signs, (PROBES, flat.size), flat.dtype)
    turned = jax.lax.map(product, jnp.concatenate([vectors, probes]))
    residuals = turned[: len(chosen)] - values[chosen][:, None] * vectors

    def summed(parts: Array) -> Any:
        return jax.tree.map(jnp.sum, nested(parts))

    return Extremes(
        values=values[chosen],
        residuals=jnp.linalg.norm(residuals, axis=1),
        top_shares=summed(vectors[0] ** 2),
        traces=summed(jnp.mean(probes * turned[len(chosen) :], axis=0)),
    )
