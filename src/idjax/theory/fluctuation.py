"""How far the loss of one run of minibatch SGD strays from its expectation, to first order in the noise of a batch.

The second moment of a batch is M + Δ. With S = Σ_j s_j e_j e_jᵀ, the Δ of an update adds tr(Δ W) to a later loss,
W = S ∘ (u - ρ (y_a + y_b)) in each pair of modes, and for Gaussian rows

    Var tr(Δ W) = (2 tr(W M W M) - 2 (μᵀ W μ)²) / B.

An epoch shows every row once, so that its Δ add up to nothing: what W is on average over an epoch does not count, but
what S itself fluctuates by does. See docs/theory.md, section 16.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from idjax.theory.fast_forward import moments_at
from idjax.theory.minibatch import Updates

MOST_RECORDS = 12
"""Epochs whose spread is worked out; others lie between them."""
GROWTH = 1.5
"""Distance of a step (or an epoch) from the end that it is near to, over that of the one before."""


class Outputs(NamedTuple):
    """Outputs that learn alike; s_j is what one counts in the loss.

    rule: their updates.  start: Σ_j s_j e_j e_jᵀ (n, n).  noise: Σ_j s_j σ_j².  share: Σ_j s_j² σ_j² / Σ_j s_j σ_j².
    """

    rule: Updates
    start: Float[np.ndarray, "n n"]
    noise: float
    share: float


class Spread(NamedTuple):
    """Standard deviations of the mean of the batch losses of these epochs, and of the loss at their ends."""

    epochs: Int[np.ndarray, " r"]
    train: Float[np.ndarray, " r"]
    end: Float[np.ndarray, " r"]


class _Epoch(NamedTuple):
    """Steps of an epoch that stand for others (c,), for how many each, steps in all; epochs before, to the record."""

    cells: Float[Array, " c"]
    lengths: Float[Array, " c"]
    steps: Float[Array, ""]
    before: Float[Array, ""]
    gap: Float[Array, ""]


def spread_over_batches(
    parts: Sequence[Outputs],
    batch_size: float,
    steps: int,
    epochs: int,
    rows: Float[np.ndarray, "N n"] | None = None,
) -> Spread:
    """The spread over the orders of the rows, in a run of so many epochs of so many updates each.

    rows, in the eigenbasis, are of any distribution: what they add to first order is theirs, in place of Gaussian
    rows'. Range: small against the loss. Momentum counts by its sum, as slow modes feel it.
    """
    records = np.unique(np.round(np.geomspace(1, epochs, MOST_RECORDS))).astype(int)
    cells, lengths = _cells(steps)
    variances = np.zeros((len(records), 2))
    given = None if rows is None else jnp.asarray(rows)
    for index, record in enumerate(records):
        earlier, counts = _cells(int(record))
        at = (earlier[:, None] * steps + cells).ravel()
        shape = len(earlier), len(cells), *parts[0].start.shape
        seconds = [moments_at(part.rule, part.start, part.noise, at).reshape(shape) for part in parts]
        for k, (epoch, count) in enumerate(zip(earlier, counts, strict=True)):
            place = _Epoch(*map(jnp.asarray, (cells, lengths, float(steps), float(epoch), float(record - 1 - epoch))))
            variances[index] += count * np.asarray(
                _variances(tuple(parts), tuple(jnp.asarray(second[k]) for second in seconds), place, batch_size, given)
            )
    return Spread(records, *np.sqrt(np.maximum(variances.T, 0.0)))


def _cells(count: int) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """Of the numbers from 0 to count - 1 those that stand for others, dense at both ends, and for how many each."""
    cuts = [0.0]
    while cuts[-1] < count / 2:
        cuts.append(cuts[-1] + max(1.0, np.floor(cuts[-1] * (GROWTH - 1))))
    half = np.array([cut for cut in cuts if cut < count / 2])
    bounds = np.unique(np.concatenate([half, [count // 2], count - half]))
    lengths = np.diff(bounds)
    return bounds[:-1] + np.floor((lengths - 1) / 2), lengths


@jax.jit
def _variances(
    parts: tuple[Outputs, ...],
    seconds: tuple[Float[Array, "c n n"], ...],
    at: _Epoch,
    batch_size: ArrayLike,
    rows: Float[Array, "N n"] | None,
) -> Float[Array, "2"]:
    """What the updates of an epoch add to the variances of the epoch's mean loss and of the loss at an epoch's end."""
    return jnp.stack([_variance(parts, seconds, at, batch_size, rows, mean_loss) for mean_loss in (True, False)])


def _variance(
    parts: tuple[Outputs, ...],
    seconds: tuple[Array, ...],
    at: _Epoch,
    batch_size: ArrayLike,
    rows: Array | None,
    mean_loss: bool,
) -> Array:
    modes, mean = parts[0].rule.eigenvalues, parts[0].rule.mean
    # What a unit of W_ab² counts, pair by pair, where the pairs fluctuate independently.
    alone = 2 * jnp.outer(modes, modes) - jnp.outer(mean, mean) ** 2 * (4 - 2 * jnp.eye(len(modes)))
    paths, variance = jnp.zeros_like(seconds[0]), jnp.zeros(())
    for part, second in zip(parts, seconds, strict=True):
        # Momentum's step is that of its sum, as slow modes feel it.
        rate = part.rule.rate / (1 - part.rule.momentum)
        form, here = _pulled_back(rate * modes, at, mean_loss)
        through = form * (1 - rate * modes)
        pair = here[:, None, None] - through[:, :, None] - through[:, None, :]
        paths += second * pair
        # S differs from run to run: fresh noise on that does not cancel within the epoch.
        chance = jax.vmap(functools.partial(_chance, part.rule, rate))(second)
        fresh = part.rule.batch_noise * batch_size * jnp.maximum(alone, 0.0)
        variance += jnp.einsum("t,tab,ab->", at.lengths, pair**2 * chance, fresh) / batch_size
        # Two of the Δ of one update: what matters of fast modes.
        twice = jnp.einsum("tab,tba,a,b->t", second, second, modes, modes)
        variance += at.lengths @ (2 * jnp.sum((form * rate * modes) ** 2, axis=1) * twice) / batch_size**2
        label = _label_noise(part, rate * modes, second, here[:, None] - through, at) @ modes
        variance += 4 * part.share * part.noise * label / batch_size
    paths = _uncancelled(paths, at)
    if rows is None:
        power = 2 * jnp.einsum("tab,a,b->t", paths**2, modes, modes)
        power -= 2 * jnp.einsum("tab,a,b->t", paths, mean, mean) ** 2
    else:
        power = jax.lax.map(lambda path: jnp.var(jnp.einsum("ia,ab,ib->i", rows, path, rows)), paths)
    return variance + at.lengths @ power / batch_size


def _label_noise(
    part: Outputs, pull: Float[Array, " n"], second: Float[Array, "c n n"], count: Float[Array, "c n"], at: _Epoch
) -> Float[Array, " n"]:
    """Σ over the epoch of the squares of what label noise meets in each mode, less what cancels within the epoch.

    It meets the error times what that counts. The mean of the error is the same in every run, so that of its course
    only the departure from its mean over the epoch counts; the rest comes and goes within 1/pull steps.
    """
    decay = _powers(pull, at.before * at.steps + at.cells)
    sure = jnp.diagonal(part.start)
    path = _uncancelled(count * decay, at)
    chance = jnp.maximum(jnp.diagonal(second, axis1=1, axis2=2) - sure * decay**2, 0.0)
    return sure * (at.lengths @ path**2) + at.lengths @ (count**2 * chance) * _share_felt(pull * at.steps)


def _uncancelled(values: Float[Array, "c ..."], at: _Epoch) -> Float[Array, "c ..."]:
    """What noise that adds up to nothing in an epoch meets: the departure from the mean over its steps."""
    return values - jnp.tensordot(at.lengths, values, 1) / at.steps


def _powers(pull: Float[Array, " n"], steps: Float[Array, " c"]) -> Float[Array, "c n"]:
    """|1 - ρλ| to these powers."""
    return jnp.exp(steps[:, None] * jnp.log(jnp.maximum(jnp.abs(1 - pull), 1e-150)))


def _pulled_back(
    pull: Float[Array, " n"], at: _Epoch, mean_loss: bool
) -> tuple[Float[Array, "c n"], Float[Array, " c"]]:
    """ρ times what the square of an error after each update counts in the loss; and u, what one before it counts.

    λ (1 - ρλ)^2k in the loss k steps later, which is that at the epoch's end or any before an update of the epoch.
    """
    after = at.steps - 1 - at.cells
    if not mean_loss:
        return pull * _powers(pull, 2 * (after + at.gap * at.steps)), jnp.zeros_like(after)
    log = jnp.log(jnp.maximum(jnp.abs(1 - pull), 1e-150))
    own = -jnp.expm1(2 * after[:, None] * log)
    later = _powers(pull, 2 * (after + 1 + (at.gap - 1) * at.steps)) * -jnp.expm1(2 * at.steps * log)
    count = jnp.where(at.gap == 0, own, later) / (2 - pull) / at.steps
    return count, jnp.where(at.gap == 0, 1.0, 0.0) / at.steps + jnp.zeros_like(after)


def _chance(rule: Updates, rate: Array, second: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Var S_ab about its expectation, as recent batches have made it: the sum over steps of Var (Δ S + S Δ)_ab."""
    modes, mean = rule.eigenvalues, rule.mean
    kept, power, focus = 1 - rate * modes, jnp.diagonal(second), second @ mean
    bent = (second * modes) @ second
    own = modes[:, None] * jnp.diagonal(bent) + (modes[:, None] * second) ** 2 - 2 * jnp.outer(mean, focus) ** 2
    cross = jnp.diag(modes * jnp.diagonal(bent)) + jnp.outer(modes * power, modes * power)
    cross -= 2 * jnp.outer(mean * focus, mean * focus)
    kick = kept**2 * own + kept[:, None] ** 2 * own.T + 2 * jnp.outer(kept, kept) * cross
    forgotten = 1 - jnp.outer(kept, kept) ** 2
    moves = forgotten > 1e-14
    return rate**2 * rule.batch_noise * jnp.maximum(kick, 0.0) * moves / jnp.where(moves, forgotten, 1.0)


def _share_felt(decay: Float[Array, " n"]) -> Float[Array, " n"]:
    """The share of an epoch's label noise that an error which comes and goes in a mode feels: 1 - 2 (x - 1 + e^-x)/x²,
    x its decay in the epoch.
    """
    x = jnp.maximum(decay, 1e-2)
    return jnp.where(decay < 1e-2, decay / 3, 1 - 2 * (x + jnp.expm1(-x)) / x**2)
