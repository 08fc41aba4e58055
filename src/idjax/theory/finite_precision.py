"""Updates that rounding drops, and what batches' noise lets pass, where weights of few digits are rounded to nearest.

Numbers near w are a unit u(w) = 2^(⌊log₂|w|⌋ + 1 - digits) apart, and an update below u/2 is dropped. So descent on
the full batch stalls, long before its gradient is 0. Where the batches' noise ζ is not small beside u it carries the
weights over the gap now and then, and the mean update passes in part: noise of this kind is called dither.
See docs/theory.md, section 14. Sources: Goldberg 1991; Gray and Stockham 1993, "Dithered quantizers".
"""

import numpy as np
from jaxtyping import Bool, Float

DIGITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
SMALLEST = {"float16": 2.0**-14}
"""The smallest normal number, below which the unit shrinks no more; 2^-126, that of float32, if not given."""
LARGEST, TINIEST = 65504.0, 2.0**-24
"""The largest and the smallest number of float16."""


def unit(weights: Float[np.ndarray, "..."], dtype: str) -> Float[np.ndarray, "..."]:
    """u(w), the distance between neighbouring numbers of this dtype at |w|; docs/theory.md (121)."""
    _, exponent = np.frexp(np.maximum(np.abs(weights), SMALLEST.get(dtype, 2.0**-126)))
    return np.ldexp(np.ones_like(weights), exponent - DIGITS[dtype])


def lost(weights: Float[np.ndarray, "..."], updates: Float[np.ndarray, "..."], dtype: str) -> Bool[np.ndarray, "..."]:
    """Whether an update is dropped: |Δ| < u(w)/2, or a quarter of u where w is a power of 2; docs/theory.md (122)."""
    gap = unit(weights, dtype)
    # Towards 0 the numbers below a power of 2 are twice as close.
    closer = (np.abs(np.frexp(weights)[0]) == 0.5) & ((weights < 0) != (updates < 0))
    return np.abs(updates) < np.where(closer, gap / 4, gap / 2)


def passed(noise: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """d E[round(w + Δ) - w]/d E[Δ] at a mean update of 0, for Gaussian Δ of deviation ζ = noise · u; (123).

    Σ_j φ((j + ½)/r)/r over all whole j; by Poisson's formula 1 + 2 Σ_k (-1)^k exp(-2 π² k² r²). From 0 where noise is
    small, by way of a half at 0.26 units, to 1.
    """
    r = noise[..., None]
    # Both sums are short on their side of r = ½: e^-24 is left out of the one, e^-78 of the other.
    j, k = np.arange(3.0) + 0.5, np.arange(1.0, 4.0)
    small = np.clip(r, 1e-3, 0.5)
    few = 2 * np.sum(np.exp(-(j**2) / (2 * small**2)), axis=-1) / (small[..., 0] * np.sqrt(2 * np.pi))
    waves = np.sum(np.exp(-2 * np.pi**2 * k**2 * r**2) * (-1.0) ** k, axis=-1)
    return np.where(r[..., 0] < 0.5, few, 1 + 2 * waves)


@np.errstate(invalid="ignore")
def descent_passed(
    weights: Float[np.ndarray, "t n q"],
    updates: Float[np.ndarray, "t n q"],
    noise: Float[np.ndarray, "t n q"],
    dtype: str,
    held: Float[np.ndarray, "t n q"] | float = 1.0,
) -> Float[np.ndarray, " t"]:
    """The share of the descent, Σ Δ² over the weights' mean updates Δ, that rounding lets pass; NaN where none is left.

    noise is the deviation ζ of each update. Updates of half a unit and more pass by themselves. held: the share of each
    gradient that rounding has left.
    """
    share = 1.0 - lost(weights, updates, dtype)
    for index in np.flatnonzero(noise.any(axis=(1, 2))):
        share[index] = np.maximum(share[index], passed(noise[index] / unit(weights[index], dtype)))
    return np.sum(held * share * updates**2, axis=(1, 2)) / np.sum(updates**2, axis=(1, 2))


def gradients_held(
    gradients: Float[np.ndarray, "*n"], noise: Float[np.ndarray, "*n"], loss_scale: float
) -> Float[np.ndarray, "*n"]:
    """The share of each mean gradient that float16 holds where the loss is multiplied by a scale; docs/theory.md (126).

    None of it below half of float16's smallest number, 2^-24, unless the batches' noise carries it over.
    """
    smallest = TINIEST / loss_scale
    return np.maximum(np.abs(gradients) >= smallest / 2, np.where(noise > 0, passed(noise / smallest), 0.0))


def noise_after(
    weights: Float[np.ndarray, "n q"],
    rates: Float[np.ndarray, "g n"],
    learning_rate: float,
    steps: float,
    dtype: str,
) -> float:
    """The loss that dithered rounding has added after so many updates; docs/theory.md (124).

    Every update is off by an error of variance u²/12, independent of the last, in all directions alike: mode k of
    rate h_k = (2/q) ω λ_k has Σ_ij u_ij²/n (1 - e^(-2 η h_k t))/(48 η), in the end Σ_ij u_ij²/(48 η) over all modes
    that move. For rates far below the largest stable one.
    """
    spread = np.mean(unit(weights, dtype) ** 2, axis=0)
    settled = -np.expm1(-2 * learning_rate * rates * steps)
    return float(np.sum(np.mean(settled, axis=0)) * np.sum(spread) / (48 * learning_rate))
