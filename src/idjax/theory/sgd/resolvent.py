"""The z-transform of the second moments of minibatch SGD, at points z of the plane.

Of the map of `minibatch` each pair of modes is a 4 by 4 block, and tr(M E) and μᵀ E μ couple the pairs: one small
elimination for each pair and a 2 by 2 system for all. See docs/theory.md, section 10.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from idjax.theory.sgd.cauchy_sums import CauchySums
from idjax.theory.sgd.minibatch import Pairs, Second, Updates, kick, packed, pairs_of

NUMBERS_AT_ONCE = 2**14
"""Complex numbers of pairs at some z that are worked on at once: 256 KiB of them stay in the cache."""

Array = Any
"""Real or complex NumPy arrays: pyright knows no .real of them."""


def _applied(forms: Array, values: Array) -> Array:
    """Real forms (*s, k, P) on complex values (N, P), (*s, k, N), as real products."""
    return forms @ values.real.T + 1j * (forms @ values.imag.T)


def _reciprocal(z: Array) -> Array:
    """1/z. Complex quotients guard against overflow of |z|², which is no danger here, and are dear."""
    return np.conj(z) / (z.real**2 + z.imag**2)


def _circle(exponent: Array, sign: float) -> tuple[Array, Array]:
    """z = ± e^p and z - 1."""
    z = sign * np.exp(exponent)
    return z, np.expm1(exponent) if sign > 0 else z - 1


class SeenPairs(NamedTuple):
    """Some pairs of modes, forms (k, P) with the weight 2 off the diagonal, and starts (s, P).

    The first two forms are those that couple the modes, Λ and μμᵀ.
    """

    pairs: Pairs
    forms: Float[np.ndarray, "k P"]
    starts: Float[np.ndarray, "s P"]

    @property
    def moved(self) -> tuple[np.ndarray, np.ndarray]:
        """Every form on the free motion of the starts; on a kick λ_i in the diagonal, and one of μ_i μ_j in all."""
        pairs, forms, starts = self
        level = forms * np.where(pairs.diagonal, pairs.first, 0.0)
        return (forms * starts[:, None]).reshape(-1, forms.shape[1]), np.concatenate([level, -2 * forms * pairs.focus])


class TransformOfForms:
    """The z-transform of tr(Q E) of some starts, for the forms after the first two, at any z = ± e^p.

    parts gives the pairs of modes that are read, as often as asked, some at a time.
    """

    def __init__(self, rule: Updates, parts: Callable[[], Iterable[SeenPairs]], noise: Float[np.ndarray, " s"]):
        self._rule, self._parts, self._noise = rule, parts, noise
        self._sums: dict[float, CauchySums] = {}

    def at(self, exponent: Complex[np.ndarray, " N"], sign: float) -> Complex[np.ndarray, "s _ N"]:
        """The transform at z = ± e^p, (s, k - 2, N)."""
        z, distance = _circle(exponent, sign)
        seen = self._with_momentum(z, distance) if self._rule.momentum else self._plain(exponent, sign)
        starts = len(self._noise)
        free, kicked = seen.reshape(starts + 2, -1, len(z))[:starts], seen.reshape(starts + 2, -1, len(z))[starts:]
        spread, focus = kicked
        free = free + spread * (self._noise[:, None] / distance)[:, None]
        level, centre = couple(free[:, 0], free[:, 1], spread, focus)
        return free[:, 2:] + spread[2:] * level[:, None] + focus[2:] * centre[:, None]

    def _plain(self, exponent: Array, sign: float) -> Array:
        if sign not in self._sums:
            parts = (self._weights_and_points(part, sign) for part in self._parts())
            self._sums[sign] = CauchySums(*next(parts), parts)
        return self._sums[sign].at(np.expm1(exponent))

    def _weights_and_points(self, part: SeenPairs, sign: float) -> tuple[np.ndarray, np.ndarray]:
        rate, pairs = self._rule.rate, part.pairs
        change = -rate * (pairs.first + pairs.second) + rate**2 * (1 + pairs.noise) * pairs.first * pairs.second
        on_start, on_kick = part.moved
        # Seen from z = -1, where modes that alternate are, every step is turned round.
        points = change if sign > 0 else -2 - change
        return sign * np.concatenate([on_start, on_kick * (rate**2 * pairs.noise)]), points

    def _with_momentum(self, z: Array, distance: Array) -> Array:
        size, totals = max(1, NUMBERS_AT_ONCE // len(z)), []
        for seen in self._parts():
            on_start, on_kick = seen.moved
            for first in range(0, on_start.shape[1], size):
                part = slice(first, first + size)
                own, kicked = _errors(self._rule, z, distance, Pairs(*(each[part] for each in seen.pairs)))
                total = np.concatenate([_applied(on_start[:, part], own), _applied(on_kick[:, part], kicked)])
                totals = [totals[0] + total] if totals else [total]
        return totals[0]


def transform_of_state(
    rule: Updates, state: Second, noise: float, exponent: Complex[np.ndarray, " N"], sign: float
) -> Complex[np.ndarray, "4 N P"]:
    """The z-transform of the whole state from any start: a few nodes at a time, which stay in the cache."""
    pairs, right = pairs_of(rule), packed(state)

    def at(exponent: np.ndarray) -> np.ndarray:
        z, distance = _circle(exponent, sign)
        return coupled(rule, z, distance, pairs, right, noise / distance)

    size = max(1, NUMBERS_AT_ONCE // rule.eigenvalues.size**2)
    return np.concatenate([at(exponent[first : first + size]) for first in range(0, len(exponent), size)], axis=1)


def coupled(
    rule: Updates, z: Array, distance: Array, pairs: Pairs, right: Float[np.ndarray, "4 P"], noise: Array
) -> Array:
    """(z - L)⁻¹ (right + the kicks of so much label noise) for the map L of all pairs together, (4, N, P).

    distance is z - 1; pairs are all, or those of `pairs_read`.
    """
    moments = np.stack(resolvent(rule, z, distance, pairs, np.stack([right, kick(rule, pairs)], axis=1)))
    free, kicked = moments[:, 0], moments[:, 1]
    spread = np.where(pairs.diagonal, pairs.first, 0.0) * kicked
    focus = -2 * pairs.focus * kicked
    free = free + spread * noise[:, None]
    diagonal = np.flatnonzero(pairs.diagonal)

    def read(moments: np.ndarray) -> np.ndarray:
        """tr(M S) and μᵀ S μ at every z."""
        ee = moments[0]
        return np.stack([ee[:, diagonal] @ rule.eigenvalues, ee @ (pairs.twice * pairs.focus)])

    own = read(free)
    level, centre = couple(own[0], own[1], read(spread), read(focus))
    return free + spread * level[:, None] + focus * centre[:, None]


def couple(level: Array, centre: Array, spread: Array, focus: Array) -> tuple[Array, Array]:
    """Solves level = level₀ + spread₀ level + focus₀ centre, centre = centre₀ + spread₁ level + focus₁ centre."""
    determinant = (1 - spread[0]) * (1 - focus[1]) - focus[0] * spread[1]
    return (
        (level * (1 - focus[1]) + focus[0] * centre) / determinant,
        (centre * (1 - spread[0]) + spread[1] * level) / determinant,
    )


class _Eliminated(NamedTuple):
    """z - T of every pair of modes, eliminated: ev and ve from ee and kicks, ee by its pivot; (N, P) or (N, 1) each."""

    own: Array
    cross: Array
    first_row: Array
    second_row: Array
    across: Array
    by_error: tuple[Array, Array]
    to_errors: tuple[Array, Array]
    twice: Array
    inverse: Array

    def mixed(self, pairs: Pairs, right_ev: Array, right_ve: Array) -> tuple[Array, Array]:
        """ev and ve that these right-hand sides make alone."""
        return (
            self.first_row * right_ev + self.across * pairs.second * right_ve,
            self.second_row * right_ve + self.across * pairs.first * right_ev,
        )


def _eliminate(rule: Updates, z: Array, distance: Array, pairs: Pairs) -> _Eliminated:
    z, distance = z[:, None], distance[:, None]
    to_error, through = rule.throughs
    kept = rule.momentum
    first, second = pairs.first, pairs.second
    noisy = (1 + pairs.noise) * first * second
    # vv = own (β (λ₁ ev + λ₂ ve) + noisy ee + vv₀).
    own = _reciprocal(z - kept**2)
    cross = to_error * kept * own
    # Then ev and ve from ee: a 2 by 2 system.
    here = through + cross
    leak = to_error + cross * kept
    from_first, from_second = z - kept - here * kept * first, z - kept - here * kept * second
    scale = _reciprocal(from_first * from_second - leak**2 * first * second)
    first_row, second_row, across = from_second * scale, from_first * scale, leak * scale
    right_ev, right_ve = second + here * noisy, first + here * noisy
    by_error = (
        first_row * right_ev + across * second * right_ve,
        second_row * right_ve + across * first * right_ev,
    )
    # Then ee.
    to_errors = to_error * (1 + here * first), to_error * (1 + here * second)
    twice = to_error**2 * own
    pivot = distance - through * (first + second) - (through**2 + twice) * noisy
    pivot = pivot - to_errors[0] * by_error[0] - to_errors[1] * by_error[1]
    return _Eliminated(own, cross, first_row, second_row, across, by_error, to_errors, twice, _reciprocal(pivot))


def _errors(rule: Updates, z: Array, distance: Array, pairs: Pairs) -> tuple[Array, Array]:
    """ee of (z - T)⁻¹, (N, P): of a start ee = 1 alone, and of a kick."""
    solved = _eliminate(rule, z, distance, pairs)
    _, through = rule.throughs
    here = (through + solved.cross) * pairs.noise
    later = solved.mixed(pairs, here, here)
    kicked = (through**2 + solved.twice) * pairs.noise + solved.to_errors[0] * later[0] + solved.to_errors[1] * later[1]
    return solved.inverse, kicked * solved.inverse


def resolvent(
    rule: Updates,
    z: Array,
    distance: Array,
    pairs: Pairs,
    right: Float[np.ndarray, "4 R P"],
) -> tuple[Array, Array, Array, Array]:
    """(z - T)⁻¹ right for the 4 by 4 map T of every pair of modes: ee, e₁v₂, e₂v₁ and vv, (R, N, P) each.

    distance is z - 1, which z alone would have rounded. v goes first and e last: in that order slow modes, whose
    e hardly moves, lose no digits. See docs/theory.md (45).
    """
    solved = _eliminate(rule, z, distance, pairs)
    ee, ev, ve, vv = right[:, :, None]
    by_right = solved.mixed(pairs, ev + solved.cross * vv, ve + solved.cross * vv)
    to_first, to_second = solved.to_errors
    error = (ee + solved.twice * vv + to_first * by_right[0] + to_second * by_right[1]) * solved.inverse
    later = solved.by_error[0] * error + by_right[0], solved.by_error[1] * error + by_right[1]
    noisy = (1 + pairs.noise) * pairs.first * pairs.second
    velocity = solved.own * (rule.momentum * (pairs.first * later[0] + pairs.second * later[1]) + noisy * error + vv)
    return error, *later, velocity
