"""Any optax transformation on the full batch, stepped exactly on the moments of the data alone.

For a linear layer the gradient of output j is 2 (ω_j/q) M e_j, e the error against an optimum: O(n² q) a step, however
many rows there are. Covariance and mean are kept apart, so that small variances around a large mean keep their
digits. The reference for optimizers without a closed form. See docs/theory.md, section 13.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from idjax.nn.rounding import State, Transformation, apply_gradient, initial_state


class LinearLayer(NamedTuple):
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


def excess(layer: LinearLayer, error: Float[Array, "n q"]) -> tuple[Float[Array, ""], Float[Array, "n q"]]:
    """The loss above its floor, Σ_j w̄ ω_j/q (k_jᵀ Σ k_j + o_j²), and its gradient 2 M e ω/q, docs/theory.md (101).

    k is the kernel's part of the error, b the bias's and o = mᵀ k + b the mean error of an output.
    """
    kernel, bias = error[:-1], error[-1]
    offset = layer.mean @ kernel + bias
    spread = layer.covariance @ kernel
    share = layer.weight * layer.shares
    loss = jnp.sum(share * (jnp.sum(kernel * spread, axis=0) + offset**2))
    return loss, 2 * share * jnp.concatenate([spread + jnp.outer(layer.mean, offset), offset[None]])


def values(watched: Watched, error: Float[Array, "n q"]) -> Float[Array, " k"]:
    """Σ_j share_j (e_jᵀ Q e_j + 2 slope_jᵀ e_j) of all that is watched."""
    bent = jnp.einsum("kij,jq->kiq", watched.forms, error) + 2 * watched.slopes
    return jnp.einsum("kiq,iq,kq->k", bent, error, watched.shares)


@functools.partial(jax.jit, static_argnames=("transformation", "dtype", "rounding"))
def begin(
    transformation: Transformation,
    layer: LinearLayer,
    error: Float[Array, "n q"],
    dtype: str = "float64",
    rounding: str = "nearest",
    seed: ArrayLike = 0,
) -> State:
    """The state at this error Θ - Θ_ref, weights stored in dtype; seed is that of stochastic rounding."""
    return initial_state(transformation, _tree(layer.reference + error, dtype), rounding, seed)


def error_of(layer: LinearLayer, state: State) -> Float[Array, "n q"]:
    """Θ - Θ_ref."""
    stacked = jnp.concatenate([state.params["kernel"], state.params["bias"][None]])
    return stacked.astype(layer.reference.dtype) - layer.reference


@functools.partial(jax.jit, static_argnames=("transformation", "windows", "every", "rounding"))
def follow(
    transformation: Transformation,
    layer: LinearLayer,
    state: State,
    watched: Watched,
    windows: int,
    every: int = 1,
    rounding: str = "nearest",
    loss_scale: ArrayLike | None = None,
) -> tuple[State, Float[Array, " windows"], Float[Array, "k windows"]]:
    """`windows` times `every` updates of the tree {kernel, bias}.

    Args:
      transformation: sees the weights as {"kernel": (p, q), "bias": (q,)}, as the layer's own parameters are.
      watched: what is judged.
      rounding: how updates are added to the weights; the gradient is exact, and then rounded to their dtype, times
        loss_scale if there is one.

    Returns:
      The state; of every window the mean over its updates of the excess loss before each, and
      Σ_j share_j (e_jᵀ Q e_j + 2 slope_jᵀ e_j) at its end.
    """
    dtype = str(state.params["kernel"].dtype)

    def update(state: State, _: None) -> tuple[State, Array]:
        loss, gradient = excess(layer, error_of(layer, state))
        stored = _tree(gradient if loss_scale is None else gradient * loss_scale, dtype)
        return apply_gradient(transformation, rounding, state, stored, loss_scale), loss

    def window(state: State, _: None) -> tuple[State, tuple[Array, Array]]:
        state, losses = jax.lax.scan(update, state, None, length=every)
        return state, (jnp.mean(losses), values(watched, error_of(layer, state)))

    state, (losses, seen) = jax.lax.scan(window, state, None, length=windows)
    return state, losses, seen.T


def _tree(stacked: Float[Array, "n q"], dtype: str) -> dict[str, Array]:
    return {"kernel": stacked[:-1].astype(dtype), "bias": stacked[-1].astype(dtype)}
