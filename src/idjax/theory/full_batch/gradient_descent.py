"""Gradient descent on a quadratic loss, exact in discrete time and never iterated.

Mode i of the error shrinks by 1 - η h_i a step. Any step number up to 1e15 costs the same, and rates too small
for 1 - η h to differ from 1 keep their full accuracy. See docs/theory.md, section 3.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, ""] | float
"""A number, which may be traced."""


def shrink_factors(
    rates: Float[Array, "*g n"], learning_rate: Scalar, steps: Float[Array, "*t"] | float
) -> Float[Array, "..."]:
    """(1 - η h)^t for every step number in `steps`, shape (*t, *g, n).

    Evaluated as exp(t log|1 - η h|) with the sign kept for η h > 1.
    """
    scaled = learning_rate * rates
    steps = jnp.asarray(steps, scaled.dtype)[(...,) + (None,) * scaled.ndim]
    size = jnp.where(steps == 0, 1.0, jnp.exp(jnp.where(steps == 0, 0.0, steps * _log_factor(scaled))))
    return jnp.where((scaled > 1) & (jnp.mod(steps, 2) == 1), -size, size)


def epoch_mean_square(
    rates: Float[Array, "*g n"],
    learning_rate: Scalar,
    first_step: Float[Array, "*t"],
    steps: Scalar,
) -> Float[Array, "..."]:
    """Mean of (1 - η h)^(2t) over the `steps` step numbers t from each `first_step` on, shape (*t, *g, n).

    A geometric series: ρ^(2 t₀) (1 - ρ^(2S)) / (S (1 - ρ²)), through expm1 so that ρ may be as near 1 as it likes.
    """
    scaled = learning_rate * rates
    first_step = jnp.asarray(first_step, scaled.dtype)[(...,) + (None,) * scaled.ndim]
    double = 2 * _log_factor(scaled)
    # Where a step does not change a mode's square at all (η h = 0 or 2) the mean is 1; where one step
    # removes it (η h = 1) only step 0 counts. Both limits of the series are 0/0 or inf·0 as written.
    flat, dead = double == 0, jnp.isneginf(double)
    safe = jnp.where(flat | dead, -1.0, double)
    series = jnp.exp(first_step * safe) * jnp.expm1(steps * safe) / (steps * jnp.expm1(safe))
    return jnp.where(flat, 1.0, jnp.where(dead, jnp.where(first_step == 0, 1 / steps, 0.0), series))


def steps_to_shrink(rate: Float[Array, "*n"], learning_rate: Scalar, ratio: float) -> Float[Array, "*n"]:
    """Steps until a mode is `ratio` times smaller: ln(ratio) / -ln|1 - η h|; inf if it never is."""
    log_factor = _log_factor(learning_rate * rate)
    return jnp.where(log_factor < 0, jnp.log(ratio) / -jnp.where(log_factor < 0, log_factor, -1.0), jnp.inf)


def max_learning_rate(rates: Float[Array, "*n"]) -> Float[Array, ""]:
    """2/h₁: beyond it full-batch gradient descent diverges."""
    return 2 / jnp.max(rates)


def best_learning_rate(rates: Float[Array, "*n"]) -> Float[Array, ""]:
    """2/(h₁ + h_n), h_n the smallest nonzero rate: the single rate that learns fastest.

    Source: Polyak 1964, "Some methods of speeding up the convergence of iteration methods".
    """
    return 2 / (jnp.max(rates) + jnp.min(jnp.where(rates > 0, rates, jnp.inf)))


def _log_factor(scaled: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """log|1 - s|, accurate for s near 0 and near 2."""
    below = jnp.log1p(-jnp.minimum(scaled, 1.0))
    above = jnp.log1p(jnp.maximum(scaled, 1.0) - 2.0)
    return jnp.where(scaled <= 1, below, above)
