"""Minibatch SGD and momentum on given rows: the expected loss with the rows' own fourth moment, not that of Gaussians.

In the eigenbasis of M = diag(λ), with g_i = a_i (a_iᵀ e - r_i) the gradient of row i and r_i its residual at the
optimum, an update of the state s = (e, v), or (e) alone without momentum, is s ← T s + c ĝ, ĝ the mean of g_i over a
batch. Without noise s ← P s, P = T + c (M, 0). Two ways to draw batches:

- `fresh`: independent of each other. First and second moments of s close exactly, whatever the data.
- `shuffled`: each row once an epoch, as training draws them. A row that is still to come has not pulled yet, so the
  state seems worse to it than to the average row; moments are kept for every row, given that it is still to come,
  and closed at pairs of rows.

O(N n²) a step, of numbers and of time: for data that are small, and to judge the Gaussian theory of `minibatch`.
See docs/theory.md, "Data that are not Gaussian" in section 13.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idjax.moments import moments_of
from idjax.spectrum import spectrum_of
from idjax.theory.quadratic import optimum
from idjax.types import Weights


class Rows(NamedTuple):
    """Inputs [x; 1] and residuals y - Θ*ᵀ a of every row, and the eigenvalues of M; inputs in its eigenbasis."""

    inputs: Float[Array, "N n"]
    residuals: Float[Array, "N q"]
    eigenvalues: Float[Array, " n"]


class Rule(NamedTuple):
    """T (m, m) and c (m,) of an update; m is 2, or 1 without momentum."""

    keep: Float[Array, "m m"]
    push: Float[Array, " m"]

    def matrix(self, eigenvalues: Float[Array, " n"]) -> Float[Array, "n m m"]:
        """P of each mode: an update without noise."""
        error = jnp.zeros_like(self.push).at[0].set(1.0)
        return self.keep + eigenvalues[:, None, None] * jnp.outer(self.push, error)


class State(NamedTuple):
    """E[s] (m, n, q), and E[s sᵀ] (m, n, m, n) summed over outputs; of every row, with N in front, as a memory."""

    mean: Float[Array, "*N m n q"]
    second: Float[Array, "*N m n m n"]


Fourth = Callable[[Rows, State], Float[Array, "n n"]]
"""E[g_i g_iᵀ] over rows, summed over outputs, given the moments of the state."""


def rows_of(
    x: Float[np.ndarray, "N p"], y: Float[np.ndarray, "N q"] | None, start: Weights
) -> tuple[Rows, Float[Array, "n q"]]:
    """The rows, and the error of the start, in the eigenbasis; y is None for an autoencoder."""
    moments = moments_of(x, y)
    spectrum, reference = spectrum_of(moments), optimum(moments)
    residuals = np.zeros_like(x) if y is None else y - x @ reference.kernel - reference.bias
    inputs = np.concatenate([x, np.ones((len(x), 1))], axis=1) @ spectrum.eigenvectors
    error = spectrum.eigenvectors.T @ (start.stacked - reference.stacked)
    return Rows(*map(jnp.asarray, (inputs, residuals, spectrum.eigenvalues))), jnp.asarray(error)


def rule_of(rate: float, momentum: float = 0.0, nesterov: bool = False) -> Rule:
    """The update with rate η' = 2 η ω/q."""
    if momentum == 0:
        return Rule(jnp.ones((1, 1)), jnp.array([-rate]))
    ahead = momentum if nesterov else 1.0
    through = -rate * (1 + momentum if nesterov else 1.0)
    return Rule(jnp.array([[1.0, -rate * momentum * ahead], [0.0, momentum]]), jnp.array([through, 1.0]))


def at_start(error: Float[Array, "n q"], rule: Rule) -> State:
    """A given error, and no velocity."""
    m, (n, q) = len(rule.push), error.shape
    return State(jnp.zeros((m, n, q)).at[0].set(error), jnp.zeros((m, n, m, n)).at[0, :, 0].set(error @ error.T))


def of_rows(rows: Rows, state: State) -> Float[Array, "n n"]:
    """The data's own: Σ_i ψ_i a_i a_iᵀ / N, ψ_i = a_iᵀ C a_i - 2 a_iᵀ E[e] r_i + |r_i|²."""
    error = jnp.einsum("in,nq,iq->i", rows.inputs, state.mean[0], rows.residuals)
    square = jnp.einsum("in,nk,ik->i", rows.inputs, state.second[0, :, 0], rows.inputs)
    size = square - 2 * error + jnp.sum(rows.residuals**2, axis=1)
    return (rows.inputs * size[:, None]).T @ rows.inputs / len(rows.inputs)


def of_gaussians(rows: Rows, state: State) -> Float[Array, "n n"]:
    """That of Gaussian inputs with the same mean and covariance, and independent label noise: docs/theory.md (25)."""
    mean, error = jnp.mean(rows.inputs, axis=0), state.second[0, :, 0]
    noise = jnp.sum(rows.residuals**2) / len(rows.inputs)
    through = rows.eigenvalues[:, None] * error * rows.eigenvalues
    level = rows.eigenvalues @ jnp.diagonal(error) + noise
    return 2 * through + jnp.diag(level * rows.eigenvalues) - 2 * (mean @ error @ mean) * jnp.outer(mean, mean)


