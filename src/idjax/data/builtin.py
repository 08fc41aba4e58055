"""Data sets that need no file: three named ones, and Gaussian rows with moments of your choice."""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from idjax.types import IdjaxError

_SEED = 0


def _narrow_normal() -> Float[np.ndarray, "N p"]:
    return np.random.default_rng(_SEED).normal(1.1090579, 0.0012380764, (139_336, 84)).astype(np.float32)


def _unit_uniform(columns: int) -> Float[np.ndarray, "N p"]:
    # Drawn in float32, since rounding a float64 draw could reach 1.
    return np.random.default_rng(_SEED).random((99_999, columns), dtype=np.float32)


BUILTINS: dict[str, Callable[[], Float[np.ndarray, "N p"]]] = {
    "narrow-normal": _narrow_normal,
    "unit-uniform": functools.partial(_unit_uniform, 84),
    "unit-uniform-5": functools.partial(_unit_uniform, 5),
}
"""The named sets, by what draws their float32 rows, always the same ones; each is its own target.

narrow-normal has the numbers of the Stack Overflow question 'Autoencoder not learning identity function', unit-uniform
numbers from 0 to 1, in 84 columns or in 5. All x_ij are independent and identically distributed."""


def prescribed(
    mean: Float[np.ndarray, " p"],
    eigenvalues: Float[np.ndarray, " _"],
    rows: int,
    seed: int,
    *,
    exact: bool = False,
) -> Float[np.ndarray, "N p"]:
    """Gaussian rows x = m + V diag(√λ) z, z ~ N(0, I), of mean m and covariance V diag(λ) Vᵀ, in float64.

    V is uniform over rotations and reflections.

    With `exact`, z is centred and whitened first, so that the sample's own mean is m and its own covariance
    (divided by N) is V diag(λ) Vᵀ. Both then hold to the rounding of x itself, about 1e-16 · |m| a number.

    Args:
      mean: m, (p,).
      eigenvalues: λ, (p,), in any order; zeros are directions in which the data do not move.
      rows: N.
      seed: of the draw, and of V.
      exact: prescribe the moments of the sample rather than those of the population.

    Raises:
      IdjaxError: if the moments are not finite, an eigenvalue is negative, the lengths differ or, with
        `exact`, there are not more rows than nonzero eigenvalues.

    Example:
      >>> prescribed(np.zeros(2), np.array([4.0, 0.0]), rows=3, seed=0).shape
      (3, 2)
    """
    size = mean.shape[0]
    if size == 0 or eigenvalues.shape != (size,):
        raise IdjaxError(f"mean has {size} numbers and eigenvalues {eigenvalues.shape[0]}: give equally many")
    if not (np.isfinite(mean).all() and np.isfinite(eigenvalues).all() and (eigenvalues >= 0).all()):
        raise IdjaxError("mean and eigenvalues: give finite numbers, and eigenvalues of zero or more")
    deviations = np.sqrt(eigenvalues.astype(np.float64))
    moving = deviations > 0
    rank = int(np.count_nonzero(moving))
    if rows < 1 or (exact and rows <= rank):
        least = rank + 1 if exact else 1
        raise IdjaxError(f"rows is {rows}: give at least {least} for {rank} nonzero eigenvalues (exact={exact})")
    generator = np.random.default_rng(seed)
    vectors = _orthogonal(generator, size)
    draws = generator.standard_normal((rows, rank))
    if exact and rank:
        draws = _whitened(draws)
    return mean + (draws * deviations[moving]) @ vectors[:, moving].T


def _orthogonal(generator: np.random.Generator, size: int) -> Float[np.ndarray, "p p"]:
    """A random orthogonal matrix, uniform (Haar): the QR of a Gaussian one, with the signs of R taken out."""
    q, r = np.linalg.qr(generator.standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def _whitened(draws: Float[np.ndarray, "N r"]) -> Float[np.ndarray, "N r"]:
    """The draws with sample mean 0 and sample covariance I to rounding, by Gram-Schmidt."""
    q, r = np.linalg.qr(draws - draws.mean(axis=0))
    q = q - q.mean(axis=0)
    return q * np.sign(np.diag(r)) * np.sqrt(len(draws))
