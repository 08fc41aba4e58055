"""Any optax transformation on the full batch, stepped exactly on the moments of the data alone.

For a linear layer the gradient of output j is 2 (ω_j/q) M e_j, e the error against an optimum: O(n² q) a step, however
many rows there are. Covariance and mean are kept apart, so that small variances around a large mean keep their
digits. The reference for optimizers without a closed form. See docs/theory.md, section 13.
"""

import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Transformation(Protocol):
    """What optax calls a GradientTransformation."""

    def init(self, params: Any, /) -> Any:
        """The state before the first update."""
        ...

    def update(self, updates: Any, state: Any, params: Any = None, /) -> tuple[Any, Any]:
        """The updates for these gradients, and the state after them."""
        ...


class Layer(NamedTuple):
    """Covariance (p, p) and mean (p,) of the inputs, mean row weight w̄, an optimum (n, q) and ω/q of each output."""

    covariance: Float[Array, "p p"]
    mean: Float[Array, " p"]
    weight: Float[Array, ""]
    reference: Float[Array, "n q"]
    shares: Float[Array, " q"]


class Watched(NamedTuple):
    """Quadratic forms (k, n, n) with shares of the outputs (k, q), and slopes along the error (k, n, q)."""

    forms: Float[Array, "k n n"]
    shares: Float[Array, "k q"]
    slopes: Float[Array, "k n q"]


def gradient(layer: Layer, error: Float[Array, "n q"]) -> Float[Array, "n q"]:
    """∂L/∂Θ = 2 M e ω/q."""
    kernel, bias = error[:-1], error[-1]
    offset = layer.mean @ kernel + bias
    moment = jnp.concatenate([layer.covariance @ kernel + jnp.outer(layer.mean, offset), offset[None]])
    return 2 * layer.weight * moment * layer.shares


@functools.partial(jax.jit, static_argnames=("transformation", "steps"))
def follow(
    transformation: Transformation, layer: Layer, error: Float[Array, "n q"], watched: Watched, steps: int
) -> tuple[Float[Array, "n q"], Float[Array, " steps"], Float[Array, "k steps"]]:
    """`steps` updates of the tree {kernel, bias}: the error at the end, and of every step the excess loss before it
    and Σ_j share_j (e_jᵀ Q e_j + 2 slope_jᵀ e_j) after it.
    """

    def tree(stacked: Array) -> dict[str, Array]:
        return {"kernel": stacked[:-1], "bias": stacked[-1]}

    def one(carry: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], tuple[Array, Array]]:
        error, state = carry
        slope = gradient(layer, error)
        loss = jnp.sum(error * slope) / 2
        updates, state = transformation.update(tree(slope), state, tree(layer.reference + error))
        error = error + jnp.concatenate([updates["kernel"], updates["bias"][None]])
        bent = jnp.einsum("kij,jq->kiq", watched.forms, error) + 2 * watched.slopes
        return (error, state), (loss, jnp.einsum("kiq,iq,kq->k", bent, error, watched.shares))

    start = (error, transformation.init(tree(layer.reference + error)))
    (error, _), (losses, seen) = jax.lax.scan(one, start, None, length=steps)
    return error, losses, seen.T
