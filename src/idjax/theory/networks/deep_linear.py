"""Deep linear networks on the squared error: what they can learn, how each mode is learned, and every step of descent.

A network of linear layers is one affine map Θ(layers), and its loss is the quadratic of a single layer at Θ. All that
training sees of the data are the moments: the gradient is that of `stepped.excess` pulled back through the product.
Derivations are in docs/deep.md. Sources: Baldi and Hornik 1989; Saxe, McClelland and Ganguli 2014.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from idjax.moments.spectrum import covariance_factor
from idjax.nn.losses import unit_penalty
from idjax.nn.rounding import State, Transformation, apply_gradient, gradient_of, initial_state
from idjax.theory.full_batch import stepped
from idjax.types import Layers, end_to_end

OptimizerFactory = Callable[[Any], Transformation]
"""What makes an optimizer of its traced hyperparameters, so that a new learning rate compiles nothing."""


def discarded(
    covariance: Float[np.ndarray, "p p"],
    optimum: Float[np.ndarray, "p q"],
    shares: Float[np.ndarray, " q"],
    rank: int,
    weight: float = 1.0,
) -> float:
    """The loss that a bottleneck of `rank` units leaves above that of the best single layer (D4).

    w̄ Σ_{i>k} s_i², s the singular values of Σ^½ W* diag(√share); of an autoencoder with equal shares 1/q these are the
    eigenvalues of the covariance beyond the first k, over q.

    Args:
      covariance: of the inputs.
      optimum: a kernel W* of the best single layer.
      shares: what the squared error of each output counts in the loss.
      weight: mean weight of a row.
    """
    values = np.linalg.svd(covariance_factor(covariance).T @ (optimum * np.sqrt(shares)), compute_uv=False)
    return weight * float(np.sum(values[rank:] ** 2))


def principal_angles(
    kernel: Float[np.ndarray, "p q"], covariance: Float[np.ndarray, "q q"], rank: int
) -> Float[np.ndarray, " rank"]:
    """Angles in radians, ascending, between the span of a network's outputs and the first principal axes (D5).

    The cosines are the singular values of UᵀV, U the first `rank` right singular vectors of the end-to-end kernel and V
    the first eigenvectors of the covariance; small angles by their sines. Source: Björck and Golub 1973.
    """
    spanned = np.linalg.svd(kernel)[2][:rank].T
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :rank]
    return scipy.linalg.subspace_angles(axes, spanned)[::-1]


def loss(problem: stepped.LinearLayer, penalties: tuple[Array, ...], layers: Layers) -> Float[Array, ""]:
    """The loss above the floor of a single layer, with Σ_h Σ_i μ_hi (|in_hi|² + |out_hi|²) of every hidden layer h.

    in and out are what the kernels on both sides of hidden unit i hold of it (D10).
    """
    exact = jax.tree.map(lambda a: a.astype(problem.reference.dtype), layers)
    excess = stepped.excess(problem, _stacked(exact) - problem.reference)[0]
    return excess + unit_penalty(penalties, [layer.kernel for layer in exact])


@functools.partial(jax.jit, static_argnames=("rule", "dtype", "rounding"))
def begin(
    rule: OptimizerFactory,
    hyper: Any,
    layers: Layers,
    dtype: str = "float64",
    rounding: str = "nearest",
    seed: ArrayLike = 0,
) -> State:
    """The state at these layers, stored in dtype; seed is that of stochastic rounding."""
    return initial_state(rule(hyper), jax.tree.map(lambda a: a.astype(dtype), layers), rounding, seed)


@functools.partial(jax.jit, static_argnames=("rule", "windows", "every", "rounding"))
def follow(
    rule: OptimizerFactory,
    hyper: Any,
    problem: stepped.LinearLayer,
    penalties: tuple[Array, ...],
    state: State,
    watched: stepped.Watched,
    windows: int,
    every: int = 1,
    rounding: str = "nearest",
    loss_scale: ArrayLike | None = None,
) -> tuple[State, Float[Array, " windows"], Float[Array, "seen windows"]]:
    """`windows` times `every` updates of all layers with the gradient of the full batch (D6).

    Args:
      rule, hyper: the optimizer, and what it is made of.
      problem: the moments, and an optimum of the single layer from which errors are counted.
      penalties: μ of the units of every hidden layer; () for none.
      watched: what is judged, as forms of the error of the end-to-end map.
      rounding: how updates are added to the weights.
      loss_scale: what the loss is multiplied by before it is differentiated.

    Returns:
      The state; of every window the mean over its updates of the loss before each, and
      Σ_j share_j (e_jᵀ Q e_j + 2 slope_jᵀ e_j) and last the penalty at its end.
    """
    transformation = rule(hyper)

    def update(state: State, _: None) -> tuple[State, Array]:
        value, gradient = gradient_of(functools.partial(loss, problem, penalties), state.params, loss_scale)
        return apply_gradient(transformation, rounding, state, gradient, loss_scale), value

    def window(state: State, _: None) -> tuple[State, tuple[Array, Array]]:
        state, losses = jax.lax.scan(update, state, None, length=every)
        exact = jax.tree.map(lambda a: a.astype(problem.reference.dtype), state.params)
        values = stepped.values(watched, _stacked(exact) - problem.reference)
        penalty = unit_penalty(penalties, [layer.kernel for layer in exact])
        return state, (jnp.mean(losses), jnp.append(values, penalty))

    state, (losses, seen) = jax.lax.scan(window, state, None, length=windows)
    return state, losses, seen.T


def _stacked(layers: Layers) -> Float[Array, "n q"]:
    kernel, bias = end_to_end(layers)
    return jnp.concatenate([kernel, bias[None]])
