"""Minibatch SGD, with or without momentum: the expected loss at any step, for Gaussian inputs of any mean.

In the eigenbasis of M = V diag(λ) Vᵀ, and with η' = 2 η ω / q, an update is

    v ← β v + g,   e ← e - η' v   (heavy ball),   e ← e - η' (β v + g)   (Nesterov),   g = M̂ e - noise,

M̂ the second moment of a batch. The second moments E = E[e eᵀ], X = E[e vᵀ], V = E[v vᵀ] follow a linear map: 4 by 4
in each pair of modes, and coupled through the two numbers tr(M E) and μᵀ E μ alone. `expected`
iterates it and is the reference; `fast_forward` jumps to any step. SGD is β = 0. See docs/theory.md, sections 5, 10
and 11.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float


class Updates(NamedTuple):
    """What the updates do: λ (n,), μ = √w̄ [m; 1] in the eigenbasis (n,), ν (n, n), η', β and the rule.

    ν is the noise of a batch over that of a row, in each pair of modes: 1/B for fresh batches.
    """

    eigenvalues: Float[Array, " n"]
    mean: Float[Array, " n"]
    batch_noise: Float[Array, "n n"]
    rate: Float[Array, ""]
    momentum: Float[Array, ""]
    nesterov: Array

    @property
    def throughs(self) -> tuple[Array, Array]:
        """φ and b of e ← e + φ v + b g."""
        return (
            -self.rate * self.momentum * jnp.where(self.nesterov, self.momentum, 1.0),
            -self.rate * jnp.where(self.nesterov, 1 + self.momentum, 1.0),
        )


def updates(
    eigenvalues: Float[np.ndarray, " n"],
    mean: Float[np.ndarray, " n"],
    batch_size: float | int,
    rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    epoch_steps: float = np.inf,
) -> Updates:
    """The updates, as arrays of float64, with fresh batches or those of shuffled epochs of so many steps."""
    noise = np.ones((len(eigenvalues), len(eigenvalues)))
    if np.isfinite(epoch_steps):
        noise = epoch_noise(rate / (1 - momentum) * eigenvalues * epoch_steps)

    numbers = (eigenvalues, mean, noise / batch_size, rate, momentum)
    arrays = [np.asarray(value, np.float64) for value in numbers]
    # All at once: a transfer of its own for each would take as long as the theory.
    return Updates(*jax.device_put([*arrays, np.asarray(nesterov)]))


def epoch_noise(decay: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
    """The share of the batches' noise that is left at the end of a shuffled epoch, in each pair of modes.

    An epoch shows every row once, so that its noise sums to zero: a mode that hardly decays within an epoch (by
    exp(-x), x small) does not feel it, and one that forgets within the epoch feels all of it. With x and x' of
    the two modes 1 - (x + x')/(x x') · (1 - e^-x)(1 - e^-x') / (1 - e^-(x + x')), x/2 → 1 - tanh(x/2)/(x/2) on the
    diagonal; docs/theory.md (49).
    """
    return pair_noise(decay[:, None], decay)


def pair_noise(x: Any, y: Any) -> Any:
    """`epoch_noise` of the modes with decays x and y, of shapes that broadcast; NumPy arrays or JAX's."""
    xp = x.__array_namespace__()
    moving = (x > 0) & (y > 0)
    still = ~(xp.isfinite(x) & xp.isfinite(y))
    a, b = xp.where(moving & ~still, x, 1.0), xp.where(moving & ~still, y, 1.0)
    once = xp.expm1(-a) * xp.expm1(-b) / (a * b)
    share = 1 - once * (a + b) / -xp.expm1(-(a + b))
    # Below 1e-4 the difference has lost its digits; its series is (x² + x'² - x x')/12 to that order.
    share = xp.where(a + b < 2e-4, (a**2 + b**2 - a * b) / 12, share)
    return xp.where(still, 1.0, xp.where(moving, xp.clip(share, 0.0, 1.0), 0.0))


def unseen_rows(
    decay: Float[np.ndarray, " n"],
    rate: float,
    eigenvalues: Float[np.ndarray, " n"],
    batch_size: float | int,
    rows: int,
) -> float:
    """How much larger, relative to itself, the mean batch loss of a shuffled epoch is than the loss of all rows.

    Batches still to come hold the rows that this epoch has not learned yet: 2/N Σ (1 - (1 - e^-x)/x). And within the
    epoch the noise has not cancelled yet. docs/theory.md (50).
    """
    x = decay[decay > 1e-12]
    if not len(x):
        return 0.0
    once, twice = -np.expm1(-x) / x, -np.expm1(-2 * x) / (2 * x)
    settled = np.tanh(x / 2)
    # The mean over the epoch of the noise's share, less its value at the end: cancels to x/3 for small x.
    excess = 2 / x * (settled - (1 - 2 * once + twice + twice * settled))
    excess = np.where(x < 1e-3, x / 3, excess)
    within = rate / (2 * batch_size) * np.sum(eigenvalues[decay > 1e-12] * excess)
    return float(within + 2 / rows * np.sum(np.where(x < 1e-8, x / 2, 1 - once)))


