"""Curvature of a loss at its parameters, by products with the Hessian."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PRODUCTS = 12
"""Products of Lanczos's method: the largest eigenvalue is within some percent, see docs/programs.md."""


def curvature(loss: Callable[[Any, Any], Any], products: int = PRODUCTS) -> Callable[[Any, Any], float]:
    """A function of parameters and arguments: the largest eigenvalue of the Hessian of a loss, compiled once.

    Vectors are not made orthogonal again: what rounding brings back is the largest eigenvalue once more.

    Source: Lanczos 1950; Paige 1980

    Example:
      >>> x = jnp.array([[3.0, 0.0], [0.0, 1.0]])
      >>> round(curvature(lambda w, x: 0.5 * jnp.sum((x @ w) ** 2))(jnp.ones(2), x), 3)
      9.0
    """
    start, step = jax.jit(_start), jax.jit(functools.partial(_step, loss))

    def largest(params: Any, args: Any) -> float:
        carry, seen = start(params), []
        for _ in range(min(products, sum(np.size(leaf) for leaf in jax.tree.leaves(params)))):
            carry, made = step(carry, params, args)  # not in a scan, see `trials`
            seen.append(made)
        diagonal, beside = np.asarray(seen, np.float64).T
        if not np.isfinite([*diagonal, *beside]).all():
            return float("nan")
        # A vector of 0 is the end of the space: what follows it is noise.
        ends = np.flatnonzero(beside <= 1e-6 * np.abs([*diagonal, 1e-30]).max())
        count = int(ends[0]) + 1 if len(ends) else len(diagonal)
        near = np.diag(beside[: count - 1], 1)
        return float(np.linalg.eigvalsh(np.diag(diagonal[:count]) + near + near.T)[-1])

    return largest


def _start(params: Any) -> Any:
    """No vector, one of length 1 drawn with a fixed seed, and no length."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    drawn = [jax.random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=True)]
    start = jax.tree.unflatten(tree, drawn)
    length = jnp.sqrt(dot(start, start))
    start = jax.tree.map(lambda leaf: leaf / length.astype(leaf.dtype), start)
    return jax.tree.map(jnp.zeros_like, start), start, jnp.float32(0)


def _step(loss: Callable[[Any, Any], Any], carry: Any, params: Any, args: Any) -> Any:
    """One product: the vectors after it, and what it adds to the diagonal of the tridiagonal matrix and beside it."""
    before, vector, size = carry
    product = hessian_product(loss, params, args, vector)
    made = jax.tree.map(lambda a, b: a - size * b, product, before)
    along = dot(made, vector)
    made = jax.tree.map(lambda a, b: a - along * b, made, vector)
    # Squares of curvatures of 1e20, as inputs of 1e10 have, leave single precision.
    most = jnp.stack([jnp.abs(leaf).max() for leaf in jax.tree.leaves(made)]).max()
    scaled = jax.tree.map(lambda leaf: leaf / jnp.maximum(most, 1e-30), made)
    left = most * jnp.sqrt(dot(scaled, scaled))
    shortened = jax.tree.map(lambda leaf, old: (leaf / jnp.maximum(left, 1e-30)).astype(old.dtype), made, vector)
    return (vector, shortened, left), jnp.stack([along, left])


def hessian_product(loss: Callable[[Any, Any], Any], params: Any, args: Any, vector: Any) -> Any:
    """The product of the Hessian of a loss at its parameters with a vector, nested as these are."""
    return jax.jvp(lambda params: jax.grad(loss)(params, args), (params,), (vector,))[1]


def dot(a: Any, b: Any) -> Any:
    """The product of two nests of arrays, in single precision at least."""
    parts = jax.tree.map(lambda x, y: jnp.vdot(x.astype(jnp.float32), y.astype(jnp.float32)), a, b)
    return sum(jax.tree.leaves(parts))
