"""Minibatch SGD and momentum on given rows: the expected loss with the rows' own fourth moment, not that of Gaussians.

In the eigenbasis of M = diag(λ), with g_i = a_i (a_iᵀ e - r_i) the gradient of row i and r_i its residual at the
optimum, an update of the state s = (e, v), or (e) alone without momentum, is s ← T s + c ĝ, ĝ the mean of g_i over a
batch. Without noise s ← P s, P = T + c (M, 0). Two ways to draw batches:

- `fresh`: independent of each other. First and second moments of s close exactly, whatever the data.
- `shuffled`: each row once an epoch, as training draws them. A row that is still to come has not pulled yet and finds
  a larger error than the others; so the moments are kept for every row, given that it is still to come, and closed at
  pairs of rows: exact to third order in the learning rate.

O(N n²) a step: for data that are small, and to judge the Gaussian theory of `minibatch`. Compiled by JAX, for
NumPy takes 3 to 7 times as long a step.
See docs/theory.md, "Data that are not Gaussian" in section 11.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idjax.moments.moments import moments_of
from idjax.moments.spectrum import spectrum_of
from idjax.theory.quadratic import optimum
from idjax.types import Weights


class EmpiricalRows(NamedTuple):
    """Inputs [x; 1] and residuals y - Θ*ᵀ a of every row, and the eigenvalues of M; inputs in its eigenbasis."""

    inputs: Float[Array, "N n"]
    residuals: Float[Array, "N q"]
    eigenvalues: Float[Array, " n"]


class LinearUpdate(NamedTuple):
    """T (m, m) and c (m,) of an update; m is 2, or 1 without momentum."""

    keep: Float[Array, "m m"]
    push: Float[Array, " m"]

    def matrix(self, eigenvalues: Float[Array, " n"]) -> Float[Array, "n m m"]:
        """P of each mode: an update without noise."""
        error = jnp.zeros_like(self.push).at[0].set(1.0)
        return self.keep + eigenvalues[:, None, None] * jnp.outer(self.push, error)


class MomentState(NamedTuple):
    """E[s] (m, n, q), and E[s sᵀ] (m, m, n, n) summed over outputs."""

    mean: Float[Array, "*N m n q"]
    second: Float[Array, "*N m m n n"]


class Gradients(NamedTuple):
    """Expected gradients of rows: g_i = a_i output_iᵀ, g_i sᵀ = a_i aheadᵀ, g_i g_iᵀ = square_i a_i a_iᵀ.

    Here outputs (N, q), ahead (N, m, n) and square (N,); the means over rows are (n, q), (m, n, n) and (n, n).
    """

    outputs: Float[Array, "N q"]
    ahead: Float[Array, "N m n"]
    square: Float[Array, " N"]

    def over(self, inputs: Float[Array, "N n"]) -> tuple[Array, Array, Array]:
        """E[g], E[g sᵀ] and E[g gᵀ] over all rows."""
        count = len(inputs)
        return (
            inputs.T @ self.outputs / count,
            jnp.einsum("in,ibk->bnk", inputs, self.ahead) / count,
            (inputs * self.square[:, None]).T @ inputs / count,
        )


class Epochs(NamedTuple):
    """Expectations of shuffled epochs; all but the mean are summed over outputs.

    excess: e_jᵀ M e_j before each step.  batch: (a_iᵀ e_j - r_ij)² of the rows of each batch, before its update.
    mean, second: e and e_j e_jᵀ at the end of each epoch.
    """

    excess: Float[Array, "epochs steps"]
    batch: Float[Array, "epochs steps"]
    mean: Float[Array, "epochs n q"]
    second: Float[Array, "epochs n n"]


Fourth = Callable[[EmpiricalRows, MomentState], Float[Array, "n n"]]
"""E[g gᵀ] over rows, summed over outputs, given the moments of the state."""


def rows_of(
    x: Float[np.ndarray, "N p"], y: Float[np.ndarray, "N q"] | None, start: Weights
) -> tuple[EmpiricalRows, Float[Array, "n q"]]:
    """The rows, and the error of the start, in the eigenbasis; y is None for an autoencoder."""
    moments = moments_of(x, y)
    spectrum, reference = spectrum_of(moments), optimum(moments)
    residuals = np.zeros_like(x) if y is None else y - x @ reference.kernel - reference.bias
    inputs = np.concatenate([x, np.ones((len(x), 1))], axis=1) @ spectrum.eigenvectors
    error = spectrum.eigenvectors.T @ (start.stacked - reference.stacked)
    return EmpiricalRows(*map(jnp.asarray, (inputs, residuals, spectrum.eigenvalues))), jnp.asarray(error)


def rule_of(rate: float, momentum: float = 0.0, nesterov: bool = False) -> LinearUpdate:
    """The update with rate η' = 2 η ω/q."""
    if momentum == 0:
        return LinearUpdate(jnp.ones((1, 1)), jnp.array([-rate]))
    ahead = momentum if nesterov else 1.0
    through = -rate * (1 + momentum if nesterov else 1.0)
    return LinearUpdate(jnp.array([[1.0, -rate * momentum * ahead], [0.0, momentum]]), jnp.array([through, 1.0]))


