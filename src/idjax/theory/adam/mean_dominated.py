"""Adam where the mean of the inputs dominates: the whole recursion in a handful of scalars for each output.

All weights into an output then see nearly the same gradient, each in proportion to its |μ_k|, and so does √v_k: Adam
moves them together. With r the error of the output at the mean input, which overshoots until v holds it at the edge
of stability (Cohen et al. 2022), and u the loss that is left in all other directions,

    r ← r - x m,   m ← β₁ m + (1 - β₁)(r + ξ),   Var ξ = (u + σ²)/B,   x = η |μ|₁/s,   √v_k = c |μ_k| s,
    s² = Var r + (u + σ²)/B,   loss = u + Var r.

The other directions are the eigenvectors of D^½ M D^½, D = diag 1/|μ_k|, but the first: each decays at the rate η λ/s
and is driven by the noise of the batches. Iterated while v remembers its start (`_iterate`), and in balance from
then on (`_glide`). See docs/theory.md, section 12.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from idjax.theory.adam.recursion import PIECE, AdamInputs, AdamRate, AdamRule, rates_from

MEMORIES = 20.0
"""Steps that are iterated at the start, in multiples of 1/(1 - β₂)."""
QUIET = 0.02
"""Share of the loss that may be lost within 1/(1 - β₂) steps where v is taken to be in balance."""
GROWTH = 0.02
"""Steps between two points in balance, over the steps before."""


class MeanAndOthers(NamedTuple):
    """The directions of D^½ M D^½: the mean's in the weights (n,), the others' λ (k,) and weights (n, k), and |μ|₁.

    dominance is the first eigenvalue over the second.
    """

    mean: Float[np.ndarray, " n"]
    eigenvalues: Float[np.ndarray, " k"]
    others: Float[np.ndarray, "n k"]
    size: float
    dominance: float


class ScalarRecord(NamedTuple):
    """Of every output: the mean of u + Var r since the record before, Var r now, and the mean and the variance now of
    the coefficients of the other directions. The loss is Σ ω/q (u + Var r) over the outputs.
    """

    loss: Float[np.ndarray, " q"]
    offset: Float[np.ndarray, " q"]
    errors: Float[np.ndarray, "q k"]
    spread: Float[np.ndarray, "q k"]


class _Balance(NamedTuple):
    """η/s, x, Var r and s² in balance, (q,) each."""

    push: Float[np.ndarray, " q"]
    x: Float[np.ndarray, " q"]
    offset: Float[np.ndarray, " q"]
    s2: Float[np.ndarray, " q"]


class _Scalars(NamedTuple):
    """Var r, Cov(r, m), Var m and s² (q,), mean and variance of the other modes (q, k), and steps made.

    JAX arrays inside `_iterate`, NumPy's outside.
    """

    rr: Any
    rm: Any
    mm: Any
    s2: Any
    errors: Any
    spread: Any
    step: Any


def modes_of(inputs: AdamInputs) -> MeanAndOthers:
    """The directions in which Adam moves, and how far the mean dominates."""
    mean = np.asarray(inputs.mean)
    root = _scale(inputs) ** -0.5
    eigenvalues, vectors = np.linalg.eigh(root[:, None] * np.asarray(inputs.second_moment) * root)
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0), root[:, None] * vectors[:, ::-1]
    first = vectors[:, 0] / (mean @ vectors[:, 0])
    dominance = float(eigenvalues[0] / eigenvalues[1]) if eigenvalues[1] > 0 else np.inf
    return MeanAndOthers(first, eigenvalues[1:], vectors[:, 1:], float(np.abs(mean).sum()), dominance)


def _scale(inputs: AdamInputs) -> np.ndarray:
    """|μ_k|, and a little where an input has no mean."""
    size = np.abs(np.asarray(inputs.mean))
    return np.maximum(size, 1e-3 * size.max())


def forecast(
    rule: AdamRule,
    inputs: AdamInputs,
    errors: Float[np.ndarray, "n q"],
    rate: AdamRate,
    records: Float[np.ndarray, " r"],
) -> Iterator[ScalarRecord]:
    """The expected loss above its floor up to each record (whole ascending step numbers), of Keras's adam.

    Records are made as they are asked for: those of all epochs would fill the memory.
    """
    modes, zero = modes_of(inputs), np.zeros(errors.shape[1])
    # The modes are the columns D^½ v, so the coefficients of e are vᵀ D^-½ e = (D^½ v)ᵀ D⁻¹ e.
    start = (errors * _scale(inputs)[:, None]).T @ modes.others
    offset = (np.asarray(inputs.mean) @ errors) ** 2
    state = _Scalars(offset, zero, zero, zero, start, np.zeros_like(start), np.zeros(()))
    memory = 1 / (1 - float(rule.beta_2))
    now = None
    for before, stop in itertools.pairwise([0.0, *map(float, records)]):
        total = zero
        while (step := float(state.step)) < stop:
            if now is not None and _falling(modes, state, now) * memory < QUIET:
                length = min(max(GROWTH * step, 1.0), stop - step)
                state, now, mean = _glide(rule, inputs, modes, state, now, _rate_at(rate, step + length / 2), length)
                total = total + length * mean
                continue
            count = int(min(PIECE, np.ceil(stop - step)))
            iterated = _iterate(rule, inputs, modes.eigenvalues, modes.size, state, rates_from(rate, step), count)
            state, loss = jax.tree.map(np.asarray, iterated)
            total = total + loss
            if float(state.step) >= MEMORIES * memory:
                now = _balanced(rule, inputs, modes, state, _rate_at(rate, float(state.step)))
        yield ScalarRecord(total / (stop - before), state.rr, state.errors, state.spread)


def _rate_at(rate: AdamRate, step: float) -> float:
    return float(rate(jnp.asarray(step)) if callable(rate) else rate)


@jax.jit
def _iterate(
    rule: AdamRule, inputs: AdamInputs, eigenvalues: Array, size: Array, state: _Scalars, rates: Array, count: ArrayLike
) -> tuple[_Scalars, Array]:
    """`count` updates with s² as it is remembered, and the sum of every output's u + Var r before each of them."""
    beta, new = rule.beta_1, 1 - rule.beta_1
    epsilon = rule.epsilon / (inputs.gain * jnp.median(jnp.abs(inputs.mean)))  # in the units of s, of a typical weight

    def one(i: Array, carry: tuple[_Scalars, Array]) -> tuple[_Scalars, Array]:
        (rr, rm, mm, s2, errors, spread, made), total = carry
        rest = (errors**2 + spread) @ eigenvalues
        noise = (rest + inputs.noise) / inputs.batch_size
        t = made + 1
        s2 = rule.beta_2 * s2 + (1 - rule.beta_2) * (rr + noise)
        correction = jax.lax.rsqrt(-jnp.expm1(t * jnp.log(rule.beta_2)))
        push = rates[i] / (correction * (jnp.sqrt(s2) + epsilon))
        x = push * size / (1 - beta**t)
        rm_next, mm_next = beta * rm + new * rr, beta**2 * mm + 2 * beta * new * rm + new**2 * (rr + noise)
        decay = 1 - push[:, None] * eigenvalues
        kick = push**2 * (rr + rest + inputs.noise) / inputs.batch_size
        after = _Scalars(
            rr=rr - 2 * x * rm_next + x**2 * mm_next,
            rm=rm_next - x * mm_next,
            mm=mm_next,
            s2=s2,
            errors=errors * decay,
            spread=spread * decay**2 + kick[:, None] * eigenvalues,
            step=t,
        )
        return after, total + rr + rest

    return jax.lax.fori_loop(0, count, one, (jax.tree.map(jnp.asarray, state), jnp.zeros_like(state.rr)))


