"""Adam and its relatives on minibatches: the expected loss of every step, for Gaussian inputs of any mean.

All four rules are, for one output with error e, gradient g and v an average of g²,

    m ← β₁ m + (1 - β₁) g,   v ← β₂ v + (1 - β₂) g²,   e ← e - η P (ahead m + now g) - η w (e + θ*),

with P = diag 1/(scale √v + ε) (RMSprop: 1/√(v + ε)) and numbers `ahead`, `now`, `scale` that depend on the step.
With v replaced by its expectation the rest is linear with multiplicative noise, and closes on the second moments
E = E[e eᵀ], X = E[e mᵀ], V = E[m mᵀ], iterated here for every output. See docs/theory.md, section 12. Sources: Kingma
and Ba 2014; Dozat 2016 (Nadam); Loshchilov and Hutter 2019 (decoupled weight decay w).
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

AdamForm = Literal["adam", "nadam", "rmsprop"]
"""Which rule, as Keras has it. AdamW is adam with a weight decay."""

Scalar = float | Array
AdamRate = float | Callable[[Array], Array]
"""A learning rate, or a function of the updates made so far that JAX can trace."""
PIECE = 512
"""Most steps of one call of a compiled loop, which takes any number up to it: one compilation serves every run."""


class AdamRule(NamedTuple):
    """The numbers of the rule; rmsprop ignores β₁ and has its ϱ as β₂."""

    beta_1: Scalar = 0.9
    beta_2: Scalar = 0.999
    epsilon: Scalar = 1e-7
    weight_decay: Scalar = 0.0


class AdamInputs(NamedTuple):
    """The distribution of the batches' inputs, and gain and label noise of each output.

    second_moment: M (n, n).  mean: μ = √w̄ [m; 1] (n,).  batch_size: B ().  gain: c = 2 ω/q (q,), so that the
    gradient is c M e and the loss Σ c/2 tr(M E).  noise: σ² (q,), variance of the label noise.  optimum: θ* (q, n),
    which matters to weight decay alone.
    """

    second_moment: Float[Array, "n n"]
    mean: Float[Array, " n"]
    batch_size: Scalar
    gain: Float[Array, " q"]
    noise: Float[Array, " q"]
    optimum: Float[Array, "q n"]


class AdamState(NamedTuple):
    """Second moments of error and momentum, (q, n, n) each: E[e eᵀ], E[e mᵀ], E[m mᵀ]; v (q, n); updates made so far;
    first moments E[e], E[m] (q, n).
    """

    ee: Float[Array, "q n n"]
    em: Float[Array, "q n n"]
    mm: Float[Array, "q n n"]
    v: Float[Array, "q n"]
    step: Float[Array, ""]
    e: Float[Array, "q n"]
    m: Float[Array, "q n"]


class AdamLosses(NamedTuple):
    """The expected loss above its floor before each update, and the part of it that is the loss of E[e]."""

    loss: Float[np.ndarray, " t"]
    of_mean: Float[np.ndarray, " t"]


def initial_state(errors: Float[Array, "n q"]) -> AdamState:
    """The state of weights that start with these errors, in no doubt, and without momentum."""
    e = np.asarray(errors).T  # by NumPy, for which no shape is compiled
    ee, none = e[:, :, None] * e[:, None, :], np.zeros_like(e)
    parts = ee, np.zeros_like(ee), np.zeros_like(ee), none, np.zeros((), e.dtype), e, none
    return AdamState(*map(jax.device_put, parts))


def run(
    rule: AdamRule, inputs: AdamInputs, state: AdamState, rate: AdamRate, steps: int, form: AdamForm = "adam"
) -> tuple[AdamState, AdamLosses]:
    """The state after so many more updates, and the losses on the way."""
    seen, end = [], float(state.step) + steps
    while (step := float(state.step)) < end:
        count = int(min(PIECE, end - step))
        state, losses = _run(rule, inputs, state, rates_from(rate, step), count, form)
        seen.append(np.asarray(losses)[:, :count])
    return state, AdamLosses(*np.concatenate(seen, axis=1))


def rates_from(rate: AdamRate, step: float) -> Float[Array, " piece"]:
    """The learning rates of the next `PIECE` updates."""
    if not callable(rate):
        return jax.device_put(np.full(PIECE, float(rate)))
    counts = step + jnp.arange(float(PIECE))
    return jnp.broadcast_to(jnp.asarray(rate(counts), counts.dtype), counts.shape)


@functools.partial(jax.jit, static_argnames="form")
def _run(
    rule: AdamRule, inputs: AdamInputs, state: AdamState, rates: Array, count: ArrayLike, form: AdamForm
) -> tuple[AdamState, Float[Array, "2 piece"]]:
    """The first `count` losses are those of the steps taken."""

    def one(i: Array, carry: tuple[AdamState, Array]) -> tuple[AdamState, Array]:
        state, losses = carry
        return step(rule, inputs, state, rates[i], form), losses.at[:, i].set(_losses(inputs, state))

    return jax.lax.fori_loop(0, count, one, (state, jnp.zeros((2, len(rates)), rates.dtype)))


def _losses(inputs: AdamInputs, state: AdamState) -> Float[Array, "2"]:
    level = jnp.einsum("ij,qij->q", inputs.second_moment, state.ee)
    of_mean = jnp.einsum("qi,qi->q", state.e @ inputs.second_moment, state.e)
    return jnp.stack([level, of_mean]) @ inputs.gain / 2


def step(rule: AdamRule, inputs: AdamInputs, state: AdamState, rate: Scalar, form: AdamForm = "adam") -> AdamState:
    """The state after one more update; docs/theory.md (72)-(76)."""
    M, batch = inputs.second_moment, inputs.batch_size
    kept = 0.0 if form == "rmsprop" else rule.beta_1
    new = 1 - kept
    ee, em, mm, v, count, e, m = state
    c = inputs.gain[:, None, None]
    eg = c * (ee @ M)
    rows = _rows_moment(inputs, ee, eg)
    spread = c * (1 + 1 / batch)
    # E[g m'ᵀ] without half of its (1 - β₁) E[g gᵀ], so that one product with M serves both parts of E[m' m'ᵀ].
    half = jnp.einsum("ij,kjl->kil", M, c * kept * em + new / 2 * spread * eg) + new / 2 * rows
    squared = jnp.einsum("ij,kji->ki", M, spread * eg) + jnp.diagonal(rows, axis1=1, axis2=2)
    # Nothing is left of a loss that falls without end but rounding, of either sign.
    v = rule.beta_2 * v + (1 - rule.beta_2) * jnp.maximum(squared, 0.0)
    factors = _factors(rule, form, count + 1)
    if form == "rmsprop":
        push = rate / jnp.sqrt(v + rule.epsilon)
    else:
        push = rate / (factors.scale * jnp.sqrt(v) + factors.epsilon)
    em = kept * em + new * eg
    mm = kept**2 * mm + new * (half + _transpose(half))
    # The direction d = ahead m' + now g of the update.
    ed, dm, dd = factors.ahead * em, factors.ahead * mm, factors.ahead**2 * mm
    if form == "nadam":
        gg = jnp.einsum("ij,kjl->kil", M, spread * eg) + rows
        gm = half + new / 2 * gg
        dd = dd + factors.ahead * factors.now * (gm + _transpose(gm)) + factors.now**2 * gg
        ed, dm = ed + factors.now * eg, dm + factors.now * gm
    decay = rate * rule.weight_decay
    target = decay * inputs.optimum
    g = inputs.gain[:, None] * (e @ M)
    m = kept * m + new * g
    d = factors.ahead * m + factors.now * g
    cross = (1 - decay) * target[:, :, None] * e[:, None, :]
    ee = (1 - decay) ** 2 * ee - (cross + _transpose(cross)) + target[:, :, None] * target[:, None, :]
    em = (1 - decay) * em - target[:, :, None] * m[:, None, :]
    ed = (1 - decay) * ed - target[:, :, None] * d[:, None, :]
    e = (1 - decay) * e - target - push * d
    # Each sum with a transpose is symmetric to the last bit: what rounding broke would grow, until v is negative.
    pushed = ee / 2 - ed * push[:, None, :] + push[:, :, None] * push[:, None, :] * dd / 2
    return AdamState(pushed + _transpose(pushed), em - push[:, :, None] * dm, mm, v, count + 1, e, m)


class _Factors(NamedTuple):
    """Of update t: d = ahead m' + now g, and what multiplies √v and is added to it."""

    ahead: Scalar
    now: Scalar
    scale: Scalar
    epsilon: Scalar


