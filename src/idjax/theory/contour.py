"""Long horizons of a linear recursion from its z-transform, on a contour that every horizon of a window shares.

With û(z) = Σ_t u_t z^-(t+1), Cauchy's formula and z = e^p give

    u_t = (1/2πi) ∫ û(e^p) e^(p (t+1)) dp,

where the path may be bent around the singularities: for slow modes they sit on the negative real p axis, near 0.
The trapezoidal rule on a hyperbola converges geometrically in the number of nodes, for all t between t₀ and Λ t₀ at
once. See docs/theory.md, section 10. Source: López-Fernández, Palencia and Schädle 2006, "A spectral order method
for inverting sectorial Laplace transforms", SIAM J. Numer. Anal. 44; Weideman and Trefethen 2007.
"""

import functools

import numpy as np
from jaxtyping import Complex, Float, Int

SHORTEST = 32
"""The first horizon of the first window: shorter ones would bend the path beyond |Im p| = π."""
RATIO = 8
"""Λ, last over first horizon of a window."""
INTERVALS = 32
_OPENING, _WIDTH = 0.85, 0.7


def windows_of(steps: Float[np.ndarray, " t"], shortest: float) -> Int[np.ndarray, " t"]:
    """The number of the window that each horizon falls into: window k begins at shortest · Λᵏ; -1 before window 0."""
    return np.searchsorted(shortest * float(RATIO) ** np.arange(64), steps, side="right") - 1


@functools.cache
def nodes(first: float) -> tuple[Complex[np.ndarray, " N"], Complex[np.ndarray, " N"]]:
    """Nodes p and weights of the horizons from `first` to RATIO times that: u_t ≈ Re Σ weight e^(p (t+1)) û(e^p).

    The hyperbola p = λ (1 - sin(α + iu)), at equidistant u. λ and the spacing balance the error of the rule
    against rounding, ε. For modes (1-θ)^t, 0 ≤ θ ≤ 0.5, the error is 2e-13.
    """
    share = np.linspace(0.02, 0.98, 200)
    reach = np.arccosh(RATIO / ((1 - share) * np.sin(_OPENING)))
    decay = np.exp(-2 * np.pi * _WIDTH * INTERVALS / reach)
    best = np.argmin(np.finfo(float).eps * decay ** (share - 1) + decay**share)
    scale = 2 * np.pi * _WIDTH * INTERVALS * (1 - share[best]) / (first * RATIO * reach[best])
    spacing = reach[best] / INTERVALS
    angle = _OPENING + 1j * spacing * np.arange(INTERVALS + 1)
    # The lower half is the conjugate of the upper one: only the node on the axis counts once.
    halves = np.append(1.0, np.full(INTERVALS, 2.0))
    return scale * (1 - np.sin(angle)), spacing * scale / (2 * np.pi) * np.cos(angle) * halves


def invert(
    transform: Complex[np.ndarray, "*k N"], first: float, steps: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "*k t"]:
    """u_t for every t of `steps`, which lie in the window that begins at `first`, from û at that window's nodes."""
    exponent, weight = nodes(first)
    return np.real((transform * weight) @ np.exp(np.outer(exponent, steps + 1)))
