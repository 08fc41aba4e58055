"""Any optax transformation on the full batch, stepped exactly on the moments of the data alone.

For a linear layer the gradient of output j is 2 (ω_j/q) M e_j, e the error against an optimum: O(n² q) a step, however
many rows there are. Covariance and mean are kept apart, so that small variances around a large mean keep their
digits. The reference for optimizers without a closed form. See docs/theory.md, section 13.
"""

import functools
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@runtime_checkable
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


def excess(layer: Layer, error: Float[Array, "n q"]) -> tuple[Float[Array, ""], Float[Array, "n q"]]:
    """The loss above its floor, Σ_j w̄ ω_j/q (k_jᵀ Σ k_j + o_j²), and its gradient 2 M e ω/q, docs/theory.md (101).

    k is the kernel's part of the error, b the bias's and o = mᵀ k + b the mean error of an output.
    """
    kernel, bias = error[:-1], error[-1]
    offset = layer.mean @ kernel + bias
    spread = layer.covariance @ kernel
    share = layer.weight * layer.shares
    loss = jnp.sum(share * (jnp.sum(kernel * spread, axis=0) + offset**2))
    return loss, 2 * share * jnp.concatenate([spread + jnp.outer(layer.mean, offset), offset[None]])


@functools.partial(jax.jit, static_argnames=("transformation", "windows", "every"))
def follow(
    transformation: Transformation,
    layer: Layer,
    error: Float[Array, "n q"],
    watched: Watched,
    windows: int,
    every: int = 1,
) -> tuple[Float[Array, "n q"], Float[Array, " windows"], Float[Array, "k windows"]]:
    """`windows` times `every` updates of the tree {kernel, bias}, in the dtype of the error.

    Args:
      transformation: sees the weights as {"kernel": (p, q), "bias": (q,)}, as the layer's own parameters are.
      error: Θ - Θ_ref at the start.
      watched: what is judged.

    Returns:
      The error at the end; of every window the mean over its updates of the excess loss before each, and
      Σ_j share_j (e_jᵀ Q e_j + 2 slope_jᵀ e_j) at its end.
    """

    def tree(stacked: Array) -> dict[str, Array]:
        return {"kernel": stacked[:-1], "bias": stacked[-1]}

    def update(carry: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], Array]:
        error, state = carry
        loss, gradient = excess(layer, error)
        updates, state = transformation.update(tree(gradient), state, tree(layer.reference + error))
        return (error + jnp.concatenate([updates["kernel"], updates["bias"][None]]), state), loss

    def window(carry: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], tuple[Array, Array]]:
        carry, losses = jax.lax.scan(update, carry, None, length=every)
        bent = jnp.einsum("kij,jq->kiq", watched.forms, carry[0]) + 2 * watched.slopes
        return carry, (jnp.mean(losses), jnp.einsum("kiq,iq,kq->k", bent, carry[0], watched.shares))

    start = (error, transformation.init(tree(layer.reference + error)))
    (error, _), (losses, seen) = jax.lax.scan(window, start, None, length=windows)
    return error, losses, seen.T
