"""Gradient descent on a quadratic loss, exact in discrete time and never iterated.

Mode i of the error shrinks by 1 - η h_i a step. Any step number up to 1e15 costs the same, and rates too small
for 1 - η h to differ from 1 keep their full accuracy. See docs/theory.md, section 3.
"""

import numpy as np
from jaxtyping import Float


@np.errstate(divide="ignore", over="ignore", invalid="ignore")
def shrink_factors(
    rates: Float[np.ndarray, "*g n"], learning_rate: float, steps: Float[np.ndarray, "*t"] | float
) -> Float[np.ndarray, "..."]:
    """(1 - η h)^t for every step number in `steps`, shape (*t, *g, n).

    Evaluated as exp(t log|1 - η h|) with the sign kept for η h > 1.
    """
    scaled = learning_rate * rates
    steps = np.asarray(steps, np.float64)[(...,) + (None,) * scaled.ndim]
    size = np.where(steps == 0, 1.0, np.exp(np.where(steps == 0, 0.0, steps * _log_factor(scaled))))
    return np.where((scaled > 1) & (np.mod(steps, 2) == 1), -size, size)


@np.errstate(over="ignore", invalid="ignore")
def summed_factors(
    rates: Float[np.ndarray, "*g n"], learning_rate: float, steps: Float[np.ndarray, "*t"] | float
) -> Float[np.ndarray, "..."]:
    """Σ_{j<t} (1 - η h)^j = (1 - (1 - η h)^t) / (η h) for every step number in `steps`, shape (*t, *g, n); t if h = 0.

    Example:
      >>> float(summed_factors(np.array([0.5]), 1.0, 3.0)[0])  # 1 + 1/2 + 1/4
      1.75
    """
    scaled = learning_rate * rates
    after = shrink_factors(rates, learning_rate, steps)
    steps = np.asarray(steps, np.float64)[(...,) + (None,) * scaled.ndim]
    gone = np.where(scaled < 0.5, -np.expm1(steps * np.log1p(-np.minimum(scaled, 0.5))), 1 - after)
    return np.divide(gone, scaled, out=steps * np.ones_like(gone), where=scaled > 0)


def _log_factor(scaled: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """log|1 - s|, accurate for s near 0 and near 2."""
    below = np.log1p(-np.minimum(scaled, 1.0))
    above = np.log1p(np.maximum(scaled, 1.0) - 2.0)
    return np.where(scaled <= 1, below, above)
