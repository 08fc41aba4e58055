"""Minibatch SGD: how large a learning rate the noise of the batches leaves stable, and which learns fastest.

For Gaussian inputs the expected second moment C of the error follows a linear, self-adjoint map, which in the
eigenbasis of M is a Hadamard product plus rank two. Its largest eigenvalue ρ says how the expected loss grows or
shrinks a step. Only the range of M counts: along null modes nothing moves. See docs/theory.md, section 5.
"""

import numpy as np
import scipy.optimize
from jaxtyping import Float

from idjax.theory.root_finding import last_where, signed
from idjax.types import Spectrum

CLOSE = 1e-14
"""Width to which rates and growths are found, as a share of what they may be."""


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
    return bool(_margin(ceiling - 1, step, eigenvalues, mean, batch_size) > 0)


def _margin(
    beyond: float,
    step: float,
    eigenvalues: Float[np.ndarray, " r"],
    mean: Float[np.ndarray, " r"],
    batch_size: float | int,
) -> float:
    """Positive where ρ < 1 + `beyond`, negative elsewhere, and λ₁/tr(M S) in size, (ρ' - T) S = I, ρ' = 1 + beyond.

    S has a pole at the Perron root and none at the poles of the pairs, so that this passes smoothly through 0.
    """
    pull = step * eigenvalues

    def gap_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """ρ' - (1 - η'(λi + λk) + η'²(1 + 1/B) λi λk), written so that 1 - 1 never rounds, and a step aside from 0."""
        gap = first + beyond + second - (1 + 1 / batch_size) * first * second
        return np.where(gap == 0, -1e-8, gap)

    # A gap is linear in each of the two: among those of the outermost modes are at least two below 0 if any two are.
    ends = pull if len(pull) <= 4 else pull[[0, 1, -2, -1]]
    gap = gap_of(ends[:, None], ends)
    diagonal = np.diagonal(gap)
    above = (np.count_nonzero(gap <= 0) + np.count_nonzero(diagonal <= 0)) // 2
    if above > 1:  # the 2 by 2 matrix can take back one only
        return signed(False, 0.0)
    diagonal = gap_of(pull, pull)
    # The step goes into each factor: squares of very small or large numbers alone would leave float64.
    centre = (np.sqrt(step) * mean) ** 2
    spread = np.sum(pull**2 / diagonal) / batch_size
    overlap = np.sum(pull * centre / diagonal) / batch_size
    moved = centre != 0
    focus = centre[moved] @ (1 / gap_of(pull[moved][:, None], pull[moved])) @ centre[moved] / batch_size
    # η' tr(M S) = level/determinant: its own part, and what the two couplings add.
    level = np.sum(pull / diagonal) * (1 + 2 * focus) - 2 * overlap * np.sum(centre / diagonal)
    determinant = (1 - spread) * (1 + 2 * focus) + 2 * overlap**2
    # -2 times that of [[1 - spread, -overlap], [-overlap, -1/2 - focus]], whose negative eigenvalues count.
    negative = 1 if determinant > 0 else 2 * (0.5 - spread - focus < 0)
    return signed(bool(above + negative == 1), float(pull[0] * determinant / level))


def max_step(spectrum: Spectrum, mean: Float[np.ndarray, " n"], batch_size: float | int) -> float:
    """The largest stable η' = 2 η/q in mean square; mean is μ in the eigenbasis."""
    eigenvalues, centre = _on_range(spectrum, mean)
    # Minibatches never raise the limit of the full batch. The search goes a little beyond it.
    ceiling = 2 / float(eigenvalues[0])

    def margin(step: float) -> float:
        return _margin(0.0, step, eigenvalues, centre, batch_size)

    return min(last_where(margin, 0.0, 1.0001 * ceiling, CLOSE * ceiling), ceiling)


def best_step(spectrum: Spectrum, mean: Float[np.ndarray, " n"], batch_size: float | int) -> float:
    """The η' whose expected squared error shrinks fastest in the long run: the minimiser of ρ."""
    eigenvalues, centre = _on_range(spectrum, mean)
    limit = max_step(spectrum, mean, batch_size)

    def decay(step: float) -> float:
        """1 - ρ."""
        most = min(1.0, 2 * step * float(eigenvalues[-1]))  # at most that of the slowest mode alone
        return last_where(lambda decay: _margin(-decay, step, eigenvalues, centre, batch_size), 0.0, most, CLOSE * most)

    return limit * float(np.asarray(scipy.optimize.fminbound(lambda share: -decay(share * limit), 0.0, 1.0, xtol=1e-6)))


def critical_batch(spectrum: Spectrum, mean: Float[np.ndarray, " n"], rows: int) -> float:
    """The batch size whose largest stable rate is half of the full batch's, 2/λ₁; at least 1, at most the rows.

    With smaller batches the stable rate, and so the fewest steps, goes as B; larger ones can at most halve the steps.
    mean is μ in the eigenbasis. Ma, Bassily and Belkin 2018 have it for zero mean, as about tr(M)/λ₁.
    """
    eigenvalues, centre = _on_range(spectrum, mean)
    if not len(eigenvalues):  # nothing moves
        return 1.0
    half = 1 / float(eigenvalues[0])

    def stable(batch: float) -> bool:
        """Whether half of the full batch's rate is: the stable rates are one interval from 0 on."""
        return growth_is_below(1.0, half, eigenvalues, centre, batch)

    low, high = 0.0, float(np.log2(rows))
    if max_step(spectrum, mean, 1) >= half:  # half of it is a pole of batches of 1
        return 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if stable(2**middle) else (middle, high)
    return float(2**high)


def _on_range(spectrum: Spectrum, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rank = spectrum.rank
    return spectrum.eigenvalues[:rank], mean[:rank]
