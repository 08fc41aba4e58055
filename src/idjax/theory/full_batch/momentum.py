"""Full-batch descent with momentum on a quadratic loss, exact at any step.

Mode i of the error follows e' = K e with e = (error, velocity) and, for η h the learning rate times the mode's rate,

    K = [[1 - η h, -η β], [h, β]]  (heavy ball),   K = [[1 - η h (1 + β), -η β²], [h, β]]  (Nesterov);

the error after t steps is the first component of Kᵗ (e₀, 0). See docs/theory.md, section 11. Sources: Polyak 1964;
Nesterov 1983; Lessard, Recht and Packard 2016 for the best Nesterov rate on a quadratic.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Best(NamedTuple):
    """The learning rate and momentum that learn fastest, and the factor that remains of the slowest mode a step."""

    learning_rate: float
    momentum: float
    factor: float


@np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore")
def shrink_factors(
    rates: Float[np.ndarray, "*g n"],
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    steps: Float[np.ndarray, "*t"] | float,
) -> Float[np.ndarray, "..."]:
    """[Kᵗ]₀₀, what remains of each mode after t steps, for every t in `steps`: shape (*t, *g, n).

    With the eigenvalues z₁, z₂ of K it is z₁ᵗ + (K₀₀ - z₁) D, D = (z₁ᵗ - z₂ᵗ) / (z₁ - z₂); docs/theory.md (52). Of slow
    modes 1 - z₁ is computed by itself, so that t may be as large as it likes.
    """
    pull = learning_rate * rates
    ahead = 1 + momentum if nesterov else 1.0
    steps = np.asarray(steps, np.float64)[(...,) + (None,) * pull.ndim]
    # 1 - z solves w² - sum w + η h = 0.
    total = 1 - momentum + ahead * pull
    root = np.sqrt((total**2 - 4 * pull).astype(np.complex128))
    # The larger of the two sums loses no digits, and the product of the roots is η h.
    far = (total + np.where(total >= 0, root, -root)) / 2
    near = np.where(far == 0, 0.0, pull / np.where(far == 0, 1.0, far))
    # D counts from the eigenvalue of larger size; near a double root expm1 keeps what z₁ᵗ - z₂ᵗ would lose.
    swap = np.abs(1 - far) > np.abs(1 - near)
    base, other = np.where(swap, far, near), np.where(swap, near, far)
    gap, eigenvalue = other - base, 1 - base
    dead, double = eigenvalue == 0, gap == 0
    log_ratio = _log1p(-gap / np.where(dead, 1.0, eigenvalue))
    vanished = np.isneginf(np.real(log_ratio))
    ratio = -np.expm1(steps * np.where(vanished, 0.0, log_ratio)) / np.where(double, 1.0, gap)
    ratio = np.where(vanished, np.where(steps == 0, 0.0, 1 / np.where(double, 1.0, gap)), ratio)
    ratio = np.where(double, steps / np.where(dead, 1.0, eigenvalue), ratio)
    power = np.where(steps == 0, 1.0, np.where(dead, 0.0, np.exp(steps * _log1p(np.where(dead, 0.0, -base)))))
    divided = np.where(dead, np.where(steps == 1, 1.0, 0.0), power * ratio)
    # K₀₀ - z₁ = (1 - ahead η h) - (1 - base).
    return np.real(power + (base - ahead * pull) * divided)


def max_learning_rate(rates: Float[np.ndarray, "*n"], momentum: float, nesterov: bool) -> float:
    """2 (1 + β)/h₁, and 2 (1 + β)/((1 + 2 β) h₁) for Nesterov: beyond it full-batch descent diverges.

    inf where nothing moves.
    """
    fastest = float(np.max(rates))
    limit = 2 * (1 + momentum) / fastest if fastest > 0 else math.inf
    return limit / (1 + 2 * momentum) if nesterov else limit


def best_learning_rate(rates: Float[np.ndarray, "*n"], momentum: float, nesterov: bool) -> float:
    """The learning rate that learns fastest at this momentum: heavy ball 2 (1 + β)/(h₁ + h_n), Nesterov by search.

    Fastest is the least of max |z| over the slowest and the fastest mode, z the eigenvalues of K. inf where nothing
    moves.
    """
    largest, smallest = _ends(rates)
    if largest == 0:
        return math.inf
    if not nesterov or momentum == 0:
        return 2 * (1 + momentum) / (largest + smallest)
    shares = np.geomspace(1e-3, 1.0, 2000) * max_learning_rate(rates, momentum, nesterov)
    pull = shares * np.array([[largest], [smallest]])
    total = (1 + momentum) * (1 - pull)
    root = np.sqrt((total**2 - 4 * momentum * (1 - pull)).astype(np.complex128))
    radius = np.max(np.maximum(np.abs(total + root), np.abs(total - root)) / 2, axis=0)
    return float(shares[np.argmin(radius)])


def best(rates: Float[np.ndarray, "*n"], nesterov: bool) -> Best:
    """The fastest learning rate and momentum for this spectrum, of largest rate h₁ and smallest (not 0) h_n.

    Heavy ball: η = 4/(√h₁ + √h_n)², β = ((√κ - 1)/(√κ + 1))², factor √β, with κ = h₁/h_n. Nesterov:
    η = 4/(3 h₁ + h_n), β = (√(3κ + 1) - 2)/(√(3κ + 1) + 2), factor 1 - 2/√(3κ + 1).
    """
    largest, smallest = _ends(rates)
    if largest == 0:
        return Best(math.inf, 0.0, 0.0)
    if nesterov:
        root = (3 * largest / smallest + 1) ** 0.5
        return Best(4 / (3 * largest + smallest), (root - 2) / (root + 2), 1 - 2 / root)
    root = (largest / smallest) ** 0.5
    momentum = ((root - 1) / (root + 1)) ** 2
    return Best(4 / (largest**0.5 + smallest**0.5) ** 2, momentum, momentum**0.5)


def _ends(rates: Float[np.ndarray, "*n"]) -> tuple[float, float]:
    """The largest rate and the smallest that is not 0."""
    return float(np.max(rates)), float(np.min(rates, where=rates > 0, initial=np.inf))


def _log1p(z: np.ndarray) -> np.ndarray:
    """log(1 + z) of complex z; -inf at -1."""
    x, y = np.real(z), np.imag(z)
    return 0.5 * np.log1p(x * (2 + x) + y**2) + 1j * np.arctan2(y, 1 + x)
