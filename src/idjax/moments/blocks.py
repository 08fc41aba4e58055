"""One block of rows → the covariance and the statistics of its columns, in pieces that stay in the cache.

Each piece is cast to float64, a constant close to the mean is taken from each column, and its product with itself is
added up: x.T @ x, for which NumPy takes half the flops of a product and lets go of the interpreter's lock, so that
blocks can be worked on side by side.

Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance"; docs/theory.md, section 7.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

from idjax.moments.columns import ColumnStats, merge_columns

_PIECE_VALUES = 2**15
"""Numbers in a piece, a quarter of a MiB, which the second cache holds through all passes over them."""
_LEAST_ROWS = 2
"""Rows in a piece for each column, at least: a product of fewer spends its time on the sums that it adds to."""
_PART_VALUES = 2**18
"""Numbers of a covariance that are worked on at once."""
_INNER_VALUES = 1024
"""Rows of few columns are taken several at a time, which keeps the inner loops of NumPy as long as this."""


class BlockMoments(NamedTuple):
    """Moments of some rows v: means of v - c for a c of each column, close to the mean, and what no c changes.

    columns:     of v - c, but for the range, which is that of v.
    covariance:  E (v - mean)(v - mean)ᵀ.
    center:      c.
    """

    columns: ColumnStats
    covariance: Float[np.ndarray, "k k"]
    center: Float[np.ndarray, " k"]

    @property
    def absolute(self) -> ColumnStats:
        """Statistics of the columns of v itself."""
        return self.columns.shifted(self.center)


def pool(a: BlockMoments, b: BlockMoments) -> BlockMoments:
    """Both sets of rows, about the c of the first: Σ = s_a Σ_a + s_b Σ_b + s_a s_b δ δᵀ, s = N_·/N, δ = m_b - m_a."""
    other = b.columns.shifted(b.center - a.center)
    columns = merge_columns(a.columns, other)
    share_a, share_b = a.columns.count / columns.count, b.columns.count / columns.count
    with np.errstate(over="ignore", invalid="ignore"):
        step = other.mean - a.columns.mean
        covariance = np.empty_like(a.covariance)
        for part in _parts(len(step)):
            covariance[part] = np.outer(share_a * share_b * step[part], step)
            covariance[part] += share_a * a.covariance[part]
            covariance[part] += share_b * b.covariance[part]
    return BlockMoments(columns, covariance, a.center)


def _parts(rows: int) -> Iterator[slice]:
    """Rows of a square matrix, a part at a time: new memory of its size takes longer than the numbers in it."""
    size = max(1, _PART_VALUES // rows)
    return (slice(first, first + size) for first in range(0, rows, size))


def block_moments(
    x: Real[np.ndarray, "n p"], y: Real[np.ndarray, "n q"] | None = None, shapes: bool = True
) -> BlockMoments:
    """The moments of the k columns of x and y, side by side; not finite where squares overflow float64.

    c is the mean of the first rows: of all, it is off by less than √(n / those) deviations, so that taking what is
    left out of sums of powers, which saves a pass over the rows, costs a few digits at most. A constant is its own c,
    and so has moments of exactly 0.

    Args:
      x, y: of any memory order and real dtype; y is None if there is none.
      shapes: gather ranges and the third and fourth moments as well; NaN if not.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _block_moments(x, y, shapes)


def _block_moments(x: np.ndarray, y: np.ndarray | None, shapes: bool) -> BlockMoments:
    rows, p = x.shape
    width = p + (0 if y is None else y.shape[1]) + 1  # with a column of ones, whose products are sums
    by_columns = x.strides[0] < x.strides[1]
    fold = 1 if by_columns else max(1, _INNER_VALUES // width)
    pieces = -(-rows // max(_LEAST_ROWS * width, _PIECE_VALUES // width))
    step = -(-rows // (pieces * fold)) * fold
    room = np.ones((step, width), order="F" if by_columns else "C")
    folded = room if by_columns else room.reshape(-1, fold * width)

    def fill(start: int) -> np.ndarray:
        """A piece cast into the room."""
        piece = room[: min(step, rows - start)]
        piece[:, :p] = x[start : start + step]
        if y is not None:
            piece[:, p:-1] = y[start : start + step]
        return piece

    def unfold(per_column: np.ndarray) -> np.ndarray:
        return per_column.reshape(fold, width)

    first = fill(0)
    low, high = first.min(axis=0), first.max(axis=0)
    center = np.clip(first.mean(axis=0), low, high)  # a mean of equal numbers can be off by its rounding
    center[-1] = 0
    shift = np.tile(center, fold)
    # Not zeros: NumPy takes those in small pages, which cost more than what is in them.
    products, product = np.empty((width, width)), np.empty((width, width))
    third, fourth = np.zeros((2, width))
    for start in range(0, rows, step):
        room[len(fill(start)) :] = center  # what lacks at the end counts as 0
        if shapes:
            low = np.minimum(low, unfold(folded.min(axis=0)).min(axis=0))
            high = np.maximum(high, unfold(folded.max(axis=0)).max(axis=0))
        np.subtract(folded, shift, out=folded)
        if shapes:
            squares = folded * folded
            third += unfold(np.einsum("ij,ij->j", squares, folded)).sum(axis=0)
            fourth += unfold(np.einsum("ij,ij->j", squares, squares)).sum(axis=0)
        np.matmul(room.T, room, out=product if start else products)
        if start:
            products += product
    return _of_sums(rows, center[:-1], (low[:-1], high[:-1]), products, (third[:-1], fourth[:-1]) if shapes else None)


def _of_sums(
    rows: int,
    center: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    products: np.ndarray,
    shapes: tuple[np.ndarray, np.ndarray] | None,
) -> BlockMoments:
    """The moments, from sums of products, which are written over, and of third and fourth powers, if there are."""
    products /= rows
    mean, second = products[:-1, -1].copy(), np.diagonal(products)[:-1].copy()
    covariance = products[:-1, :-1]
    for part in _parts(len(mean)):
        covariance[part] -= np.outer(mean[part], mean)
    variance = np.maximum(np.diagonal(covariance), 0)  # none is less, rounding aside
    np.fill_diagonal(covariance, variance)
    low, high = ends
    if shapes is None:
        low = high = third = fourth = np.full(len(mean), np.nan)
    else:
        third, fourth = (powers / rows for powers in shapes)
        fourth = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
        third = third - 3 * mean * second + 2 * mean**3
    return BlockMoments(ColumnStats(rows, low, high, mean, variance, third, fourth), covariance, center)
