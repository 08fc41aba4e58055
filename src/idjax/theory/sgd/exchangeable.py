"""Exchangeable inputs: the expected loss of minibatch SGD in four numbers, so that a million runs are one call.

Gaussian inputs of one mean m and one deviation s, their own targets. The second moments of the errors, expected over
Glorot starts, commute with every rotation that fixes the mean: they are c on the p - 1 slow directions and a 2 by 2
block on the mean and the bias, E = (c, a, b, d). The recursion (42) without momentum is then a 4 by 4 map T, and T^t is
had by squaring, for steps up to 2^60. docs/sweeps.md, equations (E1) to (E6).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idjax.theory.sgd.minibatch import pair_noise

DOUBLINGS = 60
"""Steps are counted up to 2^60; what takes longer counts as never."""


class GaussianRuns(NamedTuple):
    """Runs side by side, each field of one shape: mean m, deviation s, learning rate η, batch B, rows N of an epoch.

    inputs: p, which are the outputs too.  rows: inf for batches that are drawn afresh.
    """

    mean: Float[Array, "*r"]
    deviation: Float[Array, "*r"]
    inputs: Float[Array, "*r"]
    learning_rate: Float[Array, "*r"]
    batch_size: Float[Array, "*r"]
    rows: Float[Array, "*r"]


class _Map(NamedTuple):
    """T apart from its diagonal, that diagonal, and what it falls short of 1, which keeps the digits of slow modes."""

    across: Float[Array, "4 4 *r"]
    kept: Float[Array, "4 *r"]
    lost: Float[Array, "4 *r"]


def modes(runs: GaussianRuns) -> tuple[Array, Array, Array, Array, Array]:
    """λ of the slow modes, the mean and the bias, and the angle's cosine and sine of the mean mode; (11), (E1)."""
    slow = runs.deviation**2
    across = jnp.sqrt(runs.inputs) * runs.mean
    power = slow + across**2
    root = jnp.hypot(power - 1, 2 * across)
    first = (power + 1 + root) / 2
    angle = jnp.arctan2(2 * across, power - 1) / 2
    return slow, first, slow / first, jnp.cos(angle), jnp.sin(angle)


def steps_to_learn(runs: GaussianRuns, learned_at: Float[Array, ""] | float = 0.99) -> Float[Array, "*r"]:
    """Updates until the expected explained variance reaches the level; inf if it does not within 2^60."""
    start, first, weights = _problem(runs)
    level = (1 - learned_at) * runs.deviation**2

    def loss(errors: Array) -> Array:
        return jnp.sum(weights * errors, axis=0)

    def ascend(power: _Map, _: None) -> tuple[_Map, _Map]:
        return _squared(power), power

    powers = jax.lax.scan(ascend, first, None, length=DOUBLINGS)[1]

    def descend(state: tuple[Array, Array], power: _Map) -> tuple[tuple[Array, Array], None]:
        errors, done = state
        later = _apply(power, errors)
        short = ~(loss(later) <= level)
        return (jnp.where(short, later, errors), 2 * done + short), None

    (_, done), _ = jax.lax.scan(descend, (start, jnp.zeros_like(level)), powers, reverse=True)
    reached = jnp.where(done >= 2.0**DOUBLINGS - 1, jnp.inf, done + 1)
    return jnp.where(loss(start) <= level, 0.0, reached)


def explained_variance(runs: GaussianRuns, steps: Float[Array, "*r"]) -> Float[Array, "*r"]:
    """The expected explained variance after so many whole updates, up to 2^60."""
    start, first, weights = _problem(runs)

    def advance(state: tuple[_Map, Array, Array], _: None) -> tuple[tuple[_Map, Array, Array], None]:
        power, errors, left = state
        errors = jnp.where(jnp.mod(left, 2) == 1, _apply(power, errors), errors)
        return (_squared(power), errors, jnp.floor(left / 2)), None

    (_, errors, _), _ = jax.lax.scan(advance, (first, start, steps), None, length=DOUBLINGS)
    return 1 - jnp.sum(weights * errors, axis=0) / runs.deviation**2


def _problem(runs: GaussianRuns) -> tuple[Array, _Map, Array]:
    """The errors of a Glorot start (E2), the map of one update (E4), and what each error adds to the loss (E3)."""
    slow, mean, bias, cosine, sine = modes(runs)
    start = jnp.stack([jnp.full_like(cosine, 2.0), 2 * cosine**2, -2 * cosine * sine, 2 * sine**2])
    zero, one = jnp.zeros_like(mean), jnp.ones_like(mean)
    power = jnp.stack([(runs.inputs - 1) * slow, mean, zero, bias])
    rate = 2 * runs.learning_rate / runs.inputs
    first, second = jnp.stack([slow, mean, mean, bias]), jnp.stack([slow, mean, bias, bias])
    noise = batch_noise(runs, rate * first, rate * second)
    towards = mean * sine, bias * cosine  # μ along the two modes
    both = jnp.stack([zero, towards[0] ** 2, towards[0] * towards[1], towards[1] ** 2])
    focus = both * jnp.stack([zero, one, 2 * one, one])
    on_diagonal = first * jnp.stack([one, one, zero, one])
    spread = rate**2 * noise[:, None] * (on_diagonal[:, None] * power - 2 * both[:, None] * focus)
    own = rate * (first + second) - rate**2 * (1 + noise) * first * second
    lost = own - _diagonal(spread)
    return start, _Map(_off_diagonal(spread), 1 - lost, lost), power / runs.inputs


def batch_noise(runs: GaussianRuns, first: Array, second: Array) -> Array:
    """ν of pairs of modes with these rates: 1/B of fresh batches, the share (49) of shuffled epochs, 0 of all rows."""
    finite = jnp.isfinite(runs.rows)
    steps = jnp.where(finite, jnp.ceil(runs.rows / runs.batch_size), jnp.inf)
    last = runs.rows - (steps - 1) * runs.batch_size
    # Noise goes as 1/B, and so does its mean over an epoch whose last batch is smaller.
    inverse = jnp.where(finite, ((steps - 1) / runs.batch_size + 1 / last) / steps, 1 / runs.batch_size)
    return jnp.where(runs.batch_size >= runs.rows, 0.0, inverse * pair_noise(first * steps, second * steps))


def _squared(power: _Map) -> _Map:
    """T², and 1 - T² on the diagonal by 2 d - d² - Σ T_ij T_ji, which keeps its digits where d is small (E5)."""
    across, kept, lost = power
    product = jnp.sum(across[:, :, None] * across[None], axis=1)
    around = _diagonal(product)
    beside = _off_diagonal(product) + across * (kept[:, None] + kept)
    less = lost * (2 - lost) - around
    # Squared again and again, the rounding of 1 - d would grow with the number of steps.
    return _Map(beside, jnp.where(jnp.abs(less) < 0.5, 1 - less, kept**2 + around), less)


def _apply(power: _Map, errors: Array) -> Array:
    """T e, as e - d e on the diagonal where d is small (E6)."""
    own = jnp.where(jnp.abs(power.lost) < 0.5, errors - power.lost * errors, power.kept * errors)
    return own + jnp.sum(power.across * errors, axis=1)


def _diagonal(matrix: Array) -> Array:
    return jnp.stack([matrix[i, i] for i in range(4)])


def _off_diagonal(matrix: Array) -> Array:
    mask = 1 - jnp.eye(4).reshape(4, 4, *[1] * (matrix.ndim - 2))
    return matrix * mask
