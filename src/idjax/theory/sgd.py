"""Minibatch SGD: how large a learning rate the noise of the batches leaves stable, and which learns fastest.

For Gaussian inputs the expected second moment C of the error follows a linear, self-adjoint map, which in the
eigenbasis of M is a Hadamard product plus rank two. Its largest eigenvalue ρ says how the expected loss grows or
shrinks a step. Only the range of M counts: along null modes nothing moves. See docs/theory.md, section 5.
"""

import functools

import numpy as np
import scipy.optimize
from jaxtyping import Float

from idjax.types import Spectrum

BISECTIONS = 45


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
    pair_sum = eigenvalues[:, None] + eigenvalues[None, :]
    pair_product = np.outer(eigenvalues, eigenvalues)
    # ceiling - (1 - η'(λi + λk) + η'²(1 + 1/B) λi λk), written so that 1 - 1 never rounds.
    gap = (ceiling - 1) + step * pair_sum - step**2 * (1 + 1 / batch_size) * pair_product
    above = np.count_nonzero(np.triu(gap <= 0))
    if above > 1:  # the 2 by 2 matrix can take back one only
        return False
    gap = np.where(gap == 0, -1e-8, gap)  # step aside from the pole itself
    noise = step**2 / batch_size
    diagonal = np.diagonal(gap)
    spread = noise * np.sum(eigenvalues**2 / diagonal)
    overlap = noise * np.sum(eigenvalues * mean**2 / diagonal)
    focus = noise * np.sum(np.outer(mean, mean) ** 2 / gap)
    negative = np.linalg.eigvalsh([[1 - spread, -overlap], [-overlap, -0.5 - focus]]) < 0
    return bool(above + np.count_nonzero(negative) == 1)


def max_step(spectrum: Spectrum, mean: Float[np.ndarray, " n"], batch_size: float | int) -> float:
    """The largest stable η' = 2 η/q in mean square; mean is μ in the eigenbasis."""
    eigenvalues, centre = _on_range(spectrum, mean)
    stable = functools.partial(growth_is_below, 1.0, eigenvalues=eigenvalues, mean=centre, batch_size=batch_size)
    # Minibatches never raise the limit of the full batch. The search starts a little beyond it, so that its
    # halves do not fall on the poles at 2/((1 + 1/B) λ₁).
    ceiling = 2 / float(eigenvalues[0])
    low, high = 0.0, 1.0001 * ceiling
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if stable(middle) else (low, middle)
    return min(low, ceiling)


def best_step(spectrum: Spectrum, mean: Float[np.ndarray, " n"], batch_size: float | int) -> float:
    """The η' whose expected squared error shrinks fastest in the long run: the minimiser of ρ."""
    eigenvalues, centre = _on_range(spectrum, mean)
    limit = max_step(spectrum, mean, batch_size)

    def decay(step: float) -> float:
        """1 - ρ, by bisection."""
        low, high = 0.0, min(1.0, 2 * step * float(eigenvalues[-1]))  # at most that of the slowest mode alone
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            below = growth_is_below(1 - middle, step, eigenvalues, centre, batch_size)
            low, high = (middle, high) if below else (low, middle)
        return low

    return limit * float(np.asarray(scipy.optimize.fminbound(lambda share: -decay(share * limit), 0.0, 1.0, xtol=1e-6)))


def critical_batch(spectrum: Spectrum, mean: Float[np.ndarray, " n"], rows: int) -> float:
    """The batch size whose largest stable rate is half of the full batch's, 2/λ₁; at least 1, at most the rows.

    With smaller batches the stable rate, and so the fewest steps, goes as B; larger ones can at most halve the steps.
    mean is μ in the eigenbasis. Ma, Bassily and Belkin 2018 have it for zero mean, as about tr(M)/λ₁.
    """
    half = 1 / float(spectrum.eigenvalues[0])
    low, high = 0.0, float(np.log2(rows))
    if max_step(spectrum, mean, 1) >= half:
        return 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if max_step(spectrum, mean, 2**middle) >= half else (middle, high)
    return float(2**high)


def _on_range(spectrum: Spectrum, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rank = spectrum.rank
    return spectrum.eigenvalues[:rank], mean[:rank]
