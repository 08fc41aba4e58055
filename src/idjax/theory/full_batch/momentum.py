"""Full-batch descent with momentum on a quadratic loss, exact at any step.

Mode i of the error follows e' = K e with e = (error, velocity) and, for η h the learning rate times the mode's rate,

    K = [[1 - η h, -η β], [h, β]]  (heavy ball),   K = [[1 - η h (1 + β), -η β²], [h, β]]  (Nesterov);

the error after t steps is the first component of Kᵗ (e₀, 0). See docs/theory.md, section 11. Sources: Polyak 1964;
Nesterov 1983; Lessard, Recht and Packard 2016 for the best Nesterov rate on a quadratic.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idjax.theory.full_batch.gradient_descent import Scalar


class Best(NamedTuple):
    """The learning rate and momentum that learn fastest, and the factor that remains of the slowest mode a step."""

    learning_rate: float
    momentum: float
    factor: float


def shrink_factors(
    rates: Float[Array, "*g n"],
    learning_rate: Scalar,
    momentum: Scalar,
    nesterov: bool,
    steps: Float[Array, "*t"] | float,
) -> Float[Array, "..."]:
    """[Kᵗ]₀₀, what remains of each mode after t steps, for every t in `steps`: shape (*t, *g, n).

    With the eigenvalues z₁, z₂ of K it is z₁ᵗ + (K₀₀ - z₁) D, D = (z₁ᵗ - z₂ᵗ) / (z₁ - z₂); docs/theory.md (52). Of slow
    modes 1 - z₁ is computed by itself, so that t may be as large as it likes.
    """
    pull = learning_rate * rates
    ahead = jnp.where(nesterov, 1 + momentum, 1.0)
    steps = jnp.asarray(steps, pull.dtype)[(...,) + (None,) * pull.ndim]
    # 1 - z solves w² - sum w + η h = 0.
    total = 1 - momentum + ahead * pull
    root = jnp.sqrt(jnp.asarray(total**2 - 4 * pull, jnp.result_type(pull.dtype, jnp.complex64)))
    # The larger of the two sums loses no digits, and the product of the roots is η h.
    far = (total + jnp.where(total >= 0, root, -root)) / 2
    near = jnp.where(far == 0, 0.0, pull / jnp.where(far == 0, 1.0, far))
    # D counts from the eigenvalue of larger size; near a double root expm1 keeps what z₁ᵗ - z₂ᵗ would lose.
    swap = jnp.abs(1 - far) > jnp.abs(1 - near)
    base, other = jnp.where(swap, far, near), jnp.where(swap, near, far)
    gap, eigenvalue = other - base, 1 - base
    dead, double = eigenvalue == 0, gap == 0
    log_ratio = _log1p(-gap / jnp.where(dead, 1.0, eigenvalue))
    vanished = jnp.isneginf(jnp.real(log_ratio))
    ratio = -jnp.expm1(steps * jnp.where(vanished, 0.0, log_ratio)) / jnp.where(double, 1.0, gap)
    ratio = jnp.where(vanished, jnp.where(steps == 0, 0.0, 1 / jnp.where(double, 1.0, gap)), ratio)
    ratio = jnp.where(double, steps / jnp.where(dead, 1.0, eigenvalue), ratio)
    power = jnp.where(steps == 0, 1.0, jnp.where(dead, 0.0, jnp.exp(steps * _log1p(jnp.where(dead, 0.0, -base)))))
    divided = jnp.where(dead, jnp.where(steps == 1, 1.0, 0.0), power * ratio)
    # K₀₀ - z₁ = (1 - ahead η h) - (1 - base).
    return jnp.real(power + (base - ahead * pull) * divided)


def max_learning_rate(rates: Float[Array, "*n"], momentum: Scalar, nesterov: bool) -> Float[Array, ""]:
    """2 (1 + β)/h₁, and 2 (1 + β)/((1 + 2 β) h₁) for Nesterov: beyond it full-batch descent diverges."""
    limit = 2 * (1 + momentum) / jnp.max(rates)
    return limit / (1 + 2 * momentum) if nesterov else limit


def best_learning_rate(rates: Float[Array, "*n"], momentum: float, nesterov: bool) -> Float[Array, ""]:
    """The learning rate that learns fastest at this momentum: heavy ball 2 (1 + β)/(h₁ + h_n), Nesterov by search.

    Fastest is the least of max |z| over the slowest and the fastest mode, z the eigenvalues of K.
    """
    largest, smallest = jnp.max(rates), jnp.min(jnp.where(rates > 0, rates, jnp.inf))
    if not nesterov or momentum == 0:
        return 2 * (1 + momentum) / (largest + smallest)
    shares = jnp.geomspace(1e-3, 1.0, 2000) * max_learning_rate(rates, momentum, nesterov)
    pull = shares * jnp.stack([largest, smallest])[:, None]
    total = (1 + momentum) * (1 - pull)
    root = jnp.sqrt(jnp.asarray(total**2 - 4 * momentum * (1 - pull), jnp.complex128))
    radius = jnp.max(jnp.maximum(jnp.abs(total + root), jnp.abs(total - root)) / 2, axis=0)
    return shares[jnp.argmin(radius)]


def best(rates: Float[Array, "*n"], nesterov: bool) -> Best:
    """The fastest learning rate and momentum for this spectrum, of largest rate h₁ and smallest (not 0) h_n.

    Heavy ball: η = 4/(√h₁ + √h_n)², β = ((√κ - 1)/(√κ + 1))², factor √β, with κ = h₁/h_n. Nesterov:
    η = 4/(3 h₁ + h_n), β = (√(3κ + 1) - 2)/(√(3κ + 1) + 2), factor 1 - 2/√(3κ + 1).
    """
    largest, smallest = float(jnp.max(rates)), float(jnp.min(jnp.where(rates > 0, rates, jnp.inf)))
    if nesterov:
        root = (3 * largest / smallest + 1) ** 0.5
        return Best(4 / (3 * largest + smallest), (root - 2) / (root + 2), 1 - 2 / root)
    root = (largest / smallest) ** 0.5
    momentum = ((root - 1) / (root + 1)) ** 2
    return Best(4 / (largest**0.5 + smallest**0.5) ** 2, momentum, momentum**0.5)


def _log1p(z: Array) -> Array:
    """log(1 + z) of complex z; -inf at -1."""
    x, y = jnp.real(z), jnp.imag(z)
    return jax.lax.complex(0.5 * jnp.log1p(x * (2 + x) + y**2), jnp.arctan2(y, 1 + x))
