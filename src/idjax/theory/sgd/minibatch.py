"""Minibatch SGD, with or without momentum: the expected loss at any step, for Gaussian inputs of any mean.

In the eigenbasis of M = V diag(λ) Vᵀ, and with η' = 2 η ω / q, an update is

    v ← β v + g,   e ← e - η' v   (heavy ball),   e ← e - η' (β v + g)   (Nesterov),   g = M̂ e - noise,

M̂ the second moment of a batch. The second moments E = E[e eᵀ], X = E[e vᵀ], V = E[v vᵀ] follow a linear map: 4 by 4
in each pair of modes, and coupled through the two numbers tr(M E) and μᵀ E μ alone. `expected`
iterates it and is the reference; `horizons` jumps to any step. SGD is β = 0. See docs/theory.md, sections 5, 10
and 11.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from idjax.theory.sgd.mode_pairs import PAIRS_AT_ONCE, Kept, all_pairs

FEW_PAIRS = 2000
"""Pairs up to which a matrix for each of them is quicker than its forty operations."""


class Updates(NamedTuple):
    """Numbers of an update rule: λ (n,), μ = √w̄ [m; 1] in the eigenbasis (n,), ν (n, n), η', β and the rule.

    ν is the noise of a batch over that of a row, in each pair of modes: 1/B for fresh batches.
    """

    eigenvalues: Float[np.ndarray, " n"]
    mean: Float[np.ndarray, " n"]
    batch_noise: Float[np.ndarray, "n n"]
    rate: float
    momentum: float
    nesterov: bool

    @property
    def throughs(self) -> tuple[float, float]:
        """φ and b of e ← e + φ v + b g."""
        ahead = (self.momentum, 1 + self.momentum) if self.nesterov else (1.0, 1.0)
        return -self.rate * self.momentum * ahead[0], -self.rate * ahead[1]


def updates(
    eigenvalues: Float[np.ndarray, " n"],
    mean: Float[np.ndarray, " n"],
    batch_size: float | int,
    rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    epoch_steps: float = np.inf,
) -> Updates:
    """The updates, with fresh batches or those of shuffled epochs of so many steps."""
    if np.isfinite(epoch_steps):
        noise = epoch_noise(rate / (1 - momentum) * eigenvalues * epoch_steps)
        noise /= batch_size  # in place, for of wide data a fresh matrix takes as long as what fills it
    else:
        noise = np.full((len(eigenvalues), len(eigenvalues)), 1 / batch_size)
    return Updates(eigenvalues, mean, noise, float(rate), float(momentum), bool(nesterov))


def epoch_noise(decay: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
    """The share of the batches' noise that is left at the end of a shuffled epoch, in each pair of modes.

    An epoch shows every row once, so that its noise sums to zero: a mode that hardly decays within an epoch (by
    exp(-x), x small) does not feel it, and one that forgets within the epoch feels all of it. With x and x' of
    the two modes 1 - (x + x')/(x x') · (1 - e^-x)(1 - e^-x') / (1 - e^-(x + x')), x/2 → 1 - tanh(x/2)/(x/2) on the
    diagonal; docs/theory.md (49).
    """
    size = max(1, PAIRS_AT_ONCE // len(decay))
    parts = [pair_noise(decay[first : first + size, None], decay) for first in range(0, len(decay), size)]
    return np.concatenate(parts)


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

    ee: Float[np.ndarray, "n n"]
    ev: Float[np.ndarray, "n n"]
    vv: Float[np.ndarray, "n n"]


def at_start(errors: Float[np.ndarray, "n n"]) -> Second:
    """Second moments of a start without velocity."""
    zero = np.zeros_like(errors)
    return Second(errors, zero, zero)


class Pairs(NamedTuple):
    """The upper triangle of the pairs of modes i ≤ k: λ_i, λ_k, ν, μ_i μ_k, and which pairs are a mode with itself."""

    first: Float[np.ndarray, " P"]
    second: Float[np.ndarray, " P"]
    noise: Float[np.ndarray, " P"]
    focus: Float[np.ndarray, " P"]
    diagonal: Bool[np.ndarray, " P"]

    @property
    def twice(self) -> Float[np.ndarray, " P"]:
        """How often each pair stands in a symmetric matrix."""
        return np.where(self.diagonal, 1.0, 2.0)


def pairs_of(rule: Updates, kept: Kept | None = None) -> Pairs:
    """The pairs that are kept; all, in the order of `np.triu_indices`, if it is not said which."""
    i, k = all_pairs(rule.eigenvalues.size) if kept is None else kept
    modes, mean = rule.eigenvalues, rule.mean
    return Pairs(modes[i], modes[k], rule.batch_noise[i, k], mean[i] * mean[k], i == k)


def kick(rule: Updates, pairs: Pairs) -> Float[np.ndarray, "4 P"]:
    """The kick to ee, ev, ve and vv of each pair by a unit of the noise of one row."""
    _, through = rule.throughs
    return np.array([through**2, through, through, 1.0])[:, None] * pairs.noise


def packed(state: Second) -> Float[np.ndarray, "4 P"]:
    """ee, ev, ve and vv of the pairs, in the order of `np.triu_indices`."""
    pairs = all_pairs(len(state.ee))
    return np.stack([state.ee[pairs], state.ev[pairs], state.ev.T[pairs], state.vv[pairs]])


def unpacked(moments: Float[np.ndarray, "4 P"], n: int, kept: Kept | None = None) -> Second:
    """The second moments whose pairs these are, those kept or all; others are 0."""
    pairs = all_pairs(n) if kept is None else kept
    ee, ev, vv = np.zeros((3, n, n))
    for square, above, below in ((ee, 0, 0), (ev, 1, 2), (vv, 3, 3)):
        square.T[pairs] = moments[below]
        square[pairs] = moments[above]
    return Second(ee, ev, vv)


def moved(
    rule: Updates, pairs: Pairs, common: Float[np.ndarray, "..."] | float, moments: Float[np.ndarray, "4 ..."]
) -> Float[np.ndarray, "4 ..."]:
    """Second moments (ee, ev, ve, vv) of each pair after an update; docs/theory.md (41)-(42).

    common is (tr(ΛE) + σ²) Λ - 2 (μᵀEμ) μμᵀ, what all pairs make together.
    """
    ee, ev, ve, vv = moments
    to_error, through = rule.throughs
    kept, first, second = rule.momentum, pairs.first, pairs.second
    through_modes = first * second * ee
    gg = through_modes + pairs.noise * (through_modes + common)
    vg, gv = ve * second, ev * first
    # The moments of u = e + φ v and g, then of e' = u + b g and v' = β v + g.
    ug, gu = ee * second + to_error * vg, ee * first + to_error * gv
    return np.array(
        [
            ee + to_error * (ev + ve) + to_error**2 * vv + through * (ug + gu) + through**2 * gg,
            kept * (ev + to_error * vv) + ug + through * (kept * gv + gg),
            kept * (ve + to_error * vv) + gu + through * (kept * vg + gg),
            kept**2 * vv + kept * (vg + gv) + gg,
        ]
    )


def expected(
    rule: Updates,
    state: Second,
    noise: float,
    forms: Float[np.ndarray, "k n n"],
    steps: int,
    rates: Float[np.ndarray, " steps"] | None = None,
) -> tuple[Second, Float[np.ndarray, "steps k"]]:
    """The reference: `steps` updates, and tr(Q E) before each of them for every quadratic form Q.

    noise is Σ_j σ_j² over the outputs that the state is summed over; rates are those of every step, if they change.
    """
    pairs, (i, k) = pairs_of(rule), all_pairs(rule.eigenvalues.size)
    seen = [np.where(pairs.diagonal, form[i, k], form[i, k] + form[k, i]) for form in forms]
    moments, values = iterated(rule, pairs, packed(state), noise, np.array(seen).reshape(-1, len(i)), steps, rates)
    return unpacked(moments, rule.eigenvalues.size), values


def iterated(
    rule: Updates,
    pairs: Pairs,
    moments: Float[np.ndarray, "4 P"],
    noise: float,
    forms: Float[np.ndarray, "k P"],
    steps: int,
    rates: Float[np.ndarray, " steps"] | None = None,
    last: bool = True,
) -> tuple[Float[np.ndarray, "4 P"], Float[np.ndarray, "steps k"]]:
    """`expected` of packed pairs, all or those of `pairs_read`; forms have the weight 2 off the diagonal.

    last: whether the last update is made, too, after which nothing is read.
    """
    values, state = np.empty((steps, len(forms))), list(moments)
    for index, state in enumerate(states(rule, pairs, moments, noise, steps, rates, last)):
        if index < steps:
            values[index] = forms @ state[0]
    return np.asarray(state), values


def states(
    rule: Updates,
    pairs: Pairs,
    moments: Float[np.ndarray, "4 P"],
    noise: float,
    steps: int,
    rates: Float[np.ndarray, " steps"] | None = None,
    last: bool = True,
) -> Iterator[list[Float[np.ndarray, " P"]]]:
    """Packed second moments before each of these updates, of the error alone without momentum; and after the last."""
    modes, diagonal = rule.eigenvalues, np.flatnonzero(pairs.diagonal)
    centre = pairs.twice * pairs.focus
    both, bent = pairs.first + pairs.second, (1 + pairs.noise) * pairs.first * pairs.second
    state, kept, fresh = list(moments), np.empty(0), np.empty(0)
    update = _matrices(rule, pairs) if rule.momentum and rates is None and steps > 4 else None
    for index in range(steps):
        yield state
        if index == steps - 1 and not last:
            return
        now = rule if rates is None else rule._replace(rate=float(rates[index]))
        ee = state[0]
        common = -2 * (centre @ ee) * pairs.focus
        common[diagonal] += (modes @ ee[diagonal] + noise) * modes
        if update:
            state = list(np.einsum("abp,bp->ap", update[0], state) + update[1] * common)
        elif rule.momentum or index == steps - 1:
            state = list(moved(now, pairs, common, np.asarray(state)))
        else:  # without momentum the velocity is the last gradient, and moves nothing
            if rates is not None or not index:
                kept, fresh = 1 - now.rate * (both - now.rate * bent), now.rate**2 * pairs.noise
            common *= fresh
            common += ee * kept
            state = [common, *state[1:]]
    yield state


def _matrices(rule: Updates, pairs: Pairs) -> tuple[Float[np.ndarray, "4 4 P"], Float[np.ndarray, "4 P"]] | None:
    """`moved` as a matrix for each pair and what it takes of what all make together; None where they are many."""
    if len(pairs.first) > FEW_PAIRS:
        return None
    each = np.broadcast_to(np.eye(4)[:, :, None], (4, 4, len(pairs.first)))
    return moved(rule, pairs, 0.0, each), kick(rule, pairs)