def at_start(error: Float[Array, "n q"], rule: LinearUpdate) -> MomentState:
    """A given error, and no velocity."""
    m, (n, q) = len(rule.push), error.shape
    return MomentState(jnp.zeros((m, n, q)).at[0].set(error), jnp.zeros((m, m, n, n)).at[0, 0].set(error @ error.T))


def seen(rows: EmpiricalRows, state: MomentState) -> Gradients:
    """The part of each row's gradient that is linear in the state, which is one for all rows or one for each."""
    each = "i" if state.mean.ndim == 4 else ""
    inputs, residuals, _ = rows
    outputs = jnp.einsum(f"in,{each}nq->iq", inputs, state.mean[..., 0, :, :])
    ahead = jnp.einsum(f"in,{each}bnk->ibk", inputs, state.second[..., 0, :, :, :])
    ahead -= jnp.einsum(f"{each}bkq,iq->ibk", state.mean, residuals)
    return Gradients(outputs, ahead, jnp.sum(ahead[:, 0] * inputs, axis=1) - jnp.sum(residuals * outputs, axis=1))


def gradients(rows: EmpiricalRows, of_state: Gradients) -> Gradients:
    """Gradients with the pull of the residuals themselves added."""
    return of_state._replace(
        outputs=of_state.outputs - rows.residuals, square=of_state.square + jnp.sum(rows.residuals**2, axis=1)
    )


def of_rows(rows: EmpiricalRows, state: MomentState) -> Float[Array, "n n"]:
    """The data's own: the mean over rows of (a_iᵀ C a_i - 2 a_iᵀ E[e] r_i + |r_i|²) a_i a_iᵀ; docs/theory.md (56)."""
    return gradients(rows, seen(rows, state)).over(rows.inputs)[2]


@functools.partial(jax.jit, static_argnames=("steps", "fourth"))
def fresh(
    rows: EmpiricalRows,
    rule: LinearUpdate,
    error: Float[Array, "n q"],
    noise: Float[Array, ""] | float,
    steps: int,
    fourth: Fourth = of_rows,
) -> Float[Array, " steps"]:
    """Σ_j E[e_jᵀ M e_j] before each step, for batches drawn afresh; docs/theory.md (55).

    noise is the variance of a batch's mean over that of a row: 1/B with replacement, (N - B)/(B (N - 1)) without.
    """
    matrix = rule.matrix(rows.eigenvalues)
    both = jnp.outer(rule.push, rule.push)[:, :, None, None]

    def step(state: MomentState, _: None) -> tuple[MomentState, Array]:
        error = state.second[0, 0]
        covariance = fourth(rows, state) - rows.eigenvalues[:, None] * error * rows.eigenvalues
        second = _both(matrix, state.second) + noise * both * covariance
        return MomentState(_forward(matrix, state.mean), second), rows.eigenvalues @ jnp.diagonal(error)

    return jax.lax.scan(step, at_start(error, rule), None, length=steps)[1]


