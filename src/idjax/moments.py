"""Rows → Moments: one pass in float64 over blocks, shifted by each block's mean, and mergeable.

Blocks of a pass are merged about one common shift, close to the mean, so that the rounding of a large mean does not
reach the covariances, however the rows are cut or ordered.

`merge` makes Moments a monoid, so any engine can fold it over any grouping of the rows. Source: Chan, Golub and
LeVeque 1983, "Algorithms for computing the sample variance"; docs/theory.md, section 7.
"""

import dataclasses
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.column_stats import ColumnStats, merge_columns
from idjax.normalize import standardize_samples
from idjax.types import IdjaxError, Moments

BLOCK_ROWS = 8192
_CACHED_VALUES = 2**16
"""Numbers that are worked on at a time, so that all passes over them but the first find them in the cache."""
_INNER_VALUES = 1024


@dataclasses.dataclass(frozen=True)
class MomentSet:
    """The three moments that every normaliser and loss space derive from, gathered in one pass.

    raw:              of (x, y).
    sample:           of (z, t), each row of x standardised by itself; t = z for an autoencoder, else y.
    sample_weighted:  the same with each row weighted by its own variance s², as a loss in original units
                      weighs it: M = E[s² a aᵀ]. Equal to `sample` where y is not x.

    The last two triple the work, and are there if they were asked for.
    """

    raw: Moments
    samples: tuple[Moments, Moments] | None

    @property
    def sample(self) -> Moments:
        """Moments of rows standardised each by itself."""
        return self._asked_for[0]

    @property
    def sample_weighted(self) -> Moments:
        """The same, each row weighted by its variance."""
        return self._asked_for[1]

    @property
    def _asked_for(self) -> tuple[Moments, Moments]:
        if self.samples is None:
            raise ValueError("these moments were measured without samples=True")
        return self.samples


class Measured(NamedTuple):
    """What one pass over the rows gathers: their moments, and statistics of the columns of x and of the target."""

    moments: MomentSet
    inputs: ColumnStats
    targets: ColumnStats


