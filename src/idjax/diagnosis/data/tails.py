"""Heavy tails: how far the stable learning rate of some rows lies below that of Gaussian rows with their moments."""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.moments.normalize import fit, standardize, standardize_samples
from idjax.moments.spectrum import largest_eigenvalue
from idjax.types import Moments

TOLERANCE = 1e-6
"""Relative, of a largest eigenvalue."""


class FourthMoment(NamedTuple):
    """Fourth moments of some rows and of Gaussian rows, on the range of their second moment M, as M^(-1/2) turns them.

    curvature: M itself there.  own, gaussian: T = E[|a|² a aᵀ], and for Gaussian rows
    T_G = 2 M² + tr(M) M - 2 |μ|² μμᵀ; (r, r) each.
    """

    curvature: Float[np.ndarray, "r r"]
    own: Float[np.ndarray, "r r"]
    gaussian: Float[np.ndarray, "r r"]

    def tails(self, batch: int) -> float:
        """min(1, ρ_Gauss/ρ) of the largest ρ with E[M̂²] ≤ ρ M in these rows, M̂ the second moment of a batch.

        An update with rate η' is stable in mean square if η' E[M̂²] < 2 M; E[M̂²] = (1 - 1/B) M² + T/B.
        docs/theory.md (131).
        """

        def largest(fourth: np.ndarray) -> float:
            return largest_eigenvalue((1 - 1 / batch) * self.curvature + fourth / batch, TOLERANCE)

        return min(1.0, largest(self.gaussian) / largest(self.own))


def with_ones(z: Float[np.ndarray, "k p"]) -> Float[np.ndarray, "k n"]:
    """Rows a = [z; 1]."""
    return np.append(z, np.ones((len(z), 1)), axis=1)


def white(a: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k r"]:
    """The rows without their second moment, which becomes the identity; directions that hardly vary are left out."""
    second = a.T @ a / len(a)
    scale = np.sqrt(np.diagonal(second))
    inverse = 1 / np.where(scale > 0, scale, 1)
    values, vectors = np.linalg.eigh(second * np.outer(inverse, inverse))
    keep = values > 1e-10 * values[-1]
    return a @ (inverse[:, None] * vectors[:, keep] / np.sqrt(values[keep]))


def fourth_moment_of(a: Float[np.ndarray, "k n"], u: Float[np.ndarray, "k r"]) -> FourthMoment:
    """The fourth moments of rows a = back u, u white."""
    back = a.T @ u / len(a)
    mean, curvature = u.mean(axis=0), back.T @ back
    weighted = u * np.sqrt(np.einsum("kn,kn->k", a, a) / len(a))[:, None]
    trace, centre = np.trace(curvature), back @ mean
    gaussian = 2 * curvature + trace * np.eye(len(mean)) - 2 * (centre @ centre) * np.outer(mean, mean)
    return FourthMoment(curvature, weighted.T @ weighted, gaussian)


class SampleTails:
    """How heavy the tails of a sample are under every normaliser and batch size, each worked out once."""

    def __init__(self, x: Float[np.ndarray, "k p"], raw: Moments):
        self._x, self._raw = x, raw
        self._fourths: dict[str, FourthMoment] = {}
        self._known: dict[tuple[str, int], float] = {}

    def of(self, normalize: str, batch_size: int) -> float:
        """The largest stable rate over that of Gaussian rows of the same mean and covariance."""
        key = (normalize, batch_size)
        if key not in self._known:
            if normalize not in self._fourths:
                self._fourths[normalize] = self._fourth_moment(normalize)
            self._known[key] = self._fourths[normalize].tails(batch_size)
        return self._known[key]

    def _fourth_moment(self, normalize: str) -> FourthMoment:
        if normalize == "sample":
            rows = with_ones(standardize_samples(self._x)[0])
            return fourth_moment_of(rows, white(rows))
        # All affine transforms of rows have the same white rows, of which those of pca are the most exact.
        kind = "pca" if normalize == "zca" else normalize
        return fourth_moment_of(self._under(kind), self._white)

    def _under(self, normalize: str) -> Float[np.ndarray, "k n"]:
        return with_ones(standardize(self._x, fit(normalize, self._raw).inputs))

    @functools.cached_property
    def _white(self) -> Float[np.ndarray, "k r"]:
        return white(self._under("pca"))
