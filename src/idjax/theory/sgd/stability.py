"""Minibatch SGD: how large a learning rate the noise of the batches leaves stable, and which learns fastest.

For Gaussian inputs the expected second moment C of the error follows a linear, self-adjoint map, which in the
eigenbasis of M is a Hadamard product plus rank two. Its largest eigenvalue ρ says how the expected loss grows or
shrinks a step. Only the range of M counts: along null modes nothing moves. See docs/theory.md, section 5.
"""

import bisect
import itertools
import math
from typing import NamedTuple

import numpy as np
import scipy.optimize
from jaxtyping import Float

from idjax.theory.root_finding import last_where, signed
from idjax.types import Spectrum

CLOSE = 1e-14
"""Width to which rates and growths are found, as a share of what they may be."""
NODES = 20
"""Nodes that stand for all modes in an interval, which leave an error of 1e-15."""
FEW = 256
"""Modes up to which each stands for itself."""


class _Modes(NamedTuple):
    """λ and μ of modes that move, (r,); and nodes with weights that Σ_ik μ_i² μ_k² f(λ_i, λ_k)/λ₁² is summed over."""

    eigenvalues: Float[np.ndarray, " r"]
    mean: Float[np.ndarray, " r"]
    nodes: Float[np.ndarray, " s"]
    weights: Float[np.ndarray, " s"]


def growth_is_below(
    ceiling: float,
    step: float,
    eigenvalues: Float[np.ndarray, " r"],
    mean: Float[np.ndarray, " r"],
    batch_size: float | int,
) -> bool:
    """Whether ρ, the growth of the expected squared error in a step, is below `ceiling`; theory (30).

    Counts the eigenvalues of the map above the ceiling by inertia: those of its Hadamard part, corrected by the
    signs of a 2 by 2 matrix for the rank-two rest. step is η' = 2 η/q; mean is [m; 1] in the eigenbasis.
    """
    return bool(_margin(ceiling - 1, step, _each_alone(eigenvalues, mean), batch_size) > 0)


def _margin(beyond: float, step: float, modes: _Modes, batch_size: float | int) -> float:
    """Positive where ρ < 1 + `beyond`, negative elsewhere, and λ₁/tr(M S) in size, (ρ' - T) S = I, ρ' = 1 + beyond.

    S has a pole at the Perron root and none at the poles of the pairs, so that this passes smoothly through 0.
    """
    pull, bend = step * modes.eigenvalues, 1 + 1 / batch_size

    def gap_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """ρ' - (1 - η'(λi + λk) + η'²(1 + 1/B) λi λk), written so that 1 - 1 never rounds, and a step aside from 0."""
        gap = first + beyond + second - bend * first * second
        gap[gap == 0] = -1e-8
        return gap

    # A gap is linear in each of the two: among those of the outermost modes are at least two below 0 if any two are.
    ends = (pull if len(pull) <= 4 else pull[[0, 1, -2, -1]]).tolist()
    pairs = itertools.combinations_with_replacement(ends, 2)
    above = sum(first + beyond + second <= bend * first * second for first, second in pairs)
    if above > 1:  # the 2 by 2 matrix can take back one only
        return signed(False, 0.0)
    diagonal = gap_of(pull, pull)
    # The step goes into each factor: squares of very small or large numbers alone would leave float64.
    centre = (math.sqrt(step) * modes.mean) ** 2
    steered = pull / diagonal
    spread, overlap = pull @ steered / batch_size, centre @ steered / batch_size
    nodes, weights = step * modes.nodes, float(pull[0]) * modes.weights
    focus = weights @ (1 / gap_of(nodes[:, None], nodes)) @ weights / batch_size
    # η' tr(M S) = level/determinant: its own part, and what the two couplings add.
    level = steered.sum() * (1 + 2 * focus) - 2 * overlap * (centre / diagonal).sum()
    determinant = (1 - spread) * (1 + 2 * focus) + 2 * overlap**2
    # -2 times that of [[1 - spread, -overlap], [-overlap, -1/2 - focus]], whose negative eigenvalues count.
    negative = 1 if determinant > 0 else 2 * (0.5 - spread - focus < 0)
    return signed(bool(above + negative == 1), float(pull[0] * determinant / level))


def max_step(spectrum: Spectrum, mean: Float[np.ndarray, " n"], batch_size: float | int) -> float:
    """The largest stable η' = 2 η/q in mean square; mean is μ in the eigenbasis."""
    modes = _on_range(spectrum, mean)
    # Minibatches never raise the limit of the full batch. The search goes a little beyond it.
    ceiling = 2 / float(modes.eigenvalues[0])

    def margin(step: float) -> float:
        return _margin(0.0, step, modes, batch_size)

    return min(last_where(margin, 1.0001 * ceiling, CLOSE * ceiling), ceiling)


