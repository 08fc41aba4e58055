"""Any optimizer on the full batch, stepped exactly: on the moments of the data alone, or on a linearised network.

For a linear layer the gradient of output j is 2 (ω_j/q) M e_j, e the error against an optimum: O(n² q) a step, however
many rows there are. Covariance and mean are kept apart, so that small variances around a large mean keep their
digits. The reference for optimizers without a closed form. See docs/theory.md, section 13.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from idjax.nn.rounding import State, Transformation, apply_gradient, gradient_of, initial_state

OptimizerFactory = Callable[[Any], Transformation]
"""What makes an optimizer of its traced hyperparameters, so that a new learning rate compiles nothing."""


@runtime_checkable
class Problem(Protocol):
    """Named tuples of arrays that are descended on: they know the loss of weights, and what is watched of them."""

    def loss(self, weights: Any, /) -> Float[Array, ""]:
        """The loss whose gradient the updates take."""
        ...

    def seen(self, weights: Any, /) -> Float[Array, " k"]:
        """The numbers that are looked at as training goes on."""
        ...


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


@jax.custom_vjp
def loss(layer: LinearLayer, error: Float[Array, "n q"]) -> Float[Array, ""]:
    """The loss above its floor, whose derivative is the gradient that `excess` finds with the same products."""
    return excess(layer, error)[0]


loss.defvjp(excess, lambda gradient, along: (None, along * gradient))


def values(watched: Watched, error: Float[Array, "n q"]) -> Float[Array, " k"]:
    """Σ_j share_j (e_jᵀ Q e_j + 2 slope_jᵀ e_j) of all that is watched."""
    bent = jnp.einsum("kij,jq->kiq", watched.forms, error) + 2 * watched.slopes
    return jnp.einsum("kiq,iq,kq->k", bent, error, watched.shares)


@functools.partial(jax.jit, static_argnames=("rule", "dtype", "rounding"))
def begin(
    rule: OptimizerFactory,
    hyper: Any,
    weights: Any,
    dtype: str = "float64",
    rounding: str = "nearest",
    seed: ArrayLike = 0,
) -> State:
    """The state at these weights, stored in dtype; seed is that of stochastic rounding."""
    return initial_state(rule(hyper), jax.tree.map(lambda a: a.astype(dtype), weights), rounding, seed)


@functools.partial(jax.jit, static_argnames=("rule", "windows", "every", "rounding"))
def follow(
    rule: OptimizerFactory,
    hyper: Any,
    problem: Problem,
    state: State,
    windows: int,
    every: int = 1,
    rounding: str = "nearest",
    loss_scale: ArrayLike | None = None,
) -> tuple[State, Float[Array, " windows"], Float[Array, "k windows"]]:
    """`windows` times `every` updates with the gradient of the full batch.

    Args:
      rule, hyper: the optimizer, and what it is made of.
      rounding: how updates are added to the weights; the gradient is exact, and then rounded to their dtype.
      loss_scale: what the loss is multiplied by before it is differentiated.

    Returns:
      The state; of every window the mean over its updates of the loss before each, and what is seen at its end.
    """
    transformation = rule(hyper)

    def update(state: State, _: None) -> tuple[State, Array]:
        value, gradient = gradient_of(problem.loss, state.params, loss_scale)
        return apply_gradient(transformation, rounding, state, gradient, loss_scale), value

    def window(state: State, _: None) -> tuple[State, tuple[Array, Array]]:
        state, losses = jax.lax.scan(update, state, None, length=every)
        return state, (jnp.mean(losses), problem.seen(state.params))

    state, (losses, seen) = jax.lax.scan(window, state, None, length=windows)
    return state, losses, seen.T