@functools.partial(jax.jit, static_argnames=("steps", "fourth"))
def fresh(
    rows: Rows,
    rule: Rule,
    error: Float[Array, "n q"],
    noise: Float[Array, ""] | float,
    steps: int,
    fourth: Fourth = of_rows,
) -> Float[Array, " steps"]:
    """Σ_j E[e_jᵀ M e_j] before each step, for batches drawn afresh.

    noise is the variance of a batch's mean over that of a row: 1/B with replacement, (N - B)/(B (N - 1)) without.
    """
    matrix = rule.matrix(rows.eigenvalues)

    def step(state: State, _: None) -> tuple[State, Array]:
        error = state.second[0, :, 0]
        covariance = fourth(rows, state) - rows.eigenvalues[:, None] * error * rows.eigenvalues
        pushed = noise * jnp.einsum("a,b,ij->aibj", rule.push, rule.push, covariance)
        new = State(_forward(matrix, state.mean), _both(matrix, state.second) + pushed)
        return new, rows.eigenvalues @ jnp.diagonal(error)

    return jax.lax.scan(step, at_start(error, rule), None, length=steps)[1]


@functools.partial(jax.jit, static_argnames=("batch_size", "epochs"))
def shuffled(
    rows: Rows, rule: Rule, error: Float[Array, "n q"], batch_size: int, epochs: int
) -> Float[Array, "epochs steps"]:
    """Σ_j E[e_jᵀ M e_j] before each step, for shuffled epochs of ⌈N/B⌉ steps whose last batch has what is left."""
    count = len(rows.inputs)
    steps = -(-count // batch_size)
    sizes = jnp.full(steps, float(batch_size)).at[-1].set(count - (steps - 1.0) * batch_size)
    m, (n, q) = len(rule.push), error.shape
    nothing = State(jnp.zeros((count, m, n, q)), jnp.zeros((count, m, n, m, n)))

    def step(carry: tuple[State, State], size: Array) -> tuple[tuple[State, State], Array]:
        state, memory = carry
        return _shuffled_step(rows, rule, state, memory, size), rows.eigenvalues @ jnp.diagonal(state.second[0, :, 0])

    def epoch(state: State, _: None) -> tuple[State, Array]:
        (state, _), losses = jax.lax.scan(step, (state, nothing), sizes)
        return state, losses

    return jax.lax.scan(epoch, at_start(error, rule), None, length=epochs)[1]


def _shuffled_step(rows: Rows, rule: Rule, state: State, memory: State, size: Array) -> tuple[State, State]:
    """memory is, for every row, how the moments given that the row is still to come differ from `state`."""
    inputs, residuals, modes = rows
    count = len(inputs)
    matrix, push = rule.matrix(modes), rule.push
    both = jnp.outer(push, push)

    # What row i sees of the state: E[g_i] and E[g_i sᵀ] = a_i h_iᵀ, given that it is still to come.
    seen_mean = jnp.einsum("in,inq->iq", inputs, state.mean[0] + memory.mean[:, 0])
    extra = jnp.einsum("in,inbk->ibk", inputs, memory.second[:, 0])
    drift = jnp.einsum("ibkq,iq->ibk", memory.mean, residuals)
    plain = jnp.einsum("in,nbk->ibk", inputs, state.second[0]) - jnp.einsum("bkq,iq->ibk", state.mean, residuals)
    seen = plain + extra - drift
    size_of_gradient = (
        jnp.einsum("ik,ik->i", seen[:, 0], inputs)
        - jnp.sum(residuals * seen_mean, axis=1)
        + jnp.sum(residuals**2, axis=1)
    )
    gradients = seen_mean - residuals
    pull = jnp.einsum("in,iq->nq", inputs, gradients) / count
    of_batch = jnp.einsum("in,ibk->nbk", inputs, seen) / count

    # The state: P s, and what a batch of rows that are still to come adds to that.
    error = state.second[0, :, 0]
    mean_pull = modes[:, None] * state.mean[0]
    added = of_batch - modes[:, None, None] * state.second[0]
    fourth = (inputs * size_of_gradient[:, None]).T @ inputs / count
    through = modes[:, None] * error * modes
    cross = jnp.einsum("a,nck,kbc->anbk", push, added, matrix)
    share = (count - size) / (size * (count - 1.0))
    new = State(
        _forward(matrix, state.mean) + push[:, None, None] * (pull - mean_pull),
        _both(matrix, state.second)
        + cross
        + jnp.transpose(cross, (2, 3, 0, 1))
        + share * jnp.einsum("ab,ij->aibj", both, fourth - through),
    )

    # The memory: a row that is still to come was not in this batch, so that the others were, a little more often.
    missed = jnp.einsum("ibk,kcb->ick", seen, matrix)
    mean_missed = jnp.einsum("nbk,kcb->nck", of_batch, matrix)
    source = jnp.einsum("a,in,ick->ianck", push, inputs, missed) - jnp.einsum("a,nck->anck", push, mean_missed)
    source = source + jnp.transpose(source, (0, 3, 4, 1, 2))
    kicks = jnp.einsum("i,in,ik->ink", size_of_gradient, inputs, inputs) - fourth
    source += jnp.einsum("ab,ink->ianbk", both, kicks) / size
    memory = State(
        jax.vmap(_forward, (None, 0))(matrix, memory.mean)
        - jnp.einsum("a,inq->ianq", push, inputs[:, :, None] * gradients[:, None] - pull) / (count - 1.0),
        jax.vmap(_both, (None, 0))(matrix, memory.second) - source / (count - 1.0),
    )
    return new, memory


def _forward(matrix: Float[Array, "n m m"], mean: Float[Array, "m n q"]) -> Float[Array, "m n q"]:
    return jnp.einsum("nab,bnq->anq", matrix, mean)


def _both(matrix: Float[Array, "n m m"], second: Float[Array, "m n m n"]) -> Float[Array, "m n m n"]:
    return jnp.einsum("nac,cnek,kbe->anbk", matrix, second, matrix)
