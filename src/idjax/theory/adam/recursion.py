"""Adam and its relatives on minibatches: the expected loss of every step, for Gaussian inputs of any mean.

All four rules are, for one output with error e, gradient g and v an average of g²,

    m ← β₁ m + (1 - β₁) g,   v ← β₂ v + (1 - β₂) g²,   e ← e - η P (ahead m + now g) - η w (e + θ*),

with P = diag 1/(scale √v + ε) (RMSprop: 1/√(v + ε)) and numbers `ahead`, `now`, `scale` that depend on the step.
With v replaced by its expectation the rest is linear with multiplicative noise, and closes on the second moments
E = E[e eᵀ], X = E[e mᵀ], V = E[m mᵀ]. Here they are iterated, for every output or averaged over groups of outputs.
See docs/theory.md, section 12. Sources: Kingma and Ba 2014; Dozat 2016 (Nadam); Loshchilov and Hutter 2019 (decoupled
weight decay w).
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

Form = Literal["adam", "optax_adam", "nadam", "rmsprop"]
"""Which rule: Keras's adam, nadam and rmsprop, or adam with optax's ε. AdamW is adam with a weight decay."""

Scalar = float | Array
Schedule = Callable[[Array], ArrayLike]
"""A learning rate as a function of the updates made so far."""


class Rule(NamedTuple):
    """The numbers of the rule; rmsprop ignores β₁ and has its ϱ as β₂. Weight decay needs the state's first moments."""

    beta_1: Scalar = 0.9
    beta_2: Scalar = 0.999
    epsilon: Scalar = 1e-7
    weight_decay: Scalar = 0.0


class Inputs(NamedTuple):
    """What the batches are drawn from, and what each output (or group of outputs) makes of them.

    second_moment: M (n, n).  mean: μ = √w̄ [m; 1] (n,).  batch_size: B ().  gain: c = 2 ω/q (g,), so that the
    gradient is c M e.  noise: σ² (g,), variance of the label noise.  optimum: θ* (g, n), only for weight decay.
    """

    second_moment: Float[Array, "n n"]
    mean: Float[Array, " n"]
    batch_size: Scalar
    gain: Float[Array, " g"]
    noise: Float[Array, " g"]
    optimum: Float[Array, "g n"] | None = None


class State(NamedTuple):
    """Second moments of error and momentum, (g, n, n) each: E[e eᵀ], E[e mᵀ], E[m mᵀ]; v (g, n); updates made so far.

    With weight decay also the first moments E[e], E[m] (g, n); a group is then a single output.
    """

    ee: Float[Array, "g n n"]
    em: Float[Array, "g n n"]
    mm: Float[Array, "g n n"]
    v: Float[Array, "g n"]
    step: Float[Array, ""]
    e: Float[Array, "g n"] | None = None
    m: Float[Array, "g n"] | None = None


class Record(NamedTuple):
    """What was seen in each window of `every` steps: tr(M E) of each group, and √v if it was asked for.

    mean: the mean over the window of tr(M E) before each update.  end: after its last update.  root_v: there.
    """

    mean: Float[Array, "records g"]
    end: Float[Array, "records g"]
    root_v: Float[Array, "records g n"] | None


def initial_state(errors: Float[Array, "n g"], first_moments: bool = False) -> State:
    """The state of weights that start with these errors, in no doubt, and without momentum."""
    e = errors.T
    ee = e[:, :, None] * e[:, None, :]
    none = jnp.zeros_like(ee)
    first = (e, jnp.zeros_like(e)) if first_moments else (None, None)
    return State(ee, none, none, jnp.zeros_like(e), jnp.zeros((), e.dtype), *first)


def run(
    rule: Rule,
    inputs: Inputs,
    state: State,
    learning_rate: ArrayLike | Schedule,
    steps: int,
    every: int,
    form: Form = "adam",
    record_v: bool = False,
) -> tuple[State, Record]:
    """`steps` updates, with a record of each window of `every` (a divisor of steps) of them.

    learning_rate is a number, or a function of the count of updates made that JAX can trace.
    """
    if steps % every:
        raise ValueError(f"{steps} steps do not divide into windows of {every}")
    counts = state.step + jnp.arange(steps)
    rates = jax.vmap(learning_rate)(counts) if callable(learning_rate) else learning_rate
    rates = jnp.broadcast_to(jnp.asarray(rates, counts.dtype), counts.shape)
    return _run(rule, inputs, state, rates.reshape(-1, every), form, record_v)


