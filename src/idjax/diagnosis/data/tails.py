"""Heavy tails: how far the stable learning rate of some rows lies below that of Gaussian rows with their moments."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.moments.normalize import Affine, Transform, fit, standardize, standardize_samples, undo
from idjax.moments.spectrum import largest_eigenvalue
from idjax.types import Moments

AT_ONCE = 2**20
"""Numbers of rows that are worked on together, for a cache holds them."""
MANY = 2**22
"""Numbers of rows from which the products of fourth moments are of float32: 7 digits of a rate that is given in two."""
TOLERANCE = 1e-6
"""Relative, of a largest eigenvalue."""
WHITE = 1e-10
"""Largest correlation of columns that are white as they are."""


class WhiteRows(NamedTuple):
    """Rows a = [z; 1] where their second moment is the identity: rows u (k, r), and back (n, r), a = back u.

    power: |a|² of each, (k,).
    """

    rows: Float[np.ndarray, "k r"]
    power: Float[np.ndarray, " k"]
    back: Float[np.ndarray, "n r"]

    def again(self, known: Transform, transform: Transform) -> Float[np.ndarray, "n r"]:
        """The map from u to what another affine transform makes of the rows that the known one made z of.

        All affine transforms of rows have the same u, so that one decomposition serves them.
        """
        one = self.back[-1]
        x = undo(self.back[:-1].T, known) - np.multiply.outer(1 - one, known.shift)
        nothing = standardize(np.zeros(x.shape[1]), transform)
        z = standardize(x, transform) - np.multiply.outer(1 - one, nothing)
        return np.append(z.T, one[None], axis=0)


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


def white_rows(x: Float[np.ndarray, "k p"], seen: Callable[[np.ndarray], np.ndarray] = np.asarray) -> WhiteRows:
    """The rows a = [z; 1] without their second moment, z = seen(x); directions in which they hardly vary are left out.

    In few rows at once but for a itself, and in float32 if there are many.
    """
    a = np.ones((len(x), x.shape[1] + 1))
    for part in _parts(x):
        a[part, :-1] = seen(x[part])
    second, power = a.T @ a / len(a), np.einsum("kn,kn->k", a, a)
    scale = np.sqrt(np.diagonal(second))
    inverse = 1 / np.where(scale > 0, scale, 1)
    correlation = second * np.outer(inverse, inverse)
    if np.abs(correlation - np.diag(np.diagonal(correlation))).max() <= WHITE:
        whitener = np.diag(inverse)[:, scale > 0]
    else:
        values, vectors = np.linalg.eigh(correlation)
        keep = values > 1e-10 * values[-1]
        whitener = inverse[:, None] * vectors[:, keep] / np.sqrt(values[keep])
    back = second @ whitener
    white = np.empty((len(a), whitener.shape[1]), np.float32 if a.size > MANY else np.float64)
    plain = np.count_nonzero(whitener) == len(inverse) == whitener.shape[1]
    whitener = whitener.astype(white.dtype)
    for part in _parts(a):
        white[part] = a[part] * inverse if plain else a[part].astype(white.dtype) @ whitener
    return WhiteRows(white, power, back)


def power_of(x: Float[np.ndarray, "k p"], transform: Affine) -> Float[np.ndarray, " k"]:
    """|a|² of the rows a = [z; 1] that an affine transform makes of rows x."""
    inverse = np.where(transform.scale > 0, 1 / np.where(transform.scale > 0, transform.scale, 1), 0)
    scaled = ((x[part] - transform.shift) * inverse for part in _parts(x))
    return np.concatenate([np.einsum("kp,kp->k", z, z) for z in scaled]) + 1


def _parts(rows: np.ndarray) -> Iterator[slice]:
    size = max(1, AT_ONCE // rows.shape[1])
    return (slice(first, first + size) for first in range(0, len(rows), size))


def fourth_moment_of(
    white: WhiteRows, power: Float[np.ndarray, " k"] | None = None, back: Float[np.ndarray, "n r"] | None = None
) -> FourthMoment:
    """The fourth moments of rows a = back u of |a|² = power; those that the rows were whitened from, if not given."""
    power, back = white.power if power is None else power, white.back if back is None else back
    mean, own = white.rows.mean(axis=0, dtype=np.float64), np.zeros((len(white.back.T),) * 2)
    curvature = back.T @ back
    trace, centre = np.trace(curvature), back @ mean
    gaussian = 2 * curvature + trace * np.eye(len(mean)) - 2 * (centre @ centre) * np.outer(mean, mean)
    weight = np.sqrt(power / len(power))[:, None].astype(white.rows.dtype)
    for part in _parts(white.rows):
        weighted = white.rows[part] * weight[part]
        own += weighted.T @ weighted
    return FourthMoment(curvature, own, gaussian)


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
            return fourth_moment_of(white_rows(self._x, lambda rows: standardize_samples(rows)[0]))
        if normalize in ("pca", "zca"):
            return fourth_moment_of(self._white)
        fitted, known = (fit(kind, self._raw).inputs for kind in (normalize, "pca"))
        assert isinstance(fitted, Affine)
        return fourth_moment_of(self._white, power_of(self._x, fitted), self._white.again(known, fitted))

    @functools.cached_property
    def _white(self) -> WhiteRows:
        fitted = fit("pca", self._raw).inputs
        return white_rows(self._x, lambda rows: standardize(rows, fitted))
