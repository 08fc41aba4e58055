"""Moments → Spectrum: eigenvalues of the second moment, the smallest as accurate as the largest.

Rounding M = [[Σ + m mᵀ, m], [mᵀ, 1]] to float64 destroys every eigenvalue below 1e-16 of the mean's. So M is
never formed: it is F Fᵀ with F = [[L, m], [0, 1]], Σ = L Lᵀ, and its eigenvalues are the squares of F's singular
values. F = D₁ C D₂ with diagonal D and a well-conditioned C, and a Jacobi SVD then gets each singular value to
high *relative* accuracy. Source: Drmač and Veselić 2008, "New fast and accurate Jacobi SVD algorithm", LAPACK's
dgejsv; docs/theory.md, section 7.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from jaxtyping import Float
from scipy.linalg import get_lapack_funcs

from idjax.moments.remembered import remembered
from idjax.types import IdjaxError, Moments, Spectrum

DENSE = 100
"""Columns up to which all eigenvalues come as quickly as the largest."""
MOST_SPREAD = 1e5
"""Largest over smallest singular value up to which a plain SVD, five times as fast as Jacobi's and more, will do: the
smallest is within 2e-11 (within 1e-12 as measured on 128 to 768 columns).
"""

Triples = tuple[np.ndarray, np.ndarray, np.ndarray]


def spectrum_of(moments: Moments) -> Spectrum:
    """Eigenvalues and eigenvectors of M = E[w a aᵀ], a = [x; 1], (n,) and (n, n), n = p + 1.

    Example:
      >>> from idjax.moments.moments import moments_of
      >>> spectrum_of(moments_of(np.array([[1.0], [-1.0], [3.0], [-3.0]]))).eigenvalues
      array([5., 1.])
    """
    if not moments.mean_x.any():
        return _centred_spectrum(moments)
    factor = second_moment_factor(moments)
    values, vectors, _ = _singular_triples(factor, right=False)
    eigenvalues = np.zeros(len(factor))
    eigenvalues[: len(values)] = values**2
    return Spectrum(eigenvalues, vectors)


def _centred_spectrum(moments: Moments) -> Spectrum:
    """The spectrum of centred inputs: that of their covariance, and the bias apart from it with exactly the weight."""
    values, axes, _ = _covariance_triples(moments.covariance_xx)
    size, rank = len(axes) + 1, len(values)
    eigenvalues = moments.weight * np.append(values**2, 1.0)
    vectors = np.zeros((size, size))
    vectors[:-1, :rank], vectors[-1, rank], vectors[:-1, rank + 1 :] = axes[:, :rank], 1.0, axes[:, rank:]
    order = np.append(np.argsort(-eigenvalues, kind="stable"), np.arange(rank + 1, size))
    return Spectrum(np.append(eigenvalues, np.zeros(size - rank - 1))[order], vectors[:, order])


def second_moment_factor(moments: Moments) -> Float[np.ndarray, "n r"]:
    """F = √w [[L, m], [0, 1]] with F Fᵀ = E[w a aᵀ]; r - 1 is the rank of the covariance."""
    root = covariance_factor(moments.covariance_xx)
    inputs, rank = root.shape
    factor = np.zeros((inputs + 1, rank + 1))
    factor[:inputs, :rank] = root
    factor[:inputs, rank] = moments.mean_x
    factor[inputs, rank] = 1.0
    return np.sqrt(moments.weight) * factor


def covariance_factor(covariance: Float[np.ndarray, "p p"]) -> Float[np.ndarray, "p r"]:
    """L with L Lᵀ = Σ, r = rank of Σ: constant, duplicate and dependent columns are left out.

    Σ is scaled to a correlation matrix first, so that features of very different scale do not pass for dependent.
    """
    scale, values, vectors = _correlation_modes(covariance)
    return scale[:, None] * vectors * np.sqrt(values)


def largest_eigenvalue(matrix: Float[np.ndarray, "p p"], tolerance: float = 0.0) -> float:
    """The largest eigenvalue of a symmetric matrix, to this share of it or to rounding; by Lanczos if it is large."""
    if len(matrix) <= DENSE:
        return float(np.linalg.eigvalsh(matrix)[-1])
    start = np.random.default_rng(0).normal(size=len(matrix))
    options: Any = {"tol": tolerance}  # which the stubs take for whole
    found = scipy.sparse.linalg.eigsh(matrix, k=1, which="LA", v0=start, return_eigenvectors=False, **options)
    return float(found[0])


class PrincipalAxes(NamedTuple):
    """Axes V (p, p) and deviations s (p,), descending, of a covariance Σ = V diag(s²) Vᵀ of rank r.

    forward (p, p) and inverse (p, p) take rows to uncorrelated numbers of variance 1 and back: z = (x - m) forward,
    x = m + z inverse, inverse = diag(s) Vᵀ and forward its pseudo-inverse, both 0 for the p - r axes that have s = 0.
    """

    vectors: Float[np.ndarray, "p p"]
    deviations: Float[np.ndarray, " p"]
    forward: Float[np.ndarray, "p p"]
    inverse: Float[np.ndarray, "p p"]


def principal_axes(covariance: Float[np.ndarray, "p p"]) -> PrincipalAxes:
    """The principal axes of Σ, the largest component of each positive; docs/theory.md (91) and (92).

    With L = diag(d) E diag(√ρ) from the correlations and its singular values, L = V diag(s) Qᵀ, the forward map is
    Qᵀ diag(1/√ρ) Eᵀ diag(1/d): divided by the scales of the features, not by what an SVD makes of them.
    """
    scale, values, modes = _correlation_modes(covariance)
    inputs, rank = modes.shape
    if rank == 0:
        nothing = np.zeros_like(covariance)
        return PrincipalAxes(np.eye(inputs), np.zeros(inputs), nothing, nothing)
    kept, vectors, right = _covariance_triples(covariance)
    sign = np.where(np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)[0] < 0, -1.0, 1.0)
    vectors, right = vectors * sign, right * sign[:rank]
    forward = np.zeros_like(covariance)
    forward[:, :rank] = (modes / (np.where(scale > 0, scale, 1)[:, None] * np.sqrt(values))) @ right
    if rank < np.count_nonzero(scale):
        # Columns that depend on others: what rows have across the axes is to leave no trace in z.
        null = vectors[:, rank:]
        forward -= null @ (null.T @ forward)
    deviations = np.zeros(inputs)
    deviations[:rank] = kept
    return PrincipalAxes(vectors, deviations, forward, (vectors * deviations).T)


def least_squares(
    covariance_xx: Float[np.ndarray, "p p"], covariance_xy: Float[np.ndarray, "p q"]
) -> Float[np.ndarray, "p q"]:
    """W = Σ_xx⁺ Σ_xy, a kernel that minimises the mean squared error once means are subtracted."""
    scale, values, vectors = _correlation_modes(covariance_xx)
    inverse = 1 / np.where(scale > 0, scale, 1)
    whitened = (vectors.T @ (inverse[:, None] * covariance_xy)) / values[:, None]
    return inverse[:, None] * (vectors @ whitened)


# Normalisers share covariances: centring changes none, and the principal axes are those of the centred inputs.
@remembered
def _covariance_triples(covariance: np.ndarray) -> Triples:
    """Singular values, all left and the right singular vectors of L in Σ = L Lᵀ."""
    scale, values, vectors = _correlation_modes(covariance)
    if len(values) == np.count_nonzero(scale) and np.array_equal(values, np.ones_like(values)):
        # Without correlations, as whitened inputs are, the axes are the inputs themselves.
        order = np.argsort(-scale, kind="stable")
        axes, rank = np.eye(len(scale))[:, order], len(values)
        return scale[order[:rank]], axes, vectors.T @ axes[:, :rank]
    if not len(values):
        return values, np.eye(len(scale)), np.zeros((0, 0))
    return _singular_triples(scale[:, None] * vectors * np.sqrt(values))


@remembered
def _correlation_modes(covariance: np.ndarray) -> Triples:
    """Scales d and the nonzero eigenpairs of R in Σ = diag(d) R diag(d)."""
    scale = np.sqrt(np.maximum(np.diagonal(covariance), 0))
    inverse = 1 / np.where(scale > 0, scale, 1)
    correlation = covariance * inverse[:, None] * inverse  # the product of two inverses could overflow
    rounding = len(scale) * np.finfo(np.float64).eps
    if np.abs(correlation - np.diag(np.diagonal(correlation))).max(initial=0.0) <= rounding:
        varies = scale > 0
        return scale, np.ones(np.count_nonzero(varies)), np.eye(len(scale))[:, varies]
    values, vectors = np.linalg.eigh(correlation)
    keep = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 1.0)
    return scale, values[keep], vectors[:, keep]


def _singular_triples(matrix: np.ndarray, right: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular values, descending, all left singular vectors of a tall matrix, and the right ones if asked for."""
    if not np.isfinite(matrix).all():
        raise IdjaxError("the moments of the data overflow float64: scale the data down")
    sizes = np.sum(matrix**2, axis=0)
    # The largest value is at least that of a column, the smallest at most.
    if min(matrix.shape) > DENSE and sizes.max() <= MOST_SPREAD**2 * sizes.min():
        left, values, across = scipy.linalg.svd(matrix)
        if values[0] <= MOST_SPREAD * values[-1]:
            return values, left, across.T
    # joba=2 asks for accuracy relative to each value; the default would flush the smallest to 0.
    dgejsv = get_lapack_funcs(("gejsv",), [matrix])[0]
    scaled, left, across, work, _, info = dgejsv(matrix, joba=2, jobu=1, jobv=0 if right else 3)
    if info != 0:
        raise IdjaxError(f"the spectrum of the data did not converge (dgejsv: {info})")
    values = scaled * (work[0] / work[1])
    order = np.argsort(-values, kind="stable")
    rest = np.arange(len(values), matrix.shape[0])
    return values[order], left[:, np.concatenate([order, rest])], across[:, order] if right else across