def _factors(rule: AdamRule, form: AdamForm, t: Array) -> _Factors:
    if form == "rmsprop":
        return _Factors(1.0, 0.0, 1.0, 0.0)
    scale = jax.lax.rsqrt(-jnp.expm1(t * jnp.log(rule.beta_2)))
    if form == "nadam":
        now, following = (rule.beta_1 * (1 - 0.5 * 0.96**i) for i in (t, t + 1))
        product = _warm_up(rule, t)
        return _Factors(following / (1 - product * following), (1 - now) / (1 - product), scale, rule.epsilon)
    ahead = 1 / (1 - rule.beta_1**t)
    # Keras adds ε to √v before the correction for the start.
    return _Factors(ahead, 0.0, scale, rule.epsilon * scale)


def _warm_up(rule: AdamRule, t: Array) -> Array:
    """Nadam's product of β₁ (1 - 0.96ᵏ / 2) over k = 1 ... t: the series of the logarithm, summed over k."""
    j = jnp.arange(1.0, 60.0)
    return rule.beta_1**t * jnp.exp(-jnp.sum(0.48**j / j * jnp.expm1(j * t * jnp.log(0.96)) / (0.96**j - 1)))


def _rows_moment(inputs: AdamInputs, ee: Array, eg: Array) -> Array:
    """The part of E[g gᵀ] that a batch's rows add, each by itself."""
    gain, mean = inputs.gain, inputs.mean
    level = gain * jnp.trace(eg, axis1=1, axis2=2) + gain**2 * inputs.noise
    focus = gain**2 * jnp.einsum("i,kij,j->k", mean, ee, mean)
    rows = level[:, None, None] * inputs.second_moment - 2 * focus[:, None, None] * jnp.outer(mean, mean)
    return rows / inputs.batch_size


def _transpose(matrices: Array) -> Array:
    return jnp.swapaxes(matrices, 1, 2)