@functools.partial(jax.jit, static_argnames=("form", "record_v"))
def _run(
    rule: Rule, inputs: Inputs, state: State, rates: Float[Array, "records every"], form: Form, record_v: bool
) -> tuple[State, Record]:
    def one(carry: tuple[State, Array], rate: Array) -> tuple[tuple[State, Array], None]:
        state, total = carry
        return (step(rule, inputs, state, rate, form), total + level(inputs, state)), None

    def window(state: State, rates: Array) -> tuple[State, Record]:
        (state, total), _ = jax.lax.scan(one, (state, jnp.zeros_like(inputs.gain)), rates)
        root_v = jnp.sqrt(state.v) if record_v else None
        return state, Record(total / rates.size, level(inputs, state), root_v)

    return jax.lax.scan(window, state, rates)


def level(inputs: Inputs, state: State) -> Float[Array, " g"]:
    """tr(M E), of which the loss is the sum over outputs weighted by ω/q, plus its floor."""
    return jnp.einsum("ij,kij->k", inputs.second_moment, state.ee)


def step(rule: Rule, inputs: Inputs, state: State, rate: Scalar, form: Form = "adam") -> State:
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
    if e is not None and m is not None and inputs.optimum is not None:
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
    return State(pushed + _transpose(pushed), em - push[:, :, None] * dm, mm, v, count + 1, e, m)


class _Factors(NamedTuple):
    """Of update t: d = ahead m' + now g, and what multiplies √v and is added to it."""

    ahead: Scalar
    now: Scalar
    scale: Scalar
    epsilon: Scalar


def _factors(rule: Rule, form: Form, t: Array) -> _Factors:
    if form == "rmsprop":
        return _Factors(1.0, 0.0, 1.0, 0.0)
    scale = jax.lax.rsqrt(-jnp.expm1(t * jnp.log(rule.beta_2)))
    if form == "nadam":
        now, following = (rule.beta_1 * (1 - 0.5 * 0.96**i) for i in (t, t + 1))
        product = _warm_up(rule, t)
        return _Factors(following / (1 - product * following), (1 - now) / (1 - product), scale, rule.epsilon)
    ahead = 1 / (1 - rule.beta_1**t)
    # Keras adds ε to √v before the correction for the start.
    return _Factors(ahead, 0.0, scale, rule.epsilon * (scale if form == "adam" else 1.0))


def _warm_up(rule: Rule, t: Array) -> Array:
    """Nadam's product of β₁ (1 - 0.96ᵏ / 2) over k = 1 ... t: the series of the logarithm, summed over k."""
    j = jnp.arange(1.0, 60.0)
    return rule.beta_1**t * jnp.exp(-jnp.sum(0.48**j / j * jnp.expm1(j * t * jnp.log(0.96)) / (0.96**j - 1)))


def gradient_moment(inputs: Inputs, ee: Float[Array, "g n n"]) -> Float[Array, "g n n"]:
    """E[g gᵀ] of the gradient g of a batch, label noise included; docs/theory.md (71)."""
    c = inputs.gain[:, None, None]
    eg = c * (ee @ inputs.second_moment)
    through = jnp.einsum("ij,kjl->kil", inputs.second_moment, eg)
    return c * (1 + 1 / inputs.batch_size) * through + _rows_moment(inputs, ee, eg)


def _rows_moment(inputs: Inputs, ee: Array, eg: Array) -> Array:
    """The part of E[g gᵀ] that a batch's rows add, each by itself."""
    gain, mean = inputs.gain, inputs.mean
    level = gain * jnp.trace(eg, axis1=1, axis2=2) + gain**2 * inputs.noise
    focus = gain**2 * jnp.einsum("i,kij,j->k", mean, ee, mean)
    rows = level[:, None, None] * inputs.second_moment - 2 * focus[:, None, None] * jnp.outer(mean, mean)
    return rows / inputs.batch_size


def _transpose(matrices: Array) -> Array:
    return jnp.swapaxes(matrices, 1, 2)
