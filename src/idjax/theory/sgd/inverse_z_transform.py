"""Long horizons of a linear recursion from its z-transform, on a contour that every horizon of a window shares.

With û(z) = Σ_t u_t z^-(t+1), Cauchy's formula and z = e^p give

    u_t = (1/2πi) ∫ û(e^p) e^(p (t+1)) dp,

where the path may be bent around the singularities: for slow modes they sit on the negative real p axis, near 0.
The trapezoidal rule on a hyperbola converges geometrically in the number of nodes, for all t between t₀ and Λ t₀ at
once, and what it takes grows with the logarithm of Λ. See docs/theory.md, section 10. Source: López-Fernández, Palencia
and Schädle 2006, "A spectral order method for inverting sectorial Laplace transforms", SIAM J. Numer. Anal. 44;
Weideman and Trefethen 2007.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Complex, Float

SHORTEST = 32
"""The first horizon of the first window: shorter ones would bend the path beyond |Im p| = π."""
RATIO = 8.0
"""Last over first horizon of a window that is chosen without knowing which others will be asked for."""
INTERVALS = 16
"""Intervals of the rule for one horizon, and as many more for each factor of RATIO between the first and the last."""
_OPENING, _WIDTH = 0.85, 0.7


class Window(NamedTuple):
    """Horizons t, first ≤ t ≤ ratio · first, which are read off one evaluation of the transform."""

    first: float
    ratio: float = RATIO

    def holds(self, steps: Float[np.ndarray, " t"]) -> Bool[np.ndarray, " t"]:
        """Which of these horizons lie in it."""
        return (steps >= self.first) & (steps <= self.first * self.ratio)

    @property
    def nodes(self) -> Complex[np.ndarray, " N"]:
        """Where the transform is evaluated: z = e^p at these p."""
        return _rule(self)[0]

    def invert(
        self, transform: Complex[np.ndarray, "*k N"], steps: Float[np.ndarray, " t"]
    ) -> Float[np.ndarray, "*k t"]:
        """u_t for horizons of the window, from û at its nodes."""
        exponent, weight = _rule(self)
        return np.real((transform * weight) @ np.exp(np.outer(exponent, steps + 1)))


def window_over(first: float, last: float) -> Window:
    """One window of all horizons between these; of few ratios, for each number of nodes is compiled."""
    quarters = np.ceil(4 * np.log(max(last / first, 1.0)) / np.log(RATIO))
    return Window(first, float(RATIO ** (quarters / 4)))


def windows_of(steps: Float[np.ndarray, " t"], shortest: float) -> Iterator[Window]:
    """The windows of a fixed grid, from `shortest` on, that these horizons fall into, ascending."""
    number = np.searchsorted(shortest * RATIO ** np.arange(64), steps, side="right") - 1
    return (Window(shortest * RATIO ** int(k)) for k in np.unique(number[number >= 0]))


@functools.lru_cache(maxsize=256)
def _rule(window: Window) -> tuple[Complex[np.ndarray, " N"], Complex[np.ndarray, " N"]]:
    """Nodes p and weights of a window: u_t ≈ Re Σ weight e^(p (t+1)) û(e^p).

    The hyperbola p = λ (1 - sin(α + iu)), at equidistant u. λ and the spacing balance the error of the rule
    against rounding, ε. For modes (1-θ)^t, 0 ≤ θ ≤ 0.5, the error is 3e-13, at ratios from 1 to 4096.
    """
    first, ratio = window
    intervals = int(np.ceil(INTERVALS * (1 + np.log(ratio) / np.log(RATIO))))
    share = np.linspace(0.02, 0.98, 200)
    reach = np.arccosh(ratio / ((1 - share) * np.sin(_OPENING)))
    decay = np.exp(-2 * np.pi * _WIDTH * intervals / reach)
    best = np.argmin(np.finfo(float).eps * decay ** (share - 1) + decay**share)
    scale = 2 * np.pi * _WIDTH * intervals * (1 - share[best]) / (first * ratio * reach[best])
    spacing = reach[best] / intervals
    angle = _OPENING + 1j * spacing * np.arange(intervals + 1)
    # The lower half is the conjugate of the upper one: only the node on the axis counts once.
    halves = np.append(1.0, np.full(intervals, 2.0))
    return scale * (1 - np.sin(angle)), spacing * scale / (2 * np.pi) * np.cos(angle) * halves