def _balanced(rule: AdamRule, inputs: AdamInputs, modes: MeanAndOthers, state: _Scalars, rate: float) -> _Balance:
    """η/s and Var r where s keeps itself up; docs/theory.md (85).

    With F(x) = x (1 + β) / (2 (1 + β) - x (1 - β)) for Var r over Var ξ, s² = (F(x) + 1) Var ξ is a cubic in s. It is
    convex and rising beyond its root, so that Newton's method comes down on it.
    """
    rest = (state.errors**2 + state.spread) @ modes.eigenvalues
    noise = (rest + np.asarray(inputs.noise)) / float(inputs.batch_size)
    beta = float(rule.beta_1)
    epsilon = float(rule.epsilon) / (np.asarray(inputs.gain) * np.median(np.abs(np.asarray(inputs.mean))))
    jump = rate * modes.size
    edge = (1 - beta) * jump / (2 * (1 + beta))
    s = 4 * (edge + np.sqrt(noise) + np.cbrt(noise * jump))
    for _ in range(25):
        value = (1 + beta) * (s**2 * (s + epsilon - edge) - noise * (s + epsilon)) - beta * noise * jump
        slope = (1 + beta) * (3 * s**2 + 2 * s * (epsilon - edge) - noise)
        s, before = s - value / slope, s
        if np.all(np.abs(s - before) <= 1e-15 * s):
            break
    x = jump / (s + epsilon)
    offset = noise * x * (1 + beta) / (2 * (1 + beta) - x * (1 - beta))
    return _Balance(rate / (s + epsilon), x, offset, s**2)


