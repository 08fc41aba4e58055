"""Pairs of modes i ≤ k, which second moments are of: those that are read, and how they lie in a matrix."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

PAIRS_AT_ONCE = 2**16
"""Pairs of modes that are worked on at once."""
Matrices = Sequence[Float[np.ndarray, "n n"]] | Float[np.ndarray, "_ n n"]
"""Symmetric matrices, side by side or each by itself."""
Kept = tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]
"""The first and the second modes i ≤ k of some pairs."""


@functools.lru_cache(8)
def all_pairs(n: int) -> Kept:
    """All pairs of n modes i ≤ k, in the order of `np.triu_indices`."""
    return np.triu_indices(n)


def pairs_read(mean: Float[np.ndarray, " n"]) -> Kept:
    """The pairs of modes whose second moments move others: all other ones can be left out.

    tr(M E) has pairs of a mode with itself alone, and μᵀ E μ those of modes with μ: of centred inputs, one.
    """
    return _read_of(mean, (), 0, len(mean))


def pairs_in_parts(mean: Float[np.ndarray, " n"], forms: Matrices) -> Iterator[Kept]:
    """`pairs_read` and the pairs that a form sees, about PAIRS_AT_ONCE at a time."""
    held, size = [], max(1, PAIRS_AT_ONCE // len(mean))
    for first in range(0, len(mean), size):
        held.append(_read_of(mean, forms, first, first + size))
        if sum(len(part[0]) for part in held) >= PAIRS_AT_ONCE or first + size >= len(mean):
            yield np.concatenate([part[0] for part in held]), np.concatenate([part[1] for part in held])
            held = []


def _read_of(mean: np.ndarray, forms: Matrices, first: int, last: int) -> Kept:
    """The pairs that are read of the first modes from `first` to before `last`."""
    read = np.outer(mean[first:last], mean) != 0
    for form in forms:
        read |= (form[first:last] != 0) | (form.T[first:last] != 0)
    own = np.arange(len(read))
    read[own, first + own] = True
    i, k = np.nonzero(np.triu(read, first))
    return i + first, k


def symmetric(upper: Float[np.ndarray, "t P"], n: int) -> Float[np.ndarray, "t n n"]:
    """Symmetric matrices from their upper triangles."""
    i, k = all_pairs(n)
    squares = np.empty((len(upper), n, n))
    squares[:, i, k] = squares[:, k, i] = upper
    return squares
