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

from idjax.theory.fast_forward import kick, pairs_of, resolvent
from idjax.theory.minibatch import Second, Updates

BISECTIONS = 40


def on_range(rule: Updates) -> Updates:
    """The same updates without their null modes."""
    rank = int(np.count_nonzero(np.asarray(rule.eigenvalues)))
    return rule._replace(
        eigenvalues=rule.eigenvalues[:rank], mean=rule.mean[:rank], batch_noise=rule.batch_noise[:rank, :rank]
    )


def growth_is_below(ceiling: float, rule: Updates) -> bool:
    """Whether the expected loss grows by less than `ceiling` a step, or shrinks by more; docs/theory.md (53)."""
    return bool(_is_below(on_range(rule), ceiling))


@jax.jit
def _is_below(rule: Updates, ceiling: ArrayLike) -> Array:
    ee, ev, vv = solve(rule, ceiling, 1.0, 0.0)
    lifted = jnp.block([[ee, ev], [ev.T, vv]])
    size = jnp.sqrt(jnp.diagonal(lifted))  # NaN where not positive, which the factorisation hands on
    return jnp.all(jnp.isfinite(jnp.linalg.cholesky(lifted / size[:, None] / size, symmetrize_input=False)))


def max_rate(rule: Updates, full_batch_limit: float) -> float:
    """The largest η' that is stable in mean square, by bisection; at most that of the full batch."""
    rule = on_range(rule)
    # It starts a little beyond, so that its halves do not fall on the poles of the pairs.
    low, high = 0.0, 1.0001 * full_batch_limit
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        stable = bool(_is_below(rule._replace(rate=jnp.asarray(middle)), 1.0))
        low, high = (middle, high) if stable else (low, middle)
    return min(low, full_batch_limit)


def best_rate(rule: Updates, limit: float) -> float:
    """The η' whose expected loss shrinks fastest in the long run, to a thousandth of the limit, by golden section."""
    rule = on_range(rule)
    slowest = float(rule.eigenvalues[-1] * limit / (1 - rule.momentum))

    def log_decay(share: float) -> float:
        """The logarithm of 1 - ρ, by bisection."""
        at = rule._replace(rate=jnp.asarray(share * limit))
        low, high = np.log(1e-6 * min(1.0, slowest)), np.log(min(1.0, 4 * slowest))
        for _ in range(18):
            middle = (low + high) / 2
            low, high = (middle, high) if bool(_is_below(at, 1 - np.exp(middle))) else (low, middle)
        return low

    return limit * float(np.asarray(scipy.optimize.fminbound(lambda share: -log_decay(share), 0.0, 1.0, xtol=1e-3)))


@jax.jit
def settled(rule: Updates, noise: ArrayLike) -> Second:
    """The second moments that label noise keeps up for ever, on the range of M; docs/theory.md (54)."""
    return solve(rule, 1.0, 0.0, noise)


def solve(rule: Updates, ceiling: ArrayLike, own: ArrayLike, noise: ArrayLike) -> Second:
    """The solution S of (ceiling - L) S = own · I + the kicks of label noise."""
    n = rule.eigenvalues.size
    i, j = np.triu_indices(n)
    diagonal = np.flatnonzero(i == j)
    pairs = pairs_of(rule)
    both = rule.mean[i] * rule.mean[j]
    z = jnp.asarray(ceiling)[None]
    alone = jnp.array([1.0, 0, 0, 1])[:, None] * own * (i == j)
    moments = jnp.stack(resolvent(rule, z, z - 1, pairs, jnp.stack([alone, kick(rule, pairs)], axis=1)))[:, :, 0]
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