def best_step(spectrum: Spectrum, mean: Float[np.ndarray, " n"], batch_size: float | int, limit: float) -> float:
    """The η' whose expected squared error shrinks fastest in the long run: the minimiser of ρ below the limit."""
    modes, known = _on_range(spectrum, mean), {0.0: 0.0, limit: 0.0}

    def decay(step: float) -> float:
        """1 - ρ, concave in η', for its second moments are those of a positive map: between chords of what is known."""
        most = min(1.0, 2 * step * float(modes.eigenvalues[-1]))  # at most that of the slowest mode alone
        low, high = _between_chords(known, step)
        high = min(high, most)
        found = last_where(lambda decay: _margin(-decay, step, modes, batch_size), high, CLOSE * most, min(low, high))
        return known.setdefault(step, found)

    return limit * float(np.asarray(scipy.optimize.fminbound(lambda share: -decay(share * limit), 0.0, 1.0, xtol=1e-6)))


def _between_chords(known: dict[float, float], at: float) -> tuple[float, float]:
    """The least and the most that a concave function can be there, of two known points at least."""
    points = sorted(known.items())
    place = bisect.bisect(points, (at,))

    def through(first: int) -> float:
        (a, value), (b, other) = points[first : first + 2]
        return value + (other - value) * (at - a) / (b - a)

    beside = [first for first in (place - 2, place) if 0 <= first < len(points) - 1]
    return through(place - 1), min(map(through, beside), default=math.inf)


def critical_batch(spectrum: Spectrum, mean: Float[np.ndarray, " n"], rows: int) -> float:
    """The batch size whose largest stable rate is half of the full batch's, 2/λ₁; at least 1, at most the rows.

    With smaller batches the stable rate, and so the fewest steps, goes as B; larger ones can at most halve the steps.
    mean is μ in the eigenbasis. Ma, Bassily and Belkin 2018 have it for zero mean, as about tr(M)/λ₁.
    """
    modes = _on_range(spectrum, mean)
    if not len(modes.eigenvalues):  # nothing moves
        return 1.0
    half = 1 / float(modes.eigenvalues[0])
    if _margin(0.0, (1 - 1e-9) * half, modes, 1) > 0:  # half itself is a pole of batches of 1
        return 1.0
    # Smaller batches than this leave half of the full batch's rate unstable, for stable rates are an interval from 0.
    return float(2 ** last_where(lambda power: -_margin(0.0, half, modes, 2**power), float(np.log2(rows)), 1e-6))


def _on_range(spectrum: Spectrum, mean: np.ndarray) -> _Modes:
    rank = spectrum.rank
    modes = _each_alone(spectrum.eigenvalues[:rank], mean[:rank])
    if len(modes.nodes) <= FEW:
        return modes
    nodes, weights = np.concatenate(_nodes(modes.nodes, modes.weights), axis=1)
    return modes._replace(nodes=nodes, weights=weights)


def _each_alone(eigenvalues: Float[np.ndarray, " r"], mean: Float[np.ndarray, " r"]) -> _Modes:
    moved = mean != 0
    weights = (mean[moved] / np.sqrt(np.max(eigenvalues, initial=0.0))) ** 2
    return _Modes(eigenvalues, mean, eigenvalues[moved], weights)


def _nodes(at: Float[np.ndarray, " s"], weights: Float[np.ndarray, " s"]) -> list[Float[np.ndarray, "2 m"]]:
    """Nodes and weights for points in descending order, by interpolation in Chebyshev's nodes of narrow intervals.

    The gap of a pair is linear in each of the two and above 0, the outermost modes apart: so its reciprocal is smooth
    in intervals that are no wider than they are away from the second mode and from the last but one.
    """
    parts, open_ends = [np.stack([at[end], weights[end]]) for end in (slice(2), slice(-2, None))], (at[1], at[-2])
    left = [(2, len(at) - 2)]
    while left:
        first, last = left.pop()
        high, low = at[first], at[last - 1]
        if high == low:
            parts.append(np.array([[high], [weights[first:last].sum()]]))
        elif last - first <= NODES:
            parts.append(np.stack([at[first:last], weights[first:last]]))
        elif high - low <= min(open_ends[0] - high, low - open_ends[1]):
            turned = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
            powers = np.polynomial.chebyshev.chebvander((2 * at[first:last] - high - low) / (high - low), NODES - 1)
            basis = np.polynomial.chebyshev.chebvander(turned, NODES - 1) * 2 / NODES
            basis[:, 0] /= 2
            parts.append(np.stack([(high + low + (high - low) * turned) / 2, basis @ (weights[first:last] @ powers)]))
        else:
            cut = first + int(np.searchsorted(-at[first:last], -(high + low) / 2))
            left += [(first, cut := min(max(cut, first + 1), last - 1)), (cut, last)]
    return parts