@functools.partial(jax.jit, static_argnames=("batch_size", "epochs"))
def shuffled(
    rows: EmpiricalRows, rule: LinearUpdate, error: Float[Array, "n q"], batch_size: int, epochs: int
) -> Epochs:
    """Shuffled epochs of ⌈N/B⌉ steps whose last batch has what is left, N at least 3; docs/theory.md (57)-(62).

    Exact to third order in the learning rate.
    """
    count = len(rows.inputs)
    steps = -(-count // batch_size)
    sizes = jnp.full(steps, float(batch_size)).at[-1].set(count - (steps - 1.0) * batch_size)
    m, (n, q) = len(rule.push), error.shape
    nothing = MomentState(jnp.zeros((count, m, n, q)), jnp.zeros((count, m, m, n, n)))

    def step(
        carry: tuple[MomentState, MomentState], size: Array
    ) -> tuple[tuple[MomentState, MomentState], tuple[Array, Array]]:
        excess = rows.eigenvalues @ jnp.diagonal(carry[0].second[0, 0])
        state, memory, batch = _shuffled_step(rows, rule, *carry, size)
        return (state, memory), (excess, batch)

    def epoch(state: MomentState, _: None) -> tuple[MomentState, Epochs]:
        # Every row is still to come when an epoch begins.
        (state, _memory), losses = jax.lax.scan(step, (state, nothing), sizes)
        return state, Epochs(*losses, state.mean[0], state.second[0, 0])

    return jax.lax.scan(epoch, at_start(error, rule), None, length=epochs)[1]


def _shuffled_step(
    rows: EmpiricalRows, rule: LinearUpdate, state: MomentState, memory: MomentState, size: Array
) -> tuple[MomentState, MomentState, Array]:
    """The state and the memory after one more step, and the loss of its batch, summed over outputs.

    memory is, for every row, how the moments given that the row is still to come differ from those of the state.
    """
    inputs, modes = rows.inputs, rows.eigenvalues
    others = len(inputs) - 1.0
    push = rule.push[:, None, None]
    both = jnp.outer(rule.push, rule.push)[:, :, None, None]

    for_all, of_row = seen(rows, state), seen(rows, memory)

    def given(times: float) -> Gradients:
        return gradients(rows, Gradients(*(each + times * own for each, own in zip(for_all, of_row, strict=True))))

    to_come = given(1.0)
    outputs, ahead, square = to_come.over(inputs)
    # Two rows that are both to come find what each finds, a little more of it; a row with itself is no pair. (58)
    more = others / (others - 1)
    alike = given(2 * more)
    alike_outputs, alike_ahead, alike_square = alike.over(inputs)
    through = modes[:, None] * state.second[0, 0] * modes
    added = more * (ahead[0] * modes - through)
    pairs = ((others + 1) * (through + added + added.T) - alike_square) / others
    new = MomentState(
        jnp.einsum("ab,bnq->anq", rule.keep, state.mean) + push * outputs,
        jnp.einsum("ac,cdnk,bd->abnk", rule.keep, state.second, rule.keep)
        + _symmetric(push[:, None] * jnp.einsum("cb,bnk->cnk", rule.keep, ahead))
        + both * (square / size + (1 - 1 / size) * pairs),
    )

    # A row that is still to come was not in this batch, so that the others were, a little more often. (61)
    alone = 1 / (2 * size) - (1 - 1 / size) / (others - 1)
    in_pairs = (1 - 1 / size) * (others + 1) / (others - 1)

    def missed(ahead: Array, square: Array) -> Array:
        kept = jnp.einsum("cb,...bk->...ck", rule.keep, ahead)
        return kept + rule.push[:, None] * (alone * square + in_pairs * ahead[..., :1, :] * modes)

    pull = rule.push[:, None] * inputs[:, None]
    rest = missed(alike.ahead, alike.square[:, None, None] * inputs[:, None])
    source = (
        pull[:, :, None, :, None] * rest[:, None, :, None, :] + rest[:, :, None, :, None] * pull[:, None, :, None, :]
    )
    mean = _symmetric(push[:, None] * jnp.einsum("cb,bnk->cnk", rule.keep, alike_ahead)) + both * (
        2 * alone * alike_square + in_pairs * (alike_ahead[0] * modes + (alike_ahead[0] * modes).T)
    )
    matrix = rule.matrix(modes * (others + 1) / (others - 1))
    memory = MomentState(
        _forward(matrix, memory.mean)
        - push * (inputs[:, None, :, None] * alike.outputs[:, None, None, :] - alike_outputs) / others,
        _both(matrix, memory.second) - (source - mean) / others,
    )
    return new, memory, jnp.mean(to_come.square)


def _symmetric(cross: Float[Array, "m m n n"]) -> Float[Array, "m m n n"]:
    return cross + jnp.transpose(cross, (1, 0, 3, 2))


def _forward(matrix: Float[Array, "n m m"], mean: Float[Array, "*N m n q"]) -> Float[Array, "*N m n q"]:
    return jnp.einsum("nab,...bnq->...anq", matrix, mean)


def _both(matrix: Float[Array, "n m m"], second: Float[Array, "*N m m n n"]) -> Float[Array, "*N m m n n"]:
    """P Z Pᵀ. Sums of m terms, written out: one pass over the memory."""
    left, right = jnp.moveaxis(matrix, 0, 2)[:, :, None, :, None], jnp.moveaxis(matrix, 0, 2)[:, :, None, None, :]
    m = len(matrix[0])
    rows = [
        [
            sum(left[a, c, 0] * right[b, d, 0] * second[..., c, d, :, :] for c in range(m) for d in range(m))
            for b in range(m)
        ]
        for a in range(m)
    ]
    return jnp.stack([jnp.stack(row, axis=-3) for row in rows], axis=-4)
