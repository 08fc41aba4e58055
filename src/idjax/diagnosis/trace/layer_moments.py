"""Moments of a layer's inputs, and the ends of their second moment's spectrum."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from idjax.moments.columns import ColumnStats

WIDEST = 2304
"""Inputs of a layer up to which all eigenvalues are computed, in seconds; of wider ones only the largest."""


@dataclasses.dataclass(frozen=True)
class InputMoments:
    """Mean m and covariance Σ of a layer's inputs over `count` positions; channels as they came; a few vectors.

    epsilon: relative spacing of the numbers that the inputs came in, which their arithmetic rounded to.
    """

    count: int
    bias: bool
    epsilon: float
    mean: Float[np.ndarray, " p"]
    covariance: Float[np.ndarray, "p p"]
    channels: ColumnStats
    sample: Float[np.ndarray, "s p"]

    @property
    def second_moment(self) -> Float[np.ndarray, "n n"]:
        """M = E[a aᵀ], a = [x; 1] where the layer has a bias and x where not."""
        return joined(self.covariance + np.outer(self.mean, self.mean), self.mean, self.bias)

    @property
    def noise(self) -> float:
        """An eigenvalue that rounding before the layer can make: n (4 ε)² max_j E a_j², a few ε in all inputs."""
        square = np.diagonal(self.covariance) + self.mean**2
        return len(self.second_moment) * (4 * self.epsilon) ** 2 * float(square.max())

    @property
    def constant_channels(self) -> Bool[np.ndarray, " c"]:
        """Channels that are one number everywhere."""
        return self.channels.low == self.channels.high

    @property
    def constant(self) -> Bool[np.ndarray, " p"]:
        """Inputs that belong to a constant channel: one each, or its whole part of a patch."""
        channels = self.constant_channels
        inputs = len(self.mean)
        return np.repeat(channels, inputs // len(channels)) if inputs % len(channels) == 0 else np.zeros(inputs, bool)


def joined(square: Float[np.ndarray, "p p"], mean: Float[np.ndarray, " p"], bias: bool) -> Float[np.ndarray, "n n"]:
    """[[E x xᵀ, m], [mᵀ, 1]], or E x xᵀ alone without a bias."""
    return np.block([[square, mean[:, None]], [mean[None], np.ones((1, 1))]]) if bias else square


class Ends(NamedTuple):
    """The largest eigenvalue, the smallest that is not 0 to rounding, and how many are not; NaN and -1 if unknown."""

    top: float
    bottom: float
    rank: int

    @property
    def condition_number(self) -> float:
        """Largest over smallest."""
        return self.top / self.bottom


def ends(matrix: Float[np.ndarray, "n n"], noise: float = 0.0) -> Ends:
    """The ends of a symmetric positive matrix's spectrum, what is under the noise left out; of a wide one the top."""
    if len(matrix) > WIDEST:
        return Ends(top_of(matrix), np.nan, -1)
    values = np.linalg.eigvalsh(matrix)
    kept = values[values > max(noise, len(values) * np.finfo(float).eps * values[-1])]
    return Ends(float(kept[-1]), float(kept[0]), len(kept)) if len(kept) else Ends(0.0, np.nan, 0)


def top_of(matrix: Float[np.ndarray, "n n"]) -> float:
    """The largest eigenvalue, by Lanczos where the matrix is not small."""
    if len(matrix) <= 64 or not matrix.any():
        return float(np.linalg.eigvalsh(matrix)[-1])
    from scipy.sparse.linalg import eigsh  # which takes as long to import as most layers to be looked at

    start = np.random.default_rng(0).normal(size=len(matrix))
    return float(eigsh(matrix, k=1, v0=start, return_eigenvectors=False, tol=1e-6)[0])  # pyright: ignore[reportArgumentType]
