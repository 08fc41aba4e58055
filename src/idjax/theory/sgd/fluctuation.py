"""What the batches of an epoch add to the variance of a later loss of minibatch SGD, to first order in their noise.

The second moment of a batch is M + Δ. With S = Σ_j s_j e_j e_jᵀ, the Δ of an update adds tr(Δ W) to a later loss,
W = S ∘ (u - ρ (y_a + y_b)) in each pair of modes, and for Gaussian rows

    Var tr(Δ W) = (2 tr(W M W M) - 2 (μᵀ W μ)²) / B.

An epoch shows every row once, so that its Δ add up to nothing: what W is on average over an epoch does not count, but
what S itself fluctuates by does. See docs/theory.md, section 16.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from idjax.theory.sgd.minibatch import Updates


class Epoch(NamedTuple):
    """Steps of an epoch that stand for others (c,), for how many each, steps in all; own: its own loss is asked for."""

    cells: Float[Array, " c"]
    lengths: Float[Array, " c"]
    steps: Float[Array, ""]
    own: Array


class Part(NamedTuple):
    """Outputs that learn alike in one epoch; s_j is what one counts in the loss.

    rule: updates at the epoch's mean rate.  sure: the diagonal of Σ_j s_j e_j e_jᵀ at the start (n,).
    noise: Σ_j s_j σ_j².  share: Σ_j s_j² σ_j² / Σ_j s_j σ_j².  second: Σ_j s_j E[e_j e_jᵀ] before the cells' updates.
    rates: ρ of the cells' updates, sooner and later: its mean over those of the epoch before and after each, (c,).
    Sums of log |1 - ρλ| (n,): before: over the epochs before.  to_epoch, to_end: from the epoch's end to the beginning
    and the end of the epoch whose loss is asked for.  there: the mean over that epoch's updates.
    """

    rule: Updates
    sure: Float[Array, " n"]
    noise: Float[Array, ""]
    share: Float[Array, ""]
    second: Float[Array, "c n n"]
    rates: Float[Array, " c"]
    sooner: Float[Array, " c"]
    later: Float[Array, " c"]
    before: Float[Array, " n"]
    to_epoch: Float[Array, " n"]
    to_end: Float[Array, " n"]
    there: Float[Array, " n"]


@jax.jit
def variances(
    parts: tuple[Part, ...], at: Epoch, batch_size: ArrayLike, rows: Float[Array, "N n"] | None
) -> Float[Array, "2"]:
    """What the updates of an epoch add to the variances of the asked epoch's mean loss, and of the loss at its end."""
    return jnp.stack([_variance(parts, at, batch_size, rows, mean_loss) for mean_loss in (True, False)])


def _variance(parts: tuple[Part, ...], at: Epoch, batch_size: ArrayLike, rows: Array | None, mean_loss: bool) -> Array:
    modes, mean = parts[0].rule.eigenvalues, parts[0].rule.mean
    # What a unit of W_ab² counts, pair by pair, where the pairs fluctuate independently.
    alone = 2 * jnp.outer(modes, modes) - jnp.outer(mean, mean) ** 2 * (4 - 2 * jnp.eye(len(modes)))
    paths, variance = jnp.zeros_like(parts[0].second), jnp.zeros(())
    for part in parts:
        second, pull = part.second, part.rates[:, None] * modes
        form, here = _pulled_back(part, at, mean_loss)
        through = form * (1 - pull)
        pair = here[:, None, None] - through[:, :, None] - through[:, None, :]
        paths += second * pair
        # S differs from run to run: fresh noise on that does not cancel within the epoch.
        chance = jax.vmap(functools.partial(_chance, part.rule))(part.rates, second)
        fresh = part.rule.batch_noise * batch_size * jnp.maximum(alone, 0.0)
        variance += jnp.einsum("t,tab,ab->", at.lengths, pair**2 * chance, fresh) / batch_size
        # Two of the Δ of one update: what matters of fast modes.
        twice = jnp.einsum("tab,tba,a,b->t", second, second, modes, modes)
        variance += at.lengths @ (2 * jnp.sum((form * pull) ** 2, axis=1) * twice) / batch_size**2
        label = _label_noise(part, here[:, None] - through, at) @ modes
        variance += 4 * part.share * part.noise * label / batch_size
    paths = _uncancelled(paths, at)
    if rows is None:
        power = 2 * jnp.einsum("tab,a,b->t", paths**2, modes, modes)
        power -= 2 * jnp.einsum("tab,a,b->t", paths, mean, mean) ** 2
    else:
        power = jax.lax.map(lambda path: jnp.var(jnp.einsum("ia,ab,ib->i", rows, path, rows)), paths)
    return variance + at.lengths @ power / batch_size


def _label_noise(part: Part, count: Float[Array, "c n"], at: Epoch) -> Float[Array, " n"]:
    """Σ over the epoch of the squares of what label noise meets in each mode, less what cancels within the epoch.

    It meets the error times what that counts. The mean of the error is the same in every run, so that of its course
    only the departure from its mean over the epoch counts. The rest comes and goes within 1/pull steps, and where it
    stays, of what it counts only the departure from the mean is felt.
    """
    modes, steps = part.rule.eigenvalues, at.cells[:, None]
    decay = jnp.exp(part.before + steps * log_kept(part.sooner[:, None] * modes))
    path = _uncancelled(count * decay, at)
    chance = jnp.maximum(jnp.diagonal(part.second, axis1=1, axis2=2) - part.sure * decay**2, 0.0)
    felt = _share_felt(at.lengths @ part.rates * modes)
    squares = felt * count**2 + (1 - felt) * _uncancelled(count, at) ** 2
    return part.sure * (at.lengths @ path**2) + at.lengths @ (squares * chance)


def _uncancelled(values: Float[Array, "c ..."], at: Epoch) -> Float[Array, "c ..."]:
    """What noise that adds up to nothing in an epoch meets: the departure from the mean over its steps."""
    return values - jnp.tensordot(at.lengths, values, 1) / at.steps


def log_kept(pull: Any) -> Any:
    """log |1 - ρλ|, of a NumPy array or JAX's."""
    xp = pull.__array_namespace__()
    return xp.log(xp.maximum(xp.abs(1 - pull), 1e-150))


def _sum_of_powers(log: Array, count: Array) -> Array:
    """Σ_k e^(k log) over k < count."""
    moves = log != 0
    safe = jnp.where(moves, log, 1.0)
    return jnp.where(moves, jnp.expm1(count * safe) / jnp.expm1(safe), count)


def _pulled_back(part: Part, at: Epoch, mean_loss: bool) -> tuple[Float[Array, "c n"], Float[Array, " c"]]:
    """ρ times what the square of an error after each update counts in the loss; and u, what one before it counts.

    λ Π (1 - ρλ)² over the updates in between: in the loss at the asked epoch's end, or in any before its updates.
    """
    modes, after = part.rule.eigenvalues, (at.steps - 1 - at.cells)[:, None]
    pull, log = part.rates[:, None] * modes, log_kept(part.later[:, None] * modes)
    if not mean_loss:
        return pull * jnp.exp(2 * (after * log + part.to_end)), jnp.zeros_like(at.cells)
    own = _sum_of_powers(2 * log, after)
    later = jnp.exp(2 * (after * log + part.to_epoch)) * _sum_of_powers(2 * part.there, at.steps)
    share = jnp.where(at.own, 1.0, 0.0) / at.steps
    return pull * jnp.where(at.own, own, later) / at.steps, share + jnp.zeros_like(at.cells)


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
