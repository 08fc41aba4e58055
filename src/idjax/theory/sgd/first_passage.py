"""Minibatch SGD and momentum on given rows: the steps after which the loss of a run first falls to a level.

With a run's loss L_t and a level ℓ, T = min{t : L_t ≤ ℓ} is what a training that stops there takes. It comes before the
step at which E[L_t] = ℓ, for the expectation is carried by the runs that are late: log E[L] - E[log L] is
Var(log L)/2 where log L is normal, and far more where rare large rows throw the loss up between low values.
E[T] has no closed form. So runs are drawn, side by side, in the eigenbasis of M; theory (41) on rows, not on moments:

    v ← β v + g,   e ← e - η' v   (heavy ball),   e ← e - η' (β v + g)   (Nesterov),   g = mean of a (aᵀ e - r).

See docs/diagnosis.md, "How well prescribed epochs hold".
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from idjax.theory.sgd.fourth_moment import EmpiricalRows


class Judge(NamedTuple):
    """The loss of an error e (n, q): Σ_j s_j (e_jᵀ G e_j + 2 slope_j · e_j) + constant; G (n, n), or its diagonal."""

    gram: Float[Array, "n n"] | Float[Array, " n"]
    slopes: Float[Array, "n q"]
    shares: Float[Array, " q"]
    constant: Float[Array, ""] | float

    def loss(self, error: Float[Array, "*r n q"]) -> Float[Array, "*r"]:
        """Of each run."""
        bent = self.gram[:, None] * error if self.gram.ndim == 1 else self.gram @ error
        return jnp.sum(error * (bent + 2 * self.slopes) * self.shares, axis=(-2, -1)) + self.constant


class MomentumRule(NamedTuple):
    """η' = 2 η ω/q of each output, β, and whether the momentum is Nesterov's; numbers that may be traced."""

    rates: Float[Array, " q"]
    momentum: float | Float[Array, ""]
    nesterov: bool | Array


class _DrawnRuns(NamedTuple):
    step: Int[Array, ""]
    error: Float[Array, "r n q"]
    velocity: Float[Array, "r n q"]
    first: Float[Array, " r"]
    going: Array


def first_steps(
    rows: EmpiricalRows,
    rule: MomentumRule,
    judge: Judge,
    start: Float[Array, "n q"],
    level: float | Float[Array, ""],
    most: float | Float[Array, ""],
    seed: int,
    *,
    batch_size: int,
    runs: int,
) -> Float[Array, " r"]:
    """The first step after which each run's loss is at most `level`; inf if it diverges, or not within `most` steps.

    Epochs are shuffled, and the last batch of one holds the rows that are left. Runs differ by the orders of the rows
    alone. A step costs 2 r B n q products.
    """
    state = _at_start(judge, start, level, runs)
    # Drawn by NumPy: XLA takes long to compile its sorts, and ten times as long to run them.
    random, each = np.random.default_rng(seed), np.tile(np.arange(len(rows.inputs), dtype=np.int32), (runs, 1))
    while np.asarray(state.going).any() and int(state.step) < most:
        orders = random.permuted(each, axis=1)
        state = _epoch(rows, rule, judge, level, most, state, orders, batch_size=batch_size)
    return state.first


@functools.partial(jax.jit, static_argnames="runs")
def _at_start(
    judge: Judge,
    start: Float[Array, "n q"],
    level: float | Float[Array, ""],
    runs: int,
) -> _DrawnRuns:
    error = jnp.broadcast_to(start, (runs, *start.shape))
    there = judge.loss(error) <= level
    first = jnp.where(there, 0.0, jnp.inf)
    return _DrawnRuns(jnp.asarray(0), error, jnp.zeros_like(error), first, ~there)


@functools.partial(jax.jit, static_argnames="batch_size")
def _epoch(
    rows: EmpiricalRows,
    rule: MomentumRule,
    judge: Judge,
    level: float | Float[Array, ""],
    most: float | Float[Array, ""],
    state: _DrawnRuns,
    orders: Int[np.ndarray | Array, "r N"],
    *,
    batch_size: int,
) -> _DrawnRuns:
    """The runs after an epoch, or where the last of them has ended."""
    runs, count = orders.shape
    steps, begin = -(-count // batch_size), state.step
    orders = jnp.pad(orders, ((0, 0), (0, steps * batch_size - count)))

    def update(state: _DrawnRuns) -> _DrawnRuns:
        first = (state.step - begin) * batch_size
        chosen = jax.lax.dynamic_slice(orders, (0, first), (runs, batch_size))
        held = first + jnp.arange(batch_size) < count
        inputs = rows.inputs[chosen]
        off = jnp.where(held[:, None], inputs @ state.error - rows.residuals[chosen], 0.0)
        gradient = jnp.swapaxes(inputs, 1, 2) @ off / jnp.sum(held)
        velocity = rule.momentum * state.velocity + gradient
        ahead = jnp.where(rule.nesterov, rule.momentum * velocity + gradient, velocity)
        error = state.error - rule.rates * ahead
        loss = judge.loss(error)
        done = state.step + 1
        reached = jnp.where(state.going & (loss <= level), done, state.first)
        going = state.going & (loss > level) & jnp.isfinite(loss)
        return _DrawnRuns(done, error, velocity, reached, going)

    def goes_on(state: _DrawnRuns) -> Array:
        return jnp.any(state.going) & (state.step < most) & (state.step < begin + steps)

    return jax.lax.while_loop(goes_on, update, state)