def _glide(
    rule: AdamRule, inputs: AdamInputs, modes: MeanAndOthers, state: _Scalars, now: _Balance, rate: float, length: float
) -> tuple[_Scalars, _Balance, np.ndarray]:
    """The state `length` updates later with s in balance, its balance, and the mean of the losses on the way (q,)."""
    half = _decayed(inputs, modes, state, now, length / 2)
    middle = _balanced(rule, inputs, modes, half, rate)
    after = _decayed(inputs, modes, state, middle, length)
    loss = middle.offset + (half.errors**2 + half.spread) @ modes.eigenvalues
    then = _balanced(rule, inputs, modes, after, rate)
    # Second moments of m in balance, from those of r' = r - x m' that do not change.
    beta = float(rule.beta_1)
    mm = (1 - beta) * then.s2 / (1 + beta + beta * then.x)
    return _Scalars(then.offset, -then.x * mm / 2, mm, then.s2, after.errors, after.spread, after.step), then, loss


def _falling(modes: MeanAndOthers, state: _Scalars, now: _Balance) -> float:
    """The rate at which the loss of the fastest falling output falls, next to no noise."""
    power = state.errors**2 * modes.eigenvalues
    rest = (state.errors**2 + state.spread) @ modes.eigenvalues
    return float(np.max(2 * now.push * (power @ modes.eigenvalues) / np.maximum(rest + now.offset, 1e-300)))


def _decayed(inputs: AdamInputs, modes: MeanAndOthers, state: _Scalars, balance: _Balance, length: float) -> _Scalars:
    """The modes `length` updates later at this η/s, with the noise of the batches that Var r and the loss make."""
    push, offset = balance.push, balance.offset
    errors, spread = state.errors, state.spread
    rest = (errors**2 + spread) @ modes.eigenvalues
    pull = push[:, None] * modes.eigenvalues
    kick = push * (offset + rest + np.asarray(inputs.noise)) / (2 * float(inputs.batch_size))
    left = np.exp(-2 * pull * length)
    settled = np.where(modes.eigenvalues > 0, kick[:, None], 0.0)
    return state._replace(
        errors=errors * np.exp(-pull * length),
        spread=spread * left + settled * (1 - left),
        step=state.step + length,
    )