class Second(NamedTuple):
    """Second moments of error and velocity, in the eigenbasis, (n, n) each: E[e eᵀ], E[e vᵀ], E[v vᵀ]."""

    ee: Float[Array, "n n"]
    ev: Float[Array, "n n"]
    vv: Float[Array, "n n"]


def at_start(errors: Float[Array, "n n"]) -> Second:
    """Second moments of a start without velocity."""
    zero = jnp.zeros_like(errors)
    return Second(errors, zero, zero)


def step(rule: Updates, noise: ArrayLike, state: Second, rate: ArrayLike | None = None) -> Second:
    """The second moments after one more update; docs/theory.md (41)-(42).

    noise is Σ_j σ_j² over the outputs that the state is summed over; rate replaces that of the rule.
    """
    rule = rule._replace(rate=rule.rate if rate is None else rate)
    modes, mean = rule.eigenvalues, rule.mean
    ee, ev, vv = state
    level = modes @ jnp.diagonal(ee) + noise
    focus = mean @ ee @ mean
    pairs = _Pairs(modes[:, None], modes, rule.batch_noise)
    kick = jnp.diag(level * modes) - 2 * focus * jnp.outer(mean, mean)
    ee, ev, _, vv = _moved(rule, pairs, kick, _Moments(ee, ev, ev.T, vv))
    return Second((ee + ee.T) / 2, ev, (vv + vv.T) / 2)


@functools.partial(jax.jit, static_argnames="steps")
def expected(
    rule: Updates,
    state: Second,
    noise: ArrayLike,
    forms: Float[Array, "k n n"],
    steps: int,
    rates: Float[Array, " steps"] | None = None,
) -> tuple[Second, Float[Array, "steps k"]]:
    """The reference: `steps` updates, and tr(Q E) before each of them for every quadratic form Q.

    rates are those of every step, if they change. Iterates the pairs of modes i ≤ k alone, which are half of all, and
    in which nothing is transposed: wide data wait for the memory.
    """
    modes, mean = rule.eigenvalues, rule.mean
    i, k = np.triu_indices(modes.size)
    diagonal = np.flatnonzero(i == k)
    pairs = _Pairs(modes[i], modes[k], rule.batch_noise[i, k])
    both = mean[i] * mean[k]
    seen = jnp.concatenate([jnp.outer(mean, mean)[None], forms])
    seen = jnp.where(i == k, seen[:, i, k], seen[:, i, k] + seen[:, k, i])

    def body(moments: _Moments, rate: Array | None) -> tuple[_Moments, Array]:
        now = rule._replace(rate=rule.rate if rate is None else rate)
        values = seen @ moments.ee
        level = modes @ moments.ee[diagonal] + noise
        kick = (-2 * values[0] * both).at[diagonal].add(level * modes)
        return _moved(now, pairs, kick, moments), values[1:]

    start = _Moments(*(part[i, k] for part in (state.ee, state.ev, state.ev.T, state.vv)))
    (ee, ev, ve, vv), values = jax.lax.scan(body, start, rates, length=steps)

    def square(upper: Array, lower: Array) -> Array:
        return jnp.zeros_like(state.ee).at[i, k].set(upper).at[k, i].set(lower)

    return Second(square(ee, ee), square(ev, ve), square(vv, vv)), values


class _Pairs(NamedTuple):
    """Pairs of modes i, k: λ_i, λ_k and ν_ik, of shapes that broadcast."""

    first: Array
    second: Array
    noise: Array


class _Moments(NamedTuple):
    """E[e_i e_k], E[e_i v_k], E[v_i e_k] and E[v_i v_k] of pairs of modes."""

    ee: Array
    ev: Array
    ve: Array
    vv: Array


def _moved(rule: Updates, pairs: _Pairs, kick: Array, moments: _Moments) -> _Moments:
    """Each pair after an update; kick is (tr(ΛE) + σ²) Λ - 2 (μᵀEμ) μμᵀ, what all pairs make together."""
    first, second, noise = pairs
    ee, ev, ve, vv = moments
    to_error, through = rule.throughs
    kept = rule.momentum
    through_modes = first * ee * second
    gg = through_modes + noise * (through_modes + kick)
    vg, gv = ve * second, ev * first
    # The moments of u = e + φ v and g, then of e' = u + b g and v' = β v + g.
    ug, gu = ee * second + to_error * vg, ee * first + to_error * gv
    return _Moments(
        ee + to_error * (ev + ve) + to_error**2 * vv + through * (ug + gu) + through**2 * gg,
        kept * (ev + to_error * vv) + ug + through * (kept * gv + gg),
        kept * (ve + to_error * vv) + gu + through * (kept * vg + gg),
        kept**2 * vv + kept * (vg + gv) + gg,
    )
