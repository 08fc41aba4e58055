"""Exact SGD in parallel over time: the batches of a block are one block-lower-triangular solve, for many runs at once.

For the mean squared error of a linear layer the residual of every batch is linear in the weights before the block. Let
the rows of K batches be A (m, n), the last column all ones for the bias, E (n, c) the weights (minus what they are to
become, for an autoencoder), Y the targets (0 for an autoencoder), G = A Aᵀ, and S_k = 2η/(q B_k) R_k the residuals of
batch k times the step. Then, as step by step,

    R_k = A_k E - Y_k - Σ_{i<k} G_ki S_i,        E ← E - Aᵀ S,

that is (1 + tril(G) 2η/(qB)) R = A E - Y. It is solved by halves: the upper half of the batches, one product of the
lower rows' G with its S, then the lower half. All products are wide: runs that share rows and order share A and G,
and their q columns stand side by side in E, each column with a learning rate and a momentum of its own.

With momentum (v ← β v - η g, E ← E + v) the state is the pair E, V. After h batches

    E_h = E + s_h V - Σ_i w_{h-i} A_iᵀ S_i,      V_h = β^h V - Σ_i β^{h-1-i} A_iᵀ S_i,
    s_h = Σ_{j=1..h} β^j,                        w_r = Σ_{j<r} β^j,

and Nesterov's rule (E ← E + β v - η g) has β s_h for s_h and w_{r+1} for w_r. What is true of E and V is true of
A_k E and A_k V, with G_ki in the place of A_iᵀ: halving works as before. Nothing is approximated but by rounding.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_product = functools.partial(jnp.matmul, precision="highest")  # else a GPU or TPU rounds to 10 or 8 bits


class Pair(NamedTuple):
    """Weights and their velocity, (n, c), or what rows make of the two, (m, c); no velocity without momentum."""

    position: Float[Array, "m c"]
    velocity: Float[Array, "m c"] | None


class Descent(NamedTuple):
    """The rule that the columns follow: twice the learning rate over q and the momentum of each, (c,)."""

    rate: Float[Array, " c"]
    momentum: Float[Array, " c"]
    nesterov: bool


def descend(
    descent: Descent,
    state: Pair,
    rows: Float[Array, "m n"],
    targets: Float[Array, "m c"] | None,
    sizes: tuple[int, ...],
) -> tuple[Pair, Float[Array, "K c"]]:
    """The updates of K consecutive batches, of the given numbers of rows.

    Returns:
      The weights and velocity after them, and Σ R² over the rows of each batch, before its own update.
    """
    seen = _through(rows, state)
    if targets is not None:
        seen = seen._replace(position=seen.position - targets)
    steps, squares = _solve(descent, _product(rows, rows.T), seen, sizes)
    return _push(descent, state, rows.T, steps, sizes), jnp.stack(squares)


def _through(matrix: Float[Array, "m n"], state: Pair) -> Pair:
    return jax.tree.map(functools.partial(_product, matrix), state)


def _solve(
    descent: Descent, gram: Float[Array, "m m"], seen: Pair, sizes: tuple[int, ...]
) -> tuple[Float[Array, "m c"], list[Float[Array, " c"]]]:
    """The steps S of the batches, and Σ R² of each, from what the first weights make of their rows."""
    if len(sizes) == 1:
        return descent.rate / sizes[0] * seen.position, [jnp.sum(seen.position**2, axis=0)]
    half = len(sizes) // 2
    cut = sum(sizes[:half])
    upper, lower = (jax.tree.map(lambda part, rows=rows: part[rows], seen) for rows in (slice(cut), slice(cut, None)))
    steps, squares = _solve(descent, gram[:cut, :cut], upper, sizes[:half])
    lower = _push(descent, lower, gram[cut:, :cut], steps, sizes[:half])
    later, more = _solve(descent, gram[cut:, cut:], lower, sizes[half:])
    return jnp.concatenate([steps, later]), squares + more


def _push(
    descent: Descent, state: Pair, matrix: Float[Array, "l m"], steps: Float[Array, "m c"], sizes: tuple[int, ...]
) -> Pair:
    """The pair after the steps S of some batches: matrix is Aᵀ for the weights, a part of G for the rows' view."""
    if state.velocity is None:
        return Pair(state.position - _product(matrix, steps), None)
    count = len(sizes)
    powers = descent.momentum ** jnp.arange(count + 2, dtype=steps.dtype)[:, None]  # (K+2, c)
    sums = jnp.cumsum(powers, axis=0)  # sums[r] = w_{r+1}
    ahead = int(descent.nesterov)

    def weighted(weights: Float[Array, "K c"]) -> Float[Array, "l c"]:
        each_row = jnp.repeat(weights[::-1], np.array(sizes), axis=0, total_repeat_length=len(steps))
        return _product(matrix, each_row * steps)

    drift = descent.momentum * sums[count - 1] * (descent.momentum if descent.nesterov else 1)
    return Pair(
        state.position + drift * state.velocity - weighted(sums[ahead : ahead + count]),
        powers[count] * state.velocity - weighted(powers[:count]),
    )
