"""The variance of a later loss of minibatch SGD that the batches of an epoch add, to first order in their noise.

The second moment of a batch is M + Δ. With S = Σ_j s_j e_j e_jᵀ, the Δ of an update adds tr(Δ W) to a later loss,
W = S ∘ (u - ρ (y_a + y_b)) in each pair of modes, and for Gaussian rows

    Var tr(Δ W) = (2 tr(W M W M) - 2 (μᵀ W μ)²) / B.

An epoch shows every row once, so that its Δ add up to nothing: what W is on average over an epoch does not count, but
what S itself fluctuates by does. See docs/theory.md, section 16.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from idjax.theory.sgd.minibatch import Updates
from idjax.theory.sgd.mode_pairs import all_pairs, symmetric


class Epoch(NamedTuple):
    """Steps of an epoch that stand for others (c,), for how many each, and steps in all."""

    cells: Float[np.ndarray, " c"]
    lengths: Float[np.ndarray, " c"]
    steps: float


class Within(NamedTuple):
    """Of outputs that learn alike, within epochs: of one, or of r.

    batch_noise: ν, of pairs of modes a ≤ b (r, P).  second: S, Σ_j s_j E[e_j e_jᵀ] before the cells' updates (r, c, P).
    chance: what its entries vary by.  twice: tr(M S M S), (r, c).
    rates: ρ of the cells' updates, sooner and later: its mean over those of the epoch before and after each, (r, c).
    """

    batch_noise: Float[np.ndarray, "*r P"]
    second: Float[np.ndarray, "*r c P"]
    chance: Float[np.ndarray, "*r c P"]
    twice: Float[np.ndarray, "*r c"]
    rates: Float[np.ndarray, "*r c"]
    sooner: Float[np.ndarray, "*r c"]
    later: Float[np.ndarray, "*r c"]


class GroupInEpochs(NamedTuple):
    """Outputs that learn alike, in r epochs, as the losses of r epochs see them; s_j is what one counts in the loss.

    sure: the diagonal of Σ_j s_j e_j e_jᵀ at the start (n,).  noise: Σ_j s_j σ_j².
    share: Σ_j s_j² σ_j² / Σ_j s_j σ_j².  own (r,): whether the loss is that of the epoch itself.
    Sums of log |1 - ρλ|, (r, n): before: over the epochs before.  to_epoch, to_end: from the epoch's end to the
    beginning and the end of that whose loss is asked for.  there: the mean over the updates of that epoch.
    """

    within: Within
    sure: Float[np.ndarray, " n"]
    noise: float
    share: float
    own: Bool[np.ndarray, " r"]
    before: Float[np.ndarray, "r n"]
    to_epoch: Float[np.ndarray, "r n"]
    to_end: Float[np.ndarray, "r n"]
    there: Float[np.ndarray, "r n"]


def variances(
    parts: tuple[GroupInEpochs, ...],
    at: Epoch,
    modes: Float[np.ndarray, " n"],
    mean: Float[np.ndarray, " n"],
    batch_size: float,
    rows: Float[np.ndarray, "N n"] | None,
) -> Float[np.ndarray, "2 r"]:
    """The variances that the updates of epochs add to each asked epoch's mean loss, and to the loss at its end."""
    first, second = all_pairs(len(modes))
    often = np.where(first == second, 1.0, 2.0)
    # What a unit of W_ab² counts, pair by pair, where the pairs fluctuate independently.
    pulls, focus = modes[first] * modes[second], mean[first] * mean[second]
    alone = np.maximum(2 * pulls - 2 * often * focus**2, 0.0) * often
    paths, variance = np.zeros((2, *parts[0].within.second.shape)), np.zeros((2, len(parts[0].own)))
    for part in parts:
        pull = part.within.rates[..., None] * modes
        form, here = _pulled_back(part, at, modes)
        through = form * (1 - pull)
        pair = here[..., None, None] - np.take(through, first, -1) - np.take(through, second, -1)
        paths += part.within.second * pair
        # S differs from run to run: fresh noise on that does not cancel within the epoch.
        fresh = part.within.chance * (part.within.batch_noise * alone)[:, None] * at.lengths[:, None]
        variance += np.einsum("krcp,krcp,rcp->kr", pair, pair, fresh)
        # Two of the Δ of one update: what matters of fast modes.
        variance += (2 * np.sum((form * pull) ** 2, axis=3) * part.within.twice) @ at.lengths / batch_size**2
        label = _label_noise(part, here[..., None, None] - through, at, modes) @ modes
        variance += 4 * part.share * part.noise * label / batch_size
    paths = _uncancelled(paths, at)
    if rows is None:
        power = 2 * (paths**2 @ (often * pulls) - (paths @ (often * focus)) ** 2)
    else:
        each = symmetric(paths.reshape(-1, len(first)), len(modes))
        power = np.array([np.var(np.sum((rows @ path) * rows, axis=1)) for path in each]).reshape(paths.shape[:-1])
    return variance + power @ at.lengths / batch_size


