"""Where minibatch SGD with momentum settles, and the largest learning rate at which it does.

The map L of the second moments (see `minibatch`) takes positive semi-definite matrices to such. So its spectral radius
is below c if and only if (c - L) S = I has a positive definite solution S: one solve in pairs of modes and one
Cholesky factorisation. See docs/theory.md, section 11. Null modes, which nothing moves, are left out.
"""

import itertools

import numpy as np
import scipy.optimize

from idjax.theory.root_finding import last_where, signed
from idjax.theory.sgd.minibatch import Second, Updates, pairs_of, unpacked
from idjax.theory.sgd.mode_pairs import pairs_read
from idjax.theory.sgd.resolvent import coupled
from idjax.theory.sgd.stability import FEW

CLOSE = 1e-12
"""Width to which the largest rate is found, as a share of the full batch's."""
CLOSE_GROWTH = 1e-6
"""Relative width to which 1 - ρ is found where the fastest rate is sought."""
WIDTH = 0.05
"""How wide groups of many modes are, as a share of their eigenvalues, where the fastest rate is sought."""


def on_range(rule: Updates) -> Updates:
    """These updates without their null modes."""
    rank = int(np.count_nonzero(rule.eigenvalues))
    return rule._replace(
        eigenvalues=rule.eigenvalues[:rank], mean=rule.mean[:rank], batch_noise=rule.batch_noise[:rank, :rank]
    )


def growth_is_below(ceiling: float, rule: Updates) -> bool:
    """Whether the expected loss grows by less than `ceiling` a step, or shrinks by more; docs/theory.md (53)."""
    return _signed_margin(on_range(rule), ceiling - 1) > 0


def _signed_margin(rule: Updates, beyond: float) -> float:
    """Positive where ρ < 1 + `beyond`, negative elsewhere, and 1/tr(M S) in size; see `sgd`."""
    solved = solve(rule, beyond, 1.0, 0.0)
    level = float(rule.eigenvalues @ np.diagonal(solved.ee))
    return signed(_is_positive(solved), 1 / level if level else 0.0)


def _is_positive(second: Second) -> bool:
    """Whether these second moments of error and velocity, seen as one matrix, are positive definite."""
    ee, ev, vv = second
    square = np.append(np.diagonal(ee), np.diagonal(vv))
    if not (square > 0).all():  # NaN is not, either
        return False
    # Modes that no other one goes with are pairs of numbers.
    alone = (np.count_nonzero(ee, axis=0) == 1) & (np.count_nonzero(ev, axis=0) <= 1)
    if (np.diagonal(ev)[alone] ** 2 >= (np.diagonal(ee) * np.diagonal(vv))[alone]).any():
        return False
    some = np.ix_(~alone, ~alone)
    ee, ev, vv, size = ee[some], ev[some], vv[some], np.sqrt(square[np.append(~alone, ~alone)])
    try:
        np.linalg.cholesky(np.block([[ee, ev], [ev.T, vv]]) / size[:, None] / size)
    except np.linalg.LinAlgError:
        return False
    return True


def max_rate(rule: Updates, full_batch_limit: float) -> float:
    """The largest η' that is stable in mean square; at most that of the full batch."""
    rule = on_range(rule)

    def margin(rate: float) -> float:
        return _signed_margin(rule._replace(rate=rate), 0.0)

    # Minibatches never raise the limit of the full batch. The search goes a little beyond it.
    return min(last_where(margin, 1.0001 * full_batch_limit, CLOSE * full_batch_limit), full_batch_limit)


def best_rate(rule: Updates, limit: float) -> float:
    """The η' whose expected loss shrinks fastest in the long run, to a thousandth of the limit, by golden section."""
    rule = on_range(rule)
    rule = rule if rule.eigenvalues.size <= FEW else grouped(rule)

    def log_decay(share: float) -> float:
        return np.log(loss_decay(rule._replace(rate=share * limit)))

    return limit * float(np.asarray(scipy.optimize.fminbound(lambda share: -log_decay(share), 0.0, 1.0, xtol=1e-3)))


def grouped(rule: Updates) -> Updates:
    """These updates with neighbouring modes at their mean, which moves rates by the square of a group's WIDTH.

    Modes of one λ may be turned among each other, so that μ lies along the first of them: all others have no pair but
    with themselves, and of n modes in k groups n + k(k-1)/2 pairs are left. The outermost two stand for themselves.
    """
    modes, mean, middle = rule.eigenvalues.copy(), np.zeros_like(rule.mean), np.arange(rule.mean.size)
    ends = np.unique([0, 1, 2, len(modes) - 2, len(modes) - 1, len(modes)])
    steps = np.floor(np.log(modes) / np.log1p(WIDTH))
    bounds = np.union1d(ends, 1 + np.flatnonzero(np.diff(steps)))
    for first, last in itertools.pairwise(bounds.tolist()):
        modes[first:last] = modes[first:last].mean()
        mean[first] = np.linalg.norm(rule.mean[first:last])
        middle[first:last] = (first + last) // 2
    return rule._replace(eigenvalues=modes, mean=mean, batch_noise=rule.batch_noise[np.ix_(middle, middle)])


def loss_decay(rule: Updates) -> float:
    """1 - ρ, by what share the expected loss shrinks a step in the long run, of a stable rate without null modes."""
    most = mean_decay(rule)
    # Just there pairs of modes have a pole, where rounding alone gives the sign: the search goes a little beyond it.
    beyond = min(1.01 * most, (1 + most) / 2)
    found = last_where(lambda decay: _signed_margin(rule, -decay), beyond, CLOSE_GROWTH * most)
    return min(found, most)


def mean_decay(rule: Updates) -> float:
    """1 - max |z|² over the eigenvalues z of the mean's maps (51): the batches' noise leaves 1 - ρ at most this."""
    pull, momentum = rule.rate * rule.eigenvalues, rule.momentum
    # w = 1 - z solves w² - total w + η' λ = 0; the small root as a quotient, which keeps its digits.
    total = 1 - momentum + (1 + momentum if rule.nesterov else 1.0) * pull
    root = np.sqrt(total.astype(np.complex128) ** 2 - 4 * pull)
    far = (total + root) / 2
    roots = np.stack([far, pull / far])
    return float(np.min(2 * roots.real - np.abs(roots) ** 2))


def settled(rule: Updates, noise: float) -> Second:
    """The second moments that label noise keeps up for ever, on the range of M; docs/theory.md (54)."""
    return solve(rule, 0.0, 0.0, noise)


def solve(rule: Updates, beyond: float, own: float, noise: float) -> Second:
    """The solution S of (1 + beyond - L) S = own · I + the kicks of label noise."""
    kept = pairs_read(rule.mean)
    pairs, distance = pairs_of(rule, kept), np.array([beyond])
    alone = np.array([1.0, 0, 0, 1])[:, None] * own * pairs.diagonal
    with np.errstate(divide="ignore", invalid="ignore"):  # infinite at a pole, which is no solution either
        moments = coupled(rule, 1 + distance, distance, pairs, alone, np.array([noise]))
        return unpacked(moments[:, 0], rule.eigenvalues.size, kept)
