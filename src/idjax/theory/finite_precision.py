"""What is lost when updates are added to weights of few digits, rounded to nearest.

Numbers near w are a unit u(w) = 2^(⌊log₂|w|⌋ + 1 - digits) apart, and an update below u/2 is dropped. So descent on
the full batch stalls, long before its gradient is 0. Where the batches' noise ζ is not small beside u it carries the
weights over the gap now and then, and the mean update passes in part: noise of this kind is called dither.
See docs/theory.md, section 14. Sources: Goldberg 1991; Gray and Stockham 1993, "Dithered quantizers".
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

DIGITS = {"bfloat16": 8, "float32": 24, "float64": 53}
SMALLEST = 2.0**-126
"""The smallest normal number of bfloat16 and float32; below it their unit shrinks no more."""


def unit(weights: Float[Array, "..."], dtype: str) -> Float[Array, "..."]:
    """u(w), the distance between neighbouring numbers of this dtype at |w|; docs/theory.md (121)."""
    _, exponent = jnp.frexp(jnp.maximum(jnp.abs(weights), SMALLEST))
    return jnp.ldexp(jnp.ones_like(weights), exponent - DIGITS[dtype])


def lost(weights: Float[Array, "..."], updates: Float[Array, "..."], dtype: str) -> Bool[Array, "..."]:
    """Whether an update is dropped: |Δ| < u(w)/2, or a quarter of u where w is a power of 2; docs/theory.md (122)."""
    gap = unit(weights, dtype)
    # Towards 0 the numbers below a power of 2 are twice as close.
    closer = (jnp.frexp(jnp.abs(weights))[0] == 0.5) & (weights * updates < 0)
    return jnp.abs(updates) < jnp.where(closer, gap / 4, gap / 2)


def passed(noise: Float[Array, "..."]) -> Float[Array, "..."]:
    """d E[round(w + Δ) - w]/d E[Δ] at a mean update of 0, for Gaussian Δ of deviation ζ = noise · u; (123).

    Σ_j φ((j + ½)/r)/r over all whole j; by Poisson's formula 1 + 2 Σ_k (-1)^k exp(-2 π² k² r²). From 0 where noise is
    small, by way of a half at 0.26 units, to 1.
    """
    r = jnp.asarray(noise)[..., None]
    # Both sums are short on their side of r = ½: e^-24 is left out of the one, e^-78 of the other.
    j, k = jnp.arange(3.0) + 0.5, jnp.arange(1.0, 4.0)
    small = jnp.clip(r, 1e-3, 0.5)
    few = 2 * jnp.sum(jnp.exp(-(j**2) / (2 * small**2)), axis=-1) / (small[..., 0] * jnp.sqrt(2 * jnp.pi))
    waves = jnp.sum(jnp.exp(-2 * jnp.pi**2 * k**2 * r**2) * (-1.0) ** k, axis=-1)
    return jnp.where(r[..., 0] < 0.5, few, 1 + 2 * waves)


@functools.partial(jax.jit, static_argnames="dtype")
def descent_passed(
    weights: Float[Array, "t n q"], updates: Float[Array, "t n q"], noise: Float[Array, "t n q"], dtype: str
) -> Float[Array, " t"]:
    """The share of the descent, Σ Δ² over the weights' mean updates Δ, that rounding lets pass; NaN where none is left.

    noise is the deviation ζ of each update. Updates of half a unit and more pass by themselves.
    """

    def one(weights: Array, updates: Array, noise: Array) -> Array:
        share = jnp.maximum(passed(noise / unit(weights, dtype)), 1.0 - lost(weights, updates, dtype))
        return jnp.sum(share * updates**2) / jnp.sum(updates**2)

    return jax.lax.map(lambda point: one(*point), (weights, updates, noise))


@functools.partial(jax.jit, static_argnames="dtype")
def noise_after(
    weights: Float[Array, "n q"],
    rates: Float[Array, "g n"],
    learning_rate: Float[Array, ""] | float,
    steps: Float[Array, ""] | float,
    dtype: str,
) -> Float[Array, ""]:
    """The loss that dithered rounding has added after so many updates; docs/theory.md (124).

    Every update is off by an error of variance u²/12, independent of the last, in all directions alike: mode k of
    rate h_k = (2/q) ω λ_k has Σ_ij u_ij²/n (1 - e^(-2 η h_k t))/(48 η), in the end Σ_ij u_ij²/(48 η) over all modes
    that move. For rates far below the largest stable one.
    """
    spread = jnp.mean(unit(weights, dtype) ** 2, axis=0)
    settled = -jnp.expm1(-2 * learning_rate * rates * steps)
    return jnp.sum(jnp.mean(settled, axis=0)) * jnp.sum(spread) / (48 * learning_rate)