def _label_noise(
    part: GroupInEpochs, count: Float[np.ndarray, "2 r c n"], at: Epoch, modes: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "2 r n"]:
    """Σ over an epoch of the squares of what label noise meets in each mode, less what cancels within the epoch.

    It meets the error times what that counts. The mean of the error is the same in every run, so that of its course
    only the departure from its mean over the epoch counts. The rest comes and goes within 1/pull steps, and where it
    stays, of what it counts only the departure from the mean is felt.
    """
    first, second = all_pairs(len(modes))
    decay = np.exp(part.before[:, None] + at.cells[:, None] * log_kept(part.within.sooner[..., None] * modes))
    path = _uncancelled(count * decay, at)
    chance = np.maximum(part.within.second[..., first == second] - part.sure * decay**2, 0.0)
    felt = _share_felt((part.within.rates @ at.lengths)[:, None] * modes)[:, None]
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


def _pulled_back(
    part: GroupInEpochs, at: Epoch, modes: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "2 r c n"], Float[np.ndarray, "2 r"]]:
    """ρ times what the square of an error after each update counts in the loss; and u, what one before it counts.

    λ Π (1 - ρλ)² over the updates in between: in any loss before the asked epoch's updates, and in that at its end.
    """
    after = (at.steps - 1 - at.cells)[:, None]
    pull, log = part.within.rates[..., None] * modes, log_kept(part.within.later[..., None] * modes)
    left, end = 2 * after * log, np.exp(2 * (after * log + part.to_end[:, None]))
    counted = np.empty_like(log)
    own, other = part.own, ~part.own
    counted[own] = _sum_of_powers(2 * log[own], after)
    counted[other] = np.exp(left[other] + 2 * part.to_epoch[other, None]) * _sum_of_powers(
        2 * part.there[other, None], at.steps
    )
    return pull * np.stack([counted / at.steps, end]), np.stack([own / at.steps, np.zeros(len(own))])


def chance_of(
    rule: Updates, rates: Float[np.ndarray, " c"], second: Float[np.ndarray, "c n n"]
) -> Float[np.ndarray, "c P"]:
    """Var S_ab about its expectation, as recent batches have made it: the sum over steps of Var (Δ S + S Δ)_ab."""
    modes, mean, (i, k) = rule.eigenvalues, rule.mean, all_pairs(rule.eigenvalues.size)
    kept, power, focus = 1 - rates[:, None] * modes, np.diagonal(second, axis1=1, axis2=2), second @ mean
    bent, pair = np.sum(second**2 * modes, axis=2), second[:, i, k]

    def own(a: Int[np.ndarray, " P"], b: Int[np.ndarray, " P"]) -> Float[np.ndarray, "c P"]:
        varies = modes[a] * bent[:, b] + (modes[a] * pair) ** 2 - 2 * (mean[a] * focus[:, b]) ** 2
        return kept[:, b] ** 2 * varies

    pulled, centred = modes * power, mean * focus
    cross = pulled[:, i] * pulled[:, k] - 2 * centred[:, i] * centred[:, k]
    cross[:, i == k] += modes * bent
    through = kept[:, i] * kept[:, k]
    forgotten = 1 - through**2
    moves = forgotten > 1e-14
    made = rates[:, None] ** 2 * rule.batch_noise[i, k] * np.maximum(own(i, k) + own(k, i) + 2 * through * cross, 0.0)
    return made * moves / np.where(moves, forgotten, 1.0)


def twice_of(rule: Updates, second: Float[np.ndarray, "c n n"]) -> Float[np.ndarray, " c"]:
    """tr(M S M S) of the second moments before each update."""
    bent = second * rule.eigenvalues
    return np.sum(bent * bent.swapaxes(1, 2), axis=(1, 2))


def _share_felt(decay: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """The share of an epoch's label noise that an error which comes and goes in a mode feels: 1 - 2 (x - 1 + e^-x)/x²,
    x its decay in the epoch.
    """
    x = np.maximum(decay, 1e-2)
    return np.where(decay < 1e-2, decay / 3, 1 - 2 * (x + np.expm1(-x)) / x**2)
