"""Minibatch SGD at any step, without the steps before it: the z-transform of its second moments, inverted.

Of the map of `minibatch` each pair of modes is a 4 by 4 block, and tr(M E) and μᵀ E μ couple the pairs. So the
z-transform takes one small elimination for each pair and a 2 by 2 system for all; `inverse_z_transform` inverts it. See
docs/theory.md, section 10.
"""

import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Complex, Float, Int

from idjax.theory.sgd import powers
from idjax.theory.sgd.inverse_z_transform import SHORTEST, Window, window_over, windows_of
from idjax.theory.sgd.minibatch import (
    Pairs,
    Second,
    Updates,
    expected,
    iterated,
    packed,
    pairs_of,
    states,
    unpacked,
)
from idjax.theory.sgd.mode_pairs import Matrices, all_pairs, pairs_in_parts, symmetric
from idjax.theory.sgd.resolvent import SeenPairs, TransformOfForms, transform_of_state

STEPS_AT_ONCE = 10_000
"""Horizons read at once."""
MANY_DIRECT = 500
"""Steps from which few modes are iterated by powers of their matrix."""
MOST_DIRECT = 100_000
"""Steps that are iterated where the transform's path would meet oscillating modes; momentum 0.9995 needs as many."""


class Expectation:
    """tr(Q E_t), in expectation over batches, at any step t up to 1e18; docs/theory.md (43)-(48).

    The cost does not depend on t: horizons that are foretold, and else those within a factor of 8, share one evaluation
    of the transform. Short ones are iterated. Errors are 1e-12 of the start's.

    Args:
      rule: updates, stable in mean square.
      starts: second moments of the error at the start, (n, n), of s starts at once.
      noise: Σ_j σ_j² over the outputs that each start is summed over.
      forms: k quadratic forms Q, (n, n).
      foretold: the first and the last of the steps that will be asked for together; others may be, too.
    """

    def __init__(
        self,
        rule: Updates,
        starts: Matrices,
        noise: Float[np.ndarray, " s"],
        forms: Matrices,
        foretold: tuple[float, float] | None = None,
    ):
        self._rule, self._noise, self._starts, self._forms = rule, noise, starts, forms
        self._shape = len(starts), len(forms)
        self._still = not (np.any(noise) or any(np.any(start) for start in starts))
        self._transforms: dict[Window, dict[float, np.ndarray]] = {}
        self._direct = np.empty((len(starts), len(forms), 0))
        self._shortest = shortest_jump(rule)
        self._foretold = None
        if foretold is not None and foretold[1] > self._shortest:
            self._foretold = window_over(max(foretold[0], self._shortest), foretold[1])

    def of(self, forms: Matrices) -> "Expectation":
        """The expectation of this run seen through other quadratic forms."""
        return Expectation(self._rule, self._starts, self._noise, forms)

    def at(self, steps: Float[np.ndarray, " t"]) -> Float[np.ndarray, "s k t"]:
        """tr(Q E_t) of every start and form, before the update of step t (t = 0 is the start)."""
        return self._read(steps, summed=False)

    def total(self, steps: Float[np.ndarray, " t"]) -> Float[np.ndarray, "s k t"]:
        """The sum of tr(Q E) over the steps before t."""
        return self._read(steps, summed=True)

    def mean(self, steps: Float[np.ndarray, " t"], length: int) -> Float[np.ndarray, "s k t"]:
        """The mean of tr(Q E) over the steps from t to t + length - 1."""
        if self._still:
            return np.zeros((*self._shape, len(steps)))
        direct = np.zeros(len(steps), bool)
        if self._foretold is not None:
            direct = self._foretold.holds(steps) & self._foretold.holds(steps + length)
        out = np.empty((*self._shape, len(steps)))
        # In one, for the difference of two sums loses digits late in a run.
        self._invert(out, self._foretold, steps, np.flatnonzero(direct), length)
        before, after = steps[~direct], steps[~direct] + length
        both = np.append(before, after)
        if (short := both[both < self._shortest]).any():
            self._iterated(int(short.max()) + 1)  # the table is made once, as long as it has to be
        out[..., ~direct] = (self.total(after) - self.total(before)) / length
        return out

    def _read(self, steps: np.ndarray, summed: bool) -> np.ndarray:
        if self._still:
            return np.zeros((*self._shape, len(steps)))
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
            self._invert(out, Window(float(steps[left][0]), 1.0), steps, np.flatnonzero(left), 0)
            return out
        if self._foretold is not None and not summed:
            chosen = left & self._foretold.holds(steps)
            self._invert(out, self._foretold, steps, np.flatnonzero(chosen), 1)
            left &= ~chosen
        for window in windows_of(steps[left], self._shortest):
            self._invert(out, window, steps, np.flatnonzero(left & window.holds(steps)), 0 if summed else 1)
        return out

    def _iterated(self, count: int) -> np.ndarray:
        """The first steps of every start, (s, k, at least count)."""
        if self._direct.shape[-1] >= count:
            return self._direct
        if count == 1:  # the start itself
            self._direct = np.array([[[np.vdot(form, start)] for form in self._forms] for start in self._starts])
            return self._direct
        parts = [(part.pairs, part.forms[2:].copy(), part.starts) for part in self._parts()]
        pairs = Pairs(*map(np.concatenate, zip(*(part[0] for part in parts), strict=True)))
        forms, starts = (np.concatenate([part[k] for part in parts], axis=1) for k in (1, 2))
        del parts
        moments = np.zeros((len(starts), 4, starts.shape[1]))
        moments[:, 0] = starts
        each = list(zip(moments, self._noise, strict=True))
        if count > MANY_DIRECT and moments[0].size <= powers.LARGEST:
            values = [powers.by_powers(self._rule, pairs, *one, forms, count) for one in each]
        else:
            values = [iterated(self._rule, pairs, *one, forms, count, last=False)[1] for one in each]
        self._direct = np.stack(values).swapaxes(1, 2)
        return self._direct

    def _parts(self) -> Iterator[SeenPairs]:
        """The pairs that are read, some at a time: of wide data all of them, packed, fill the memory."""
        for kept in pairs_in_parts(self._rule.mean, self._forms):
            pairs = pairs_of(self._rule, kept)
            coupling = np.where(pairs.diagonal, pairs.first, 0.0), pairs.twice * pairs.focus
            forms = np.stack([*coupling, *(form[kept] * pairs.twice for form in self._forms)])
            yield SeenPairs(pairs, forms, np.stack([start[kept] for start in self._starts]))

    def _invert(
        self,
        out: np.ndarray,
        window: Window | None,
        steps: np.ndarray,
        chosen: np.ndarray,
        length: int,
    ) -> None:
        """Writes the means over so many steps, from each of those chosen on; the sums before them if 0."""
        if window is None or not len(chosen):
            return
        exponent = window.nodes
        if window not in self._transforms:
            self._transforms[window] = {sign: self._transform.at(exponent, sign) for sign in signs(self._rule)}
        seen = {sign: found * _running(exponent, sign, length) for sign, found in self._transforms[window].items()}
        for part in np.array_split(chosen, 1 + len(chosen) // STEPS_AT_ONCE):
            out[..., part] = _inverted(window, seen, steps[part])

    @functools.cached_property
    def _transform(self) -> TransformOfForms:
        return TransformOfForms(self._rule, self._parts, self._noise)


def shortest_jump(rule: Updates) -> float:
    """Steps that have to be iterated before the transform's path may pass by the modes that oscillate, |z|² ≤ β."""
    momentum = rule.momentum
    ringing = 46 / -np.log(momentum) if momentum > 0 else 0.0
    return float(min(max(SHORTEST, np.ceil(ringing)), MOST_DIRECT))


def signs(rule: Updates) -> tuple[float, ...]:
    """The paths z = ± e^p: by -1 too where a mode changes its sign from step to step, and so is singular near it."""
    return (1.0, -1.0) if float(rule.rate * rule.eigenvalues[0]) * (1 + 2 * rule.momentum) > 1 else (1.0,)


def _inverted(
    window: Window, transforms: dict[float, Complex[np.ndarray, "*k N"]], steps: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "*k t"]:
    """The numbers at these steps that have these transforms at the nodes of the one path, or of both."""
    parts = [window.invert(transform, steps) for transform in transforms.values()]
    for turned in parts[1:]:
        parts[0] += turned * np.where(np.mod(steps, 2) == 0, -1.0, 1.0)
    return parts[0]


def advance(
    rule: Updates, state: Second, noise: float, form: Float[np.ndarray, "n n"], steps: int
) -> tuple[Second, float]:
    """The second moments `steps` updates later, and the mean of tr(Q E) before each of these updates.

    Iterates if the steps are few, and inverts the z-transform of the whole state else.
    """
    if steps <= shortest_jump(rule):
        state, values = expected(rule, state, noise, form[None], steps)
        return state, float(np.mean(values))
    window, at = Window(float(steps), 1.0), np.array([float(steps)])
    transforms = {sign: transform_of_state(rule, state, noise, window.nodes, sign) for sign in signs(rule)}
    pairs = all_pairs(rule.eigenvalues.size)
    weight = np.where(pairs[0] == pairs[1], 1.0, 2.0) * form[pairs]
    sums = {sign: found[0] @ weight * _running(window.nodes, sign, 0) for sign, found in transforms.items()}
    moments = _inverted(window, {sign: np.moveaxis(found, 1, 2) for sign, found in transforms.items()}, at)
    return unpacked(moments[..., 0], len(form)), float(_inverted(window, sums, at)[0]) / steps


def moments_at(
    rule: Updates, state: Second, noise: float, steps: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "t n n"]:
    """E[e eᵀ] before the updates of these steps, counted from this state."""
    out = np.empty((len(steps), *state.ee.shape))
    shortest = shortest_jump(rule)
    short = steps < shortest
    if short.any():
        out[short] = _iterated_moments(rule, state, noise, steps[short].astype(int))
    if short.all():
        return out
    chosen = np.flatnonzero(~short)
    window = window_over(float(steps[chosen].min()), float(steps[chosen].max()))
    transforms = {sign: transform_of_state(rule, state, noise, window.nodes, sign)[0].T.copy() for sign in signs(rule)}
    out[chosen] = symmetric(_inverted(window, transforms, steps[chosen]).T, len(state.ee))
    return out


def _iterated_moments(rule: Updates, state: Second, noise: float, steps: Int[np.ndarray, " t"]) -> np.ndarray:
    """E[e eᵀ] before the updates of these few steps, (t, n, n)."""
    asked = set(steps.tolist())
    along = states(rule, pairs_of(rule), packed(state), noise, max(asked) + 1, last=False)
    found = {step: moments[0] for step, moments in enumerate(along) if step in asked}
    return symmetric(np.stack([found[step] for step in steps.tolist()]), len(state.ee))


def _running(exponent: np.ndarray, sign: float, length: int) -> np.ndarray | float:
    """The factor on a transform at z = ± e^p for means over so many steps: (z^length - 1) / (z - 1) / length.

    1/(z - 1) for sums over all steps before, where length is 0.
    """
    if length == 1:
        return 1.0
    distance = np.expm1(exponent) if sign > 0 else -np.exp(exponent) - 1
    if length == 0:
        return 1 / distance
    beyond = np.expm1(length * exponent) if sign > 0 else (-1.0) ** length * np.exp(length * exponent) - 1
    return beyond / distance / length