def moments_of(
    x: Float[np.ndarray, "N p"],
    y: Float[np.ndarray, "N q"] | None = None,
    weights: Float[np.ndarray, " N"] | None = None,
) -> Moments:
    """Moments of one block of rows; y is None for an autoencoder, whose target is x.

    Raises:
      IdjaxError: if squares of the numbers overflow float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        moments = _moments_of(x, y, weights)
    finite = (np.isfinite(part).all() for part in (moments.weight, moments.covariance_xx, moments.covariance_yy))
    if not all(finite):
        raise IdjaxError("the squares of these numbers overflow float64: scale the data down")
    return moments


def _moments_of(x: np.ndarray, y: np.ndarray | None, weights: np.ndarray | None) -> Moments:
    x = np.asarray(x, np.float64)
    share = None if weights is None else np.asarray(weights, np.float64)
    total = float(len(x)) if share is None else float(share.sum())
    share = np.full(len(x), 1 / len(x)) if share is None or total == 0 else share / total

    def center(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The first row is a cheap shift that keeps a large mean from rounding the sum; the second
        # subtraction removes what the first estimate of the mean left over.
        mean = v[0] + share @ (v - v[0])
        residue = share @ (v - mean)
        return mean + residue, v - (mean + residue)

    mean_x, dx = center(x)
    weighted = dx * share[:, None]
    covariance_xx = _symmetric(weighted.T @ dx)
    if y is None:
        mean_y, covariance_xy, covariance_yy = mean_x, covariance_xx, covariance_xx
    else:
        mean_y, dy = center(np.asarray(y, np.float64))
        covariance_xy = weighted.T @ dy
        covariance_yy = _symmetric((dy * share[:, None]).T @ dy)
    return Moments(
        count=len(x),
        weight=total / len(x),
        mean_x=mean_x,
        mean_y=mean_y,
        covariance_xx=covariance_xx,
        covariance_xy=covariance_xy,
        covariance_yy=covariance_yy,
        autoencoder=y is None,
    )


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of both sets of rows together: Σ = (W_a Σ_a + W_b Σ_b)/W + (W_a W_b / W²) δ δᵀ, δ = m_b - m_a."""
    count = a.count + b.count
    total_a, total_b = a.count * a.weight, b.count * b.weight
    total = total_a + total_b
    # Rows that weigh nothing together still have moments: count them by number.
    share_a, share_b = (total_a / total, total_b / total) if total > 0 else (a.count / count, b.count / count)
    step_x, step_y = b.mean_x - a.mean_x, b.mean_y - a.mean_y

    def pool(first: np.ndarray, second: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return share_a * first + share_b * second + share_a * share_b * np.outer(left, right)

    mean_x = a.mean_x + share_b * step_x
    covariance_xx = pool(a.covariance_xx, b.covariance_xx, step_x, step_x)
    if a.autoencoder:
        mean_y, covariance_xy, covariance_yy = mean_x, covariance_xx, covariance_xx
    else:
        mean_y = a.mean_y + share_b * step_y
        covariance_xy = pool(a.covariance_xy, b.covariance_xy, step_x, step_y)
        covariance_yy = pool(a.covariance_yy, b.covariance_yy, step_y, step_y)
    return Moments(
        count=count,
        weight=total / count,
        mean_x=mean_x,
        mean_y=mean_y,
        covariance_xx=covariance_xx,
        covariance_xy=covariance_xy,
        covariance_yy=covariance_yy,
        autoencoder=a.autoencoder,
    )


def measure(x: Float[np.ndarray, "N p"], y: Float[np.ndarray, "N q"] | None = None, samples: bool = True) -> MomentSet:
    """All moments of the rows, block by block; those of standardised samples if they are asked for."""
    blocks = (
        (x[i : i + BLOCK_ROWS], None if y is None else y[i : i + BLOCK_ROWS]) for i in range(0, len(x), BLOCK_ROWS)
    )
    return measure_stream(blocks, samples, float(np.finfo(x.dtype).eps), columns=False).moments


def measure_stream(
    blocks: Iterable[tuple[Float[np.ndarray, "_ p"], Float[np.ndarray, "_ q"] | None]],
    samples: bool = False,
    spacing: float | None = None,
    columns: bool = True,
) -> Measured:
    """All moments of the rows (x, y) in the blocks, in one pass; y is None for an autoencoder, whose target is x.

    Blocks can be of any memory order and length. The result is the same for any cut and order of the rows, to 1e-12
    of the columns' own deviations where their means are up to 1e6 times those.

    Args:
      samples: gather the moments of rows standardised each by itself as well.
      spacing: the relative spacing of the numbers that x holds, if it was cast from a coarser dtype.
      columns: gather the ranges and the third and fourth moments of the columns, which double the work; NaN if not.

    Raises:
      IdjaxError: if there are no rows, or if squares of the numbers overflow float64.
    """
    shift: tuple[np.ndarray, np.ndarray] | None = None
    whole: _Block | None = None
    rooms = _Room(), _Room()
    for x, y in blocks:
        block, shift = _gather(x, y, shift, rooms, columns)
        if samples:
            block = block._replace(samples=_samples(x, y, spacing))
        whole = block if whole is None else _pool(whole, block)
    if whole is None or shift is None:
        raise IdjaxError("there are no rows to measure: give at least 2")
    raw = whole.raw
    mean_x = raw.mean_x + shift[0]
    raw = dataclasses.replace(raw, mean_x=mean_x, mean_y=mean_x if raw.autoencoder else raw.mean_y + shift[1])
    if not all(np.isfinite(part).all() for part in (raw.covariance_xx, raw.covariance_xy, raw.covariance_yy)):
        raise IdjaxError("the squares of these numbers overflow float64: scale the data down")
    inputs = whole.inputs.shifted(shift[0])
    targets = inputs if raw.autoencoder else whole.targets.shifted(shift[1])
    return Measured(MomentSet(raw, whole.samples), inputs, targets)


class _Block(NamedTuple):
    """What is known of some rows. The means of `raw`, `inputs` and `targets` are from a shift that all blocks share."""

    raw: Moments
    inputs: ColumnStats
    targets: ColumnStats
    samples: tuple[Moments, Moments] | None


def _gather(
    x: np.ndarray,
    y: np.ndarray | None,
    shift: tuple[np.ndarray, np.ndarray] | None,
    rooms: tuple["_Room", "_Room"],
    columns: bool,
) -> tuple[_Block, tuple[np.ndarray, np.ndarray]]:
    """The statistics of one block, and their shift: about the means of the first block."""
    with np.errstate(over="ignore", invalid="ignore"):
        dx, center_x, inputs, covariance_xx = _center(x, rooms[0], columns)
        dy, center_y, targets, covariance_yy = (
            (dx, center_x, inputs, covariance_xx) if y is None else _center(y, rooms[1], columns)
        )
        covariance_xy = covariance_xx
        if y is not None:
            covariance_xy = dx.T @ dy / len(x) - np.outer(inputs.mean, targets.mean)
        shift = shift or (center_x, center_y)
        inputs = inputs.shifted(center_x - shift[0])
        targets = inputs if y is None else targets.shifted(center_y - shift[1])
    raw = Moments(
        count=len(x),
        weight=1.0,
        mean_x=inputs.mean,
        mean_y=targets.mean,
        covariance_xx=covariance_xx,
        covariance_xy=covariance_xy,
        covariance_yy=covariance_yy,
        autoencoder=y is None,
    )
    return _Block(raw, inputs, targets, None), shift


class _Room:
    """Memory that is used again for each block: fresh pages cost as much as the arithmetic."""

    def __init__(self) -> None:
        self._flat = np.empty(0)

    def of(self, rows: int, width: int, order: Literal["C", "F"]) -> np.ndarray:
        """An array (rows, width), with whatever is in it."""
        if self._flat.size < rows * width:
            self._flat = np.empty(rows * width)
        return self._flat[: rows * width].reshape((rows, width), order=order)


def _center(v: np.ndarray, room: _Room, columns: bool) -> tuple[np.ndarray, np.ndarray, ColumnStats, np.ndarray]:
    """d = v - c for a c close to the mean, c, and the statistics and covariance of d; the range is that of v.

    c is the mean of the first rows: of all, it is off by less than √(rows / those) deviations, so that taking what is
    left out of sums of powers, which saves a pass over the rows, costs a few digits at most. Constants give d = 0.
    """
    rows, width = v.shape
    v = np.asarray(v, np.float64)
    d = room.of(rows, width, "F" if v.strides[0] < v.strides[1] else "C")
    step = max(1, _CACHED_VALUES // width)
    fold = max(1, _INNER_VALUES // width) if v.flags.c_contiguous and d.flags.c_contiguous else 1
    first = v[:step]
    low, high = first.min(axis=0), first.max(axis=0)
    center = np.where(low == high, low, first.mean(axis=0))
    sums, third, fourth = np.zeros((3, width))
    for start in range(0, rows, step):
        piece, held = v[start : start + step], d[start : start + step]
        # Rows of few columns are taken several at a time, which keeps the inner loops long.
        head = len(piece) - len(piece) % fold
        for stop, at_once in ((slice(head), fold), (slice(head, None), 1)):
            some, into = piece[stop], held[stop]
            if len(some) == 0:
                continue
            if at_once > 1:
                some, into = some.reshape(-1, at_once * width), into.reshape(-1, at_once * width)
            np.subtract(some, np.tile(center, at_once), out=into)
            sums += into.sum(axis=0).reshape(at_once, width).sum(axis=0)
            if columns:
                low = np.minimum(low, some.min(axis=0).reshape(at_once, width).min(axis=0))
                high = np.maximum(high, some.max(axis=0).reshape(at_once, width).max(axis=0))
                squares = into * into
                third += np.einsum("ij,ij->j", squares, into).reshape(at_once, width).sum(axis=0)
                fourth += np.einsum("ij,ij->j", squares, squares).reshape(at_once, width).sum(axis=0)
    mean, products = sums / rows, d.T @ d / rows
    covariance = _symmetric(products - np.outer(mean, mean))
    np.fill_diagonal(covariance, np.maximum(np.diagonal(covariance), 0))  # no variance is less, rounding aside
    second, third, fourth = np.diagonal(products), third / rows, fourth / rows
    unknown = 0.0 if columns else np.nan
    stats = ColumnStats(
        count=rows,
        low=low + unknown,
        high=high + unknown,
        mean=mean,
        second=np.diagonal(covariance).copy(),
        third=third - 3 * mean * second + 2 * mean**3 + unknown,
        fourth=fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4 + unknown,
    )
    return d, center, stats, covariance


def _pool(a: _Block, b: _Block) -> _Block:
    inputs = merge_columns(a.inputs, b.inputs)
    return _Block(
        raw=merge(a.raw, b.raw),
        inputs=inputs,
        targets=inputs if a.raw.autoencoder else merge_columns(a.targets, b.targets),
        samples=(merge(a.samples[0], b.samples[0]), merge(a.samples[1], b.samples[1]))
        if a.samples and b.samples
        else None,
    )


def _samples(x: np.ndarray, y: np.ndarray | None, spacing: float | None) -> tuple[Moments, Moments]:
    """Moments of the rows standardised each by itself, and of those weighted by their variances."""
    spacing = float(np.finfo(x.dtype).eps) if spacing is None else spacing
    with np.errstate(over="ignore", invalid="ignore"):  # `moments_of` refuses what overflows
        z, affine = standardize_samples(x.astype(np.float64), spacing=spacing)
        variance = affine.scale[:, 0] ** 2
    sample = moments_of(z, y)
    return sample, moments_of(z, None, variance) if y is None else sample


def _symmetric(a: np.ndarray) -> np.ndarray:
    return (a + a.T) / 2
