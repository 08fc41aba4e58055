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
    """Eigenvalues θ (descending, the last one from the bottom), residuals, and the vector v of the first."""

    values: Float[Array, " k"]
    residuals: Float[Array, " k"]
    top_vector: Any


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
    """The largest few eigenvalues of H and the smallest in a Krylov space of so many products."""
    flat, nested = ravel_pytree(params)

    def product(vector: Array) -> Array:
        return ravel_pytree(gauss_newton_product(forward, loss, params, inputs, targets, nested(vector)))[0]

    start = jax.random.normal(key, flat.shape, flat.dtype)
    basis, tridiagonal, *_ = decomp.tridiag_sym(products)(product, start)
    values, turns = jnp.linalg.eigh(tridiagonal)
    chosen = np.unique([*range(products - 1, max(-1, products - 1 - TOPS), -1), 0])[::-1]
    vectors = turns[:, chosen].T @ basis
    vectors = vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)
    residuals = jax.lax.map(
        lambda pair: jnp.linalg.norm(product(pair[1]) - pair[0] * pair[1]), (values[chosen], vectors)
    )
    return Extremes(values[chosen], residuals, nested(vectors[0]))


@functools.partial(jax.jit, static_argnames=("forward", "loss"))
def leaf_traces(forward: Forward, loss: Loss, params: Any, inputs: Any, targets: Any, key: PRNGKeyArray) -> Any:
    """The trace of each parameter's block of H: the mean of z · H z over its own entries, z of random signs.

    Source: Hutchinson 1990; docs/models.md (M4).
    """
    flat, nested = ravel_pytree(params)

    def probe(key: PRNGKeyArray) -> Any:
        signs = nested(jax.random.rademacher(key, flat.shape, flat.dtype))
        product = gauss_newton_product(forward, loss, params, inputs, targets, signs)
        return jax.tree.map(lambda z, h: jnp.sum(z * h), signs, product)

    return jax.tree.map(jnp.mean, jax.lax.map(probe, jax.random.split(key, PROBES)))
