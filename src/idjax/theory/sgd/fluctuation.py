"""The variance of a later loss of minibatch SGD that the batches of an epoch add, to first order in their noise.

The second moment of a batch is M + Δ. With S = Σ_j s_j e_j e_jᵀ, the Δ of an update adds tr(Δ W) to a later loss,
W = S ∘ (u - ρ (y_a + y_b)) in each pair of modes, and for Gaussian rows

    Var tr(Δ W) = (2 tr(W M W M) - 2 (μᵀ W μ)²) / B.

An epoch shows every row once, so that its Δ add up to nothing: what W is on average over an epoch does not count, but
what S itself fluctuates by does. See docs/theory.md, section 16.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from idjax.theory.sgd.minibatch import Updates


class Epoch(NamedTuple):
    """Steps of an epoch that stand for others (c,), for how many each, and steps in all.

    own: whether the loss that is asked for is its own or that of a later epoch, for r of them.
    """

    cells: Float[np.ndarray, " c"]
    lengths: Float[np.ndarray, " c"]
    steps: float
    own: Bool[np.ndarray, " r"]


class GroupInEpoch(NamedTuple):
    """Outputs that learn alike in one epoch; s_j is what one counts in the loss.

    rule: updates at the epoch's mean rate.  sure: the diagonal of Σ_j s_j e_j e_jᵀ at the start (n,).
    noise: Σ_j s_j σ_j².  share: Σ_j s_j² σ_j² / Σ_j s_j σ_j².  second: S, Σ_j s_j E[e_j e_jᵀ] before the cells'
    updates.  chance: what its entries vary by.  twice: tr(M S M S).
    rates: ρ of the cells' updates, sooner and later: its mean over those of the epoch before and after each, (c,).
    Sums of log |1 - ρλ|: before (n,): over the epochs before.  to_epoch, to_end (r, n): from the epoch's end to the
    beginning and the end of each epoch whose loss is asked for.  there (r, n): the mean over that epoch's updates.
    """

    rule: Updates
    sure: Float[np.ndarray, " n"]
    noise: float
    share: float
    second: Float[np.ndarray, "c n n"]
    chance: Float[np.ndarray, "c n n"]
    twice: Float[np.ndarray, " c"]
    rates: Float[np.ndarray, " c"]
    sooner: Float[np.ndarray, " c"]
    later: Float[np.ndarray, " c"]
    before: Float[np.ndarray, " n"]
    to_epoch: Float[np.ndarray, "r n"]
    to_end: Float[np.ndarray, "r n"]
    there: Float[np.ndarray, "r n"]


def variances(
    parts: tuple[GroupInEpoch, ...], at: Epoch, batch_size: float, rows: Float[np.ndarray, "N n"] | None
) -> Float[np.ndarray, "2 r"]:
    """The variances that an epoch's updates add to each asked epoch's mean loss, and to the loss at its end."""
    modes, mean = parts[0].rule.eigenvalues, parts[0].rule.mean
    # What a unit of W_ab² counts, pair by pair, where the pairs fluctuate independently.
    pulls, focus = np.outer(modes, modes), np.outer(mean, mean)
    alone = 2 * pulls - focus**2 * (4 - 2 * np.eye(len(modes)))
    paths, variance = np.zeros((2, len(at.own), *parts[0].second.shape)), np.zeros((2, len(at.own)))
    for part in parts:
        pull = part.rates[:, None] * modes
        form, here = _pulled_back(part, at)
        through = form * (1 - pull)
        pair = here[..., None, None] - through[..., :, None] - through[..., None, :]
        paths += part.second * pair
        # S differs from run to run: fresh noise on that does not cancel within the epoch.
        fresh = part.rule.batch_noise * np.maximum(alone, 0.0) * at.lengths[:, None, None]
        variance += (pair**2).reshape(*variance.shape, -1) @ (part.chance * fresh).ravel()
        # Two of the Δ of one update: what matters of fast modes.
        variance += (2 * np.sum((form * pull) ** 2, axis=3) * part.twice) @ at.lengths / batch_size**2
        label = _label_noise(part, here[..., None] - through, at) @ modes
        variance += 4 * part.share * part.noise * label / batch_size
    paths = _uncancelled(paths, at)
    if rows is None:
        flat = paths.reshape(*paths.shape[:-2], -1)
        power = 2 * (flat**2 @ pulls.ravel() - (flat @ focus.ravel()) ** 2)
    else:
        flat = paths.reshape(-1, *paths.shape[-2:])
        power = np.array([np.var(np.sum((rows @ path) * rows, axis=1)) for path in flat]).reshape(paths.shape[:-2])
    return variance + power @ at.lengths / batch_size


def _label_noise(part: GroupInEpoch, count: Float[np.ndarray, "2 r c n"], at: Epoch) -> Float[np.ndarray, "2 r n"]:
    """Σ over the epoch of the squares of what label noise meets in each mode, less what cancels within the epoch.

    It meets the error times what that counts. The mean of the error is the same in every run, so that of its course
    only the departure from its mean over the epoch counts. The rest comes and goes within 1/pull steps, and where it
    stays, of what it counts only the departure from the mean is felt.
    """
    modes, steps = part.rule.eigenvalues, at.cells[:, None]
    decay = np.exp(part.before + steps * log_kept(part.sooner[:, None] * modes))
    path = _uncancelled(count * decay, at)
    chance = np.maximum(np.diagonal(part.second, axis1=1, axis2=2) - part.sure * decay**2, 0.0)
    felt = _share_felt(at.lengths @ part.rates * modes)
    squares = felt * count**2 + (1 - felt) * _uncancelled(count, at) ** 2
    return part.sure * (at.lengths @ path**2) + at.lengths @ (squares * chance)


def _uncancelled(values: Float[np.ndarray, "2 r c ..."], at: Epoch) -> Float[np.ndarray, "2 r c ..."]:
    """The departure of values from their mean over an epoch, which noise that adds up to nothing meets."""
    return values - np.einsum("c,krc...->kr...", at.lengths / at.steps, values)[:, :, None]


def log_kept(pull: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """log |1 - ρλ|."""
    return np.log(np.maximum(np.abs(1 - pull), 1e-150))


def _sum_of_powers(log: np.ndarray, count: np.ndarray | float) -> np.ndarray:
    """Σ_k e^(k log) over k < count."""
    moves = log != 0
    safe = np.where(moves, log, 1.0)
    return np.where(moves, np.expm1(count * safe) / np.expm1(safe), count)


def _pulled_back(part: GroupInEpoch, at: Epoch) -> tuple[Float[np.ndarray, "2 r c n"], Float[np.ndarray, "2 r c"]]:
    """ρ times what the square of an error after each update counts in the loss; and u, what one before it counts.

    λ Π (1 - ρλ)² over the updates in between: in any loss before the asked epoch's updates, and in that at its end.
    """
    modes, after = part.rule.eigenvalues, (at.steps - 1 - at.cells)[:, None]
    pull, log = part.rates[:, None] * modes, log_kept(part.later[:, None] * modes)
    to_epoch, to_end, there = part.to_epoch[:, None], part.to_end[:, None], part.there[:, None]
    own = np.repeat(at.own[:, None] / at.steps, len(at.cells), axis=1)
    later = np.exp(2 * (after * log + to_epoch)) * _sum_of_powers(2 * there, at.steps)
    counted = np.where(at.own[:, None, None], _sum_of_powers(2 * log, after), later)
    end = np.exp(2 * (after * log + to_end))
    return pull * np.stack([counted / at.steps, end]), np.stack([own, np.zeros_like(own)])


def chance_of(
    rule: Updates, rates: Float[np.ndarray, " c"], second: Float[np.ndarray, "c n n"]
) -> Float[np.ndarray, "c n n"]:
    """Var S_ab about its expectation, as recent batches have made it: the sum over steps of Var (Δ S + S Δ)_ab."""
    modes, mean = rule.eigenvalues, rule.mean
    kept, power, focus = 1 - rates[:, None] * modes, np.diagonal(second, axis1=1, axis2=2), second @ mean
    bent = np.diagonal((second * modes) @ second, axis1=1, axis2=2)
    own = modes[:, None] * bent[:, None] + (modes[:, None] * second) ** 2 - 2 * (mean[:, None] * focus[:, None]) ** 2
    cross = _outer(modes * power, modes * power) - 2 * _outer(mean * focus, mean * focus)
    diagonal = np.arange(len(modes))
    cross[:, diagonal, diagonal] += modes * bent
    through = _outer(kept, kept)
    half = kept[:, None] ** 2 * own
    kick = half + half.swapaxes(1, 2) + 2 * through * cross
    forgotten = 1 - through**2
    moves = forgotten > 1e-14
    made = (rates**2)[:, None, None] * rule.batch_noise * np.maximum(kick, 0.0)
    return made * moves / np.where(moves, forgotten, 1.0)


def twice_of(rule: Updates, second: Float[np.ndarray, "c n n"]) -> Float[np.ndarray, " c"]:
    """tr(M S M S) of the second moments before each update."""
    bent = second * rule.eigenvalues
    return np.sum(bent * bent.swapaxes(1, 2), axis=(1, 2))


def _outer(a: Float[np.ndarray, "c n"], b: Float[np.ndarray, "c n"]) -> Float[np.ndarray, "c n n"]:
    return a[:, :, None] * b[:, None, :]


def _share_felt(decay: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The share of an epoch's label noise that an error which comes and goes in a mode feels: 1 - 2 (x - 1 + e^-x)/x²,
    x its decay in the epoch.
    """
    x = np.maximum(decay, 1e-2)
    return np.where(decay < 1e-2, decay / 3, 1 - 2 * (x + np.expm1(-x)) / x**2)
