"""Minibatch SGD at any step, without the steps before it: the z-transform of its second moments, inverted.

Of the map of `minibatch` each pair of modes is a 4 by 4 block, and tr(M E) and μᵀ E μ couple the pairs. So the
z-transform takes one small elimination for each pair and a 2 by 2 system for all; `inverse_z_transform` inverts it. See
docs/theory.md, section 10.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from idjax.theory.sgd import inverse_z_transform
from idjax.theory.sgd.minibatch import Second, Updates, at_start, expected, step

NUMBERS_AT_ONCE = 2**22
"""Complex numbers of the transform held at once, 64 MiB of them."""
STEPS_AT_ONCE = 10_000
"""Horizons read at once."""
MOST_DIRECT = 100_000
"""Steps that are iterated where the transform's path would meet oscillating modes; momentum 0.9995 needs as many."""


class Expectation:
    """tr(Q E_t), in expectation over batches, at any step t up to 1e18; docs/theory.md (43)-(48).

    The cost does not depend on t: horizons that are foretold, and else those within a factor of 8, share one evaluation
    of the transform. Short ones are iterated. Errors are 1e-12 of the start's.

    Args:
      rule: updates, stable in mean square.
      starts: second moments of the error at the start, (s, n, n), for s starts at once.
      noise: Σ_j σ_j² over the outputs that each start is summed over.
      forms: quadratic forms Q (k, n, n).
      foretold: the first and the last of the steps that will be asked for together; others may be, too.
    """

    def __init__(
        self,
        rule: Updates,
        starts: Float[np.ndarray, "s n n"],
        noise: Float[np.ndarray, " s"],
        forms: Float[np.ndarray, "k n n"],
        foretold: tuple[float, float] | None = None,
    ):
        self._rule, self._noise, self._starts, self._forms = rule, noise, starts, forms
        pairs = np.triu_indices(starts.shape[-1])
        twice = np.where(pairs[0] == pairs[1], 1.0, 2.0)
        level = np.diag(np.asarray(rule.eigenvalues))[None]
        focus = np.outer(rule.mean, rule.mean)[None]
        self._packed = np.concatenate([level, focus, forms])[:, *pairs] * twice, starts[:, *pairs]
        self._shape = len(starts), len(forms)
        self._transforms: dict[inverse_z_transform.Window, np.ndarray] = {}
        self._direct = np.empty((len(starts), len(forms), 0))
        self._momentum = float(rule.momentum) > 0
        self._shortest, self._alternates = shortest_jump(rule), alternates(rule)
        self._foretold = None
        if foretold is not None and foretold[1] > self._shortest:
            self._foretold = inverse_z_transform.window_over(max(foretold[0], self._shortest), foretold[1])

    def of(self, forms: Float[np.ndarray, "k n n"]) -> "Expectation":
        """The same run seen through other quadratic forms."""
        return Expectation(self._rule, self._starts, self._noise, forms)

    def at(self, steps: Float[np.ndarray, " t"]) -> Float[np.ndarray, "s k t"]:
        """tr(Q E_t) of every start and form, before the update of step t (t = 0 is the start)."""
        return self._read(steps, summed=False)

    def total(self, steps: Float[np.ndarray, " t"]) -> Float[np.ndarray, "s k t"]:
        """The sum of tr(Q E) over the steps before t."""
        return self._read(steps, summed=True)

    def mean(self, steps: Float[np.ndarray, " t"], length: int) -> Float[np.ndarray, "s k t"]:
        """The mean of tr(Q E) over the steps from t to t + length - 1."""
        direct = np.zeros(len(steps), bool)
        if self._foretold is not None:
            direct = self._foretold.holds(steps) & self._foretold.holds(steps + length)
        out = np.empty((*self._shape, len(steps)))
        # In one, for the difference of two sums loses digits late in a run.
        self._invert(out, self._foretold, steps, np.flatnonzero(direct), length)
        before, after = steps[~direct], steps[~direct] + length
        out[..., ~direct] = (self.total(after) - self.total(before)) / length
        return out

    def _read(self, steps: np.ndarray, summed: bool) -> np.ndarray:
        out = np.empty((*self._shape, len(steps)))
        short = steps < self._shortest
        if summed and not steps[short].any():
            out[..., short] = 0.0  # an empty sum needs no table
        elif short.any():
            table = self._iterated(int(steps[short].max()) + 1)
            if summed:
                table = np.concatenate([np.zeros_like(table[..., :1]), np.cumsum(table, axis=-1)], axis=-1)
            out[..., short] = table[..., steps[short].astype(int)]
        left = ~short
        if summed and np.count_nonzero(left) == 1:
            # By itself, for what others need would cost it digits.
            self._invert(out, inverse_z_transform.Window(float(steps[left][0]), 1.0), steps, np.flatnonzero(left), 0)
            return out
        if self._foretold is not None and not summed:
            chosen = left & self._foretold.holds(steps)
            self._invert(out, self._foretold, steps, np.flatnonzero(chosen), 1)
            left &= ~chosen
        for window in inverse_z_transform.windows_of(steps[left], self._shortest):
            self._invert(out, window, steps, np.flatnonzero(left & window.holds(steps)), 0 if summed else 1)
        return out

    def _iterated(self, count: int) -> np.ndarray:
        """The first steps of every start, (s, k, at least count)."""
        if self._direct.shape[-1] < count:
            length = max(32, 2 ** int(np.ceil(np.log2(count))))  # few lengths, for each is compiled
            self._direct = np.asarray(_first_values(self._rule, self._starts, self._noise, self._forms, length))
        return self._direct

    def _invert(
        self,
        out: np.ndarray,
        window: inverse_z_transform.Window | None,
        steps: np.ndarray,
        chosen: np.ndarray,
        length: int,
    ) -> None:
        """Writes the means over so many steps, from each of those chosen on; the sums before them if 0."""
        if window is None or not len(chosen):
            return
        exponent = window.nodes
        if window not in self._transforms:
            signs = (1.0, -1.0) if self._alternates else (1.0,)
            self._transforms[window] = np.stack([self._transformed(exponent, sign) for sign in signs])
        for part in np.array_split(chosen, 1 + len(chosen) // STEPS_AT_ONCE):
            out[..., part] = 0.0
            for sign, transform in zip((1.0, -1.0), self._transforms[window], strict=False):
                values = window.invert(transform * _running(exponent, sign, length), steps[part])
                out[..., part] += values if sign > 0 else values * np.where(np.mod(steps[part], 2) == 0, -1.0, 1.0)

    def _transformed(self, exponent: np.ndarray, sign: float) -> np.ndarray:
        """The transform at the nodes, a few at a time where there are many pairs of modes."""
        at_once = max(1, NUMBERS_AT_ONCE // self._packed[0].shape[1])
        parts = [exponent[i : i + at_once] for i in range(0, len(exponent), at_once)]
        transform = functools.partial(_transform, self._rule, *self._packed, self._noise)
        return np.concatenate([np.asarray(transform(part, sign, self._momentum)) for part in parts], axis=-1)


@functools.partial(jax.jit, static_argnames="steps")
def _first_values(rule: Updates, starts: Array, noise: Array, forms: Array, steps: int) -> Array:
    def one(start: Array, noise: Array) -> Array:
        return expected(rule, at_start(start), noise, forms, steps)[1].T

    return jax.vmap(one)(starts, noise)


def shortest_jump(rule: Updates) -> float:
    """Steps that have to be iterated before the transform's path may pass by the modes that oscillate, |z|² ≤ β."""
    momentum = float(rule.momentum)
    ringing = 76 / -np.log(momentum) if momentum > 0 else 0.0
    return float(min(max(inverse_z_transform.SHORTEST, np.ceil(ringing)), MOST_DIRECT))


def alternates(rule: Updates) -> bool:
    """Whether a mode changes its sign from step to step, and so has a singularity near z = -1."""
    return float(rule.rate * rule.eigenvalues[0]) * (1 + 2 * float(rule.momentum)) > 1


def advance(rule: Updates, state: Second, noise: float, form: Float[Array, "n n"], steps: int) -> tuple[Second, float]:
    """The second moments `steps` updates later, and the mean of tr(Q E) before each of these updates.

    Iterates if the steps are few, and inverts the z-transform of the whole state else.
    """
    if steps <= shortest_jump(rule):
        state, values = expected(rule, state, noise, form[None], steps)
        return state, float(jnp.mean(values))
    window = inverse_z_transform.Window(float(steps), 1.0)
    exponent = window.nodes
    pairs = np.triu_indices(rule.eigenvalues.size)
    weight = np.where(pairs[0] == pairs[1], 1.0, 2.0) * np.asarray(form)[pairs]
    moments, total = np.zeros((4, len(weight))), 0.0
    for sign in (1.0, -1.0) if alternates(rule) else (1.0,):
        transform, distance = (np.asarray(part) for part in _transformed_state(rule, state, noise, exponent, sign))
        parity = 1.0 if sign > 0 or steps % 2 else -1.0
        read = functools.partial(window.invert, steps=np.array([float(steps)]))
        moments += parity * read(np.moveaxis(transform, 1, 2))[..., 0]
        total += parity * read(transform[0] @ weight / distance)[0]
    ee, ev, vv = (np.zeros_like(np.asarray(form)) for _ in range(3))
    for square, upper, lower in ((ee, 0, 0), (ev, 1, 2), (vv, 3, 3)):
        square.T[pairs] = moments[lower]
        square[pairs] = moments[upper]
    return Second(jnp.asarray(ee), jnp.asarray(ev), jnp.asarray(vv)), total / steps


def moments_at(
    rule: Updates, state: Second, noise: float, steps: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "t n n"]:
    """E[e eᵀ] before the updates of these steps, counted from this state."""
    out = np.empty((len(steps), *state.ee.shape))
    shortest = shortest_jump(rule)
    short = steps < shortest
    if short.any():
        out[short] = np.asarray(_first_moments(rule, state, noise, int(shortest)))[steps[short].astype(int)]
    if short.all():
        return out
    chosen = np.flatnonzero(~short)
    window = inverse_z_transform.window_over(float(steps[chosen].min()), float(steps[chosen].max()))
    pairs = np.triu_indices(len(state.ee))
    values = np.zeros((len(pairs[0]), len(chosen)))
    for sign in (1.0, -1.0) if alternates(rule) else (1.0,):
        moments, _ = _transformed_state(rule, state, noise, window.nodes, sign)
        parity = np.where((sign > 0) | (np.mod(steps[chosen], 2) == 1), 1.0, -1.0)
        values += parity * window.invert(np.asarray(moments[0]).T, steps[chosen])
    for square, value in zip(chosen, values.T, strict=True):
        out[square][pairs] = value
        out[square].T[pairs] = value
    return out


@functools.partial(jax.jit, static_argnames="steps")
def _first_moments(rule: Updates, state: Second, noise: ArrayLike, steps: int) -> Array:
    def body(state: Second, _: None) -> tuple[Second, Array]:
        return step(rule, noise, state), state.ee

    return jax.lax.scan(body, state, None, length=steps)[1]


def _running(exponent: np.ndarray, sign: float, length: int) -> np.ndarray | float:
    """What a transform at z = ± e^p is multiplied by for means over so many steps: (z^length - 1) / (z - 1) / length.

    1/(z - 1) for sums over all steps before, where length is 0.
    """
    if length == 1:
        return 1.0
    distance = np.expm1(exponent) if sign > 0 else -np.exp(exponent) - 1
    if length == 0:
        return 1 / distance
    beyond = np.expm1(length * exponent) if sign > 0 else (-1.0) ** length * np.exp(length * exponent) - 1
    return beyond / distance / length


def _applied(forms: Array, values: Array) -> Array:
    """Real forms (*s, k, P) on complex values (N, P), (*s, k, N), as real products: XLA's complex ones are slow."""
    return jax.lax.complex(forms @ values.real.T, forms @ values.imag.T)


def _reciprocal(z: Array) -> Array:
    """1/z. Complex quotients guard against overflow of |z|², which is no danger here, and are dear."""
    return jnp.conj(z) / (z.real**2 + z.imag**2)


def _circle(exponent: Array, sign: float | Array) -> tuple[Array, Array]:
    """z = ± e^p and z - 1."""
    z = jnp.asarray(sign * jnp.exp(exponent))
    return z, jnp.where(jnp.asarray(sign) > 0, jnp.expm1(exponent), z - 1)


@functools.partial(jax.jit, static_argnames="momentum")
def _transform(
    rule: Updates, forms: Array, starts: Array, noise: Array, exponent: Array, sign: float | Array, momentum: bool
) -> Array:
    """The z-transform of tr(Q E) at z = ± e^p, (s, k, N), for the forms after the first two.

    forms and starts hold the upper triangle, forms with the weight 2 off the diagonal; the first two forms are
    those that couple the modes, Λ and μμᵀ.
    """
    i, j = np.triu_indices(rule.eigenvalues.size)
    z, distance = _circle(exponent, sign)
    pairs = pairs_of(rule)
    # Every form on the free motion of the start, on a kick λ_i in the diagonal and on one of μ_i μ_j in each pair.
    diagonal = np.flatnonzero(i == j)
    on_start = forms * starts[:, None]
    on_diagonal = forms[:, diagonal] * rule.eigenvalues
    on_focus = -2 * forms * rule.mean[i] * rule.mean[j]
    if momentum:
        own, kicked = _errors(rule, z, distance, pairs)
        free, focus = _applied(on_start, own), _applied(on_focus, kicked)
        spread = _applied(on_diagonal, kicked[:, diagonal])
    else:
        first, second, noise_share = pairs
        change = -rule.rate * (first + second) + rule.rate**2 * (1 + noise_share) * first * second
        # 1/(distance - change) in real numbers, for its imaginary part belongs to the node alone.
        real, imaginary = distance.real[:, None] - change, distance.imag
        size = 1 / (real**2 + imaginary[:, None] ** 2)
        kicks = rule.rate**2 * noise_share
        rows = jnp.concatenate([on_start.reshape(-1, len(first)), on_focus * kicks])
        own = real * size

        def seen(rows: Array, here: Array, size: Array) -> Array:
            return jax.lax.complex(rows @ here.T, -imaginary * (rows @ size.T))

        both = seen(rows, own, size)
        free, focus = both[: -len(forms)].reshape(*on_start.shape[:2], -1), both[-len(forms) :]
        spread = seen(on_diagonal * kicks[diagonal], own[:, diagonal], size[:, diagonal])
    free = free + spread * (noise[:, None] / distance)[:, None]
    level, centre = _couple(free[:, 0], free[:, 1], spread, focus)
    return free[:, 2:] + spread[2:] * level[:, None] + focus[2:] * centre[:, None]


@jax.jit
def _transformed_state(
    rule: Updates, state: Second, noise: ArrayLike, exponent: Array, sign: float | Array
) -> tuple[Array, Array]:
    """The z-transform of the whole state from any start, (4, N, P), and z - 1."""
    i, j = np.triu_indices(rule.eigenvalues.size)
    diagonal = np.flatnonzero(i == j)
    z, distance = _circle(exponent, sign)
    pairs = pairs_of(rule)
    start = jnp.stack([state.ee[i, j], state.ev[i, j], state.ev[j, i], state.vv[i, j]])
    moments = jnp.stack(resolvent(rule, z, distance, pairs, jnp.stack([start, kick(rule, pairs)], axis=1)))
    free, kicked = moments[:, 0], moments[:, 1]
    both = rule.mean[i] * rule.mean[j]
    spread = jnp.where(i == j, pairs.first, 0.0) * kicked
    focus = -2 * both * kicked
    free = free + spread * (noise / distance)[:, None]
    to_centre = jnp.where(i == j, 1.0, 2.0) * both

    def read(moments: Array) -> Array:
        ee = moments[0]
        return jnp.stack([ee[:, diagonal] @ rule.eigenvalues, ee @ to_centre])

    own = read(free)
    level, centre = _couple(own[0], own[1], read(spread), read(focus))
    return free + spread * level[:, None] + focus * centre[:, None], distance


def _couple(level: Array, centre: Array, spread: Array, focus: Array) -> tuple[Array, Array]:
    """Solves level = level₀ + spread₀ level + focus₀ centre, centre = centre₀ + spread₁ level + focus₁ centre."""
    determinant = (1 - spread[0]) * (1 - focus[1]) - focus[0] * spread[1]
    return (
        (level * (1 - focus[1]) + focus[0] * centre) / determinant,
        (centre * (1 - spread[0]) + spread[1] * level) / determinant,
    )


class Pairs(NamedTuple):
    """The upper triangle of the pairs of modes: λ of the first and the second, and ν, (P,) each."""

    first: Float[Array, " P"]
    second: Float[Array, " P"]
    noise: Float[Array, " P"]


def pairs_of(rule: Updates) -> Pairs:
    """The pairs, in the order of `np.triu_indices`."""
    i, j = np.triu_indices(rule.eigenvalues.size)
    return Pairs(rule.eigenvalues[i], rule.eigenvalues[j], rule.batch_noise[i, j])


def kick(rule: Updates, pairs: Pairs) -> Float[Array, "4 P"]:
    """What a unit of the noise of one row adds to ee, ev, ve and vv of each pair."""
    _, through = rule.throughs
    return jnp.stack([through**2, through, through, jnp.ones(())])[:, None] * pairs.noise


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
    right: Float[Array, "4 R P"],
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
