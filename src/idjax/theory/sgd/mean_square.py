"""Where minibatch SGD with momentum settles, and the largest learning rate at which it does.

The map L of the second moments (see `minibatch`) takes positive semi-definite matrices to such. So its spectral radius
is below c if and only if (c - L) S = I has a positive definite solution S: one solve in pairs of modes and one
Cholesky factorisation. See docs/theory.md, section 11. Null modes, which nothing moves, are left out.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.typing import ArrayLike
from jaxtyping import Array

from idjax.theory.root_finding import last_where, signed
from idjax.theory.sgd.horizons import kick, pairs_of, resolvent
from idjax.theory.sgd.minibatch import Second, Updates

CLOSE = 1e-12
"""Width to which the largest rate is found, as a share of the full batch's."""
CLOSE_GROWTH = 1e-6
"""Relative width to which 1 - ρ is found where the fastest rate is sought."""


def on_range(rule: Updates) -> Updates:
    """The same updates without their null modes."""
    rank = int(np.count_nonzero(np.asarray(rule.eigenvalues)))
    return rule._replace(
        eigenvalues=rule.eigenvalues[:rank], mean=rule.mean[:rank], batch_noise=rule.batch_noise[:rank, :rank]
    )


def growth_is_below(ceiling: float, rule: Updates) -> bool:
    """Whether the expected loss grows by less than `ceiling` a step, or shrinks by more; docs/theory.md (53)."""
    return _signed_margin(on_range(rule), ceiling - 1) > 0


def _signed_margin(rule: Updates, beyond: float) -> float:
    """Positive where ρ < 1 + `beyond`, negative elsewhere, and 1/tr(M S) in size; see `sgd`."""
    solved = _solved(rule, beyond)
    level = float(np.asarray(rule.eigenvalues) @ np.diagonal(np.asarray(solved.ee)))
    return signed(_is_positive(solved), 1 / level if level else 0.0)


@jax.jit
def _solved(rule: Updates, beyond: ArrayLike) -> Second:
    return solve(rule, beyond, 1.0, 0.0)


def _is_positive(second: Second) -> bool:
    """Whether these second moments of error and velocity, seen as one matrix, are positive definite."""
    ee, ev, vv = map(np.asarray, second)
    square = np.append(np.diagonal(ee), np.diagonal(vv))
    if not (square > 0).all():  # NaN is not, either
        return False
    size = np.sqrt(square)
    try:
        np.linalg.cholesky(np.block([[ee, ev], [ev.T, vv]]) / size[:, None] / size)
    except np.linalg.LinAlgError:
        return False
    return True


def max_rate(rule: Updates, full_batch_limit: float) -> float:
    """The largest η' that is stable in mean square; at most that of the full batch."""
    rule = on_range(rule)

    def margin(rate: float) -> float:
        return _signed_margin(rule._replace(rate=jnp.asarray(rate)), 0.0)

    # Minibatches never raise the limit of the full batch. The search goes a little beyond it.
    return min(last_where(margin, 0.0, 1.0001 * full_batch_limit, CLOSE * full_batch_limit), full_batch_limit)


def best_rate(rule: Updates, limit: float) -> float:
    """The η' whose expected loss shrinks fastest in the long run, to a thousandth of the limit, by golden section."""
    rule = on_range(rule)

    def log_decay(share: float) -> float:
        return np.log(loss_decay(rule._replace(rate=jnp.asarray(share * limit))))

    return limit * float(np.asarray(scipy.optimize.fminbound(lambda share: -log_decay(share), 0.0, 1.0, xtol=1e-3)))


def loss_decay(rule: Updates) -> float:
    """1 - ρ, by what share the expected loss shrinks a step in the long run, of a stable rate without null modes."""
    most = mean_decay(rule)
    # Just there pairs of modes have a pole, where rounding alone gives the sign: the search goes a little beyond it.
    beyond = min(1.01 * most, (1 + most) / 2)
    found = last_where(lambda decay: _signed_margin(rule, -decay), 0.0, beyond, CLOSE_GROWTH * most)
    return min(found, most)


def mean_decay(rule: Updates) -> float:
    """1 - max |z|² over the eigenvalues z of the mean's maps (51): the batches' noise leaves 1 - ρ at most this."""
    pull = np.asarray(rule.rate * rule.eigenvalues)
    momentum = float(rule.momentum)
    # w = 1 - z solves w² - total w + η' λ = 0; the small root as a quotient, which keeps its digits.
    total = 1 - momentum + np.where(rule.nesterov, 1 + momentum, 1.0) * pull
    root = np.sqrt(total.astype(np.complex128) ** 2 - 4 * pull)
    far = (total + root) / 2
    roots = np.stack([far, pull / far])
    return float(np.min(2 * roots.real - np.abs(roots) ** 2))


@jax.jit
def settled(rule: Updates, noise: ArrayLike) -> Second:
    """The second moments that label noise keeps up for ever, on the range of M; docs/theory.md (54)."""
    return solve(rule, 0.0, 0.0, noise)


def solve(rule: Updates, beyond: ArrayLike, own: ArrayLike, noise: ArrayLike) -> Second:
    """The solution S of (1 + beyond - L) S = own · I + the kicks of label noise."""
    n = rule.eigenvalues.size
    i, j = np.triu_indices(n)
    diagonal = np.flatnonzero(i == j)
    pairs = pairs_of(rule)
    both = rule.mean[i] * rule.mean[j]
    distance = jnp.asarray(beyond)[None]
    alone = jnp.array([1.0, 0, 0, 1])[:, None] * own * (i == j)
    right = jnp.stack([alone, kick(rule, pairs)], axis=1)
    moments = jnp.stack(resolvent(rule, 1 + distance, distance, pairs, right))[:, :, 0]
    free, kicked = moments[:, 0], moments[:, 1]
    kick_level = jnp.where(i == j, pairs.first, 0.0) * kicked
    kick_centre = -2 * both * kicked
    free = free + noise * kick_level

    def level(moments: Array) -> Array:
        return rule.eigenvalues @ moments[0, diagonal]

    def centre(moments: Array) -> Array:
        return jnp.sum(jnp.where(i == j, 1.0, 2.0) * both * moments[0])

    coupling = jnp.array([[level(kick_level), level(kick_centre)], [centre(kick_level), centre(kick_centre)]])
    drive = jnp.linalg.solve(jnp.eye(2) - coupling, jnp.stack([level(free), centre(free)]))
    ee, ev, ve, vv = free + drive[0] * kick_level + drive[1] * kick_centre
    square = jnp.zeros((n, n))
    return Second(
        square.at[i, j].set(ee).at[j, i].set(ee),
        square.at[i, j].set(ev).at[j, i].set(ve),
        square.at[i, j].set(vv).at[j, i].set(vv),
    )
