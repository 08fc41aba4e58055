"""Rows → Moments: one pass in float64 over blocks, shifted by each block's mean, and mergeable.

Blocks of a pass are merged about one common shift, close to the mean, so that the rounding of a large mean does not
reach the covariances, however the rows are cut or ordered.

`merge` makes Moments a monoid, so any engine can fold it over any grouping of the rows. Source: Chan, Golub and
LeVeque 1983, "Algorithms for computing the sample variance"; docs/theory.md, section 7.
"""

import collections
import concurrent.futures
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Real

from idjax.moments.blocks import BlockMoments, block_moments, pool
from idjax.moments.columns import ColumnStats
from idjax.moments.normalize import standardize_samples
from idjax.moments.one_thread import ONE_THREAD
from idjax.types import IdjaxError, Moments

BLOCK_ROWS = 8192
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WORKERS = min(CORES, 8)
"""Threads that multiply, each on a core of its own."""

Result = TypeVar("Result")


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
        """Moments of rows standardised each by itself and weighted by its variance."""
        return self._asked_for[1]

    @property
    def _asked_for(self) -> tuple[Moments, Moments]:
        if self.samples is None:
            raise ValueError("these moments were measured without samples=True")
        return self.samples


class Measured(NamedTuple):
    """Result of one pass over the rows: their moments, and statistics of the columns of x and of the target."""

    moments: MomentSet
    inputs: ColumnStats
    targets: ColumnStats


@np.errstate(over="ignore", invalid="ignore")
def moments_of(
    x: Float[np.ndarray, "N p"],
    target: Float[np.ndarray, "N q"] | None = None,
    weights: Float[np.ndarray, " N"] | None = None,
) -> Moments:
    """Moments of one block of rows; target is None for an autoencoder, whose target is x.

    Raises:
      IdjaxError: if squares of the numbers overflow float64.

    Example:
      >>> moments_of(np.array([[1.0], [3.0]])).covariance_xx
      array([[1.]])
    """
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
    of_y = None
    if target is not None:
        mean_y, dy = center(np.asarray(target, np.float64))
        of_y = mean_y, weighted.T @ dy, _symmetric((dy * share[:, None]).T @ dy)
    moments = Moments.of_pair(len(x), total / len(x), (mean_x, _symmetric(weighted.T @ dx)), of_y)
    if not all(np.isfinite(part).all() for part in (moments.weight, moments.covariance_xx, moments.covariance_yy)):
        raise IdjaxError("the squares of these numbers overflow float64: scale the data down")
    return moments


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of both sets of rows together: Σ = (W_a Σ_a + W_b Σ_b)/W + (W_a W_b / W²) δ δᵀ, δ = m_b - m_a."""
    count = a.count + b.count
    total_a, total_b = a.count * a.weight, b.count * b.weight
    total = total_a + total_b
    # Rows that weigh nothing together still have moments: count them by number.
    share_a, share_b = (total_a / total, total_b / total) if total > 0 else (a.count / count, b.count / count)
    step_x, step_y = b.mean_x - a.mean_x, b.mean_y - a.mean_y

    def pooled(first: np.ndarray, second: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return share_a * first + share_b * second + share_a * share_b * np.outer(left, right)

    of_x = a.mean_x + share_b * step_x, pooled(a.covariance_xx, b.covariance_xx, step_x, step_x)
    of_y = None
    if not a.autoencoder:
        cross = pooled(a.covariance_xy, b.covariance_xy, step_x, step_y)
        of_y = a.mean_y + share_b * step_y, cross, pooled(a.covariance_yy, b.covariance_yy, step_y, step_y)
    return Moments.of_pair(count, total / count, of_x, of_y)


def measure(
    x: Float[np.ndarray, "N p"], target: Float[np.ndarray, "N q"] | None = None, samples: bool = True
) -> MomentSet:
    """All moments of the rows, block by block; those of standardised samples if they are asked for.

    Example:
      >>> measure(np.array([[1.0, 0.0], [3.0, 0.0]])).sample.mean_x
      array([ 1., -1.])
    """
    blocks = (
        (x[i : i + BLOCK_ROWS], None if target is None else target[i : i + BLOCK_ROWS])
        for i in range(0, len(x), BLOCK_ROWS)
    )
    return measure_stream(blocks, samples, float(np.finfo(x.dtype).eps), columns=False).moments


def measure_stream(
    blocks: Iterable[tuple[Real[np.ndarray, "_ p"], Real[np.ndarray, "_ q"] | None]],
    samples: bool = False,
    spacing: float | None = None,
    columns: bool = True,
    check: Callable[[], object] = lambda: None,
) -> Measured:
    """All moments of the rows (x, y) in the blocks, in one pass; y is None for an autoencoder, whose target is x.

    Blocks can be of any memory order, length and real dtype. Threads work on them while the next ones are taken, so
    their arrays must not be written to again. The result is the same for any cut and order of the rows, to 1e-12 of
    the columns' own deviations where their means are up to 1e6 times those.

    Args:
      samples: gather the moments of rows standardised each by itself as well.
      spacing: the relative spacing of the numbers that x holds, if it was cast from a coarser dtype.
      columns: gather the ranges and the third and fourth moments of the columns, which double the work; NaN if not.
      check: called where the moments are not finite, to say which number is not; `Stream.check` does.

    Raises:
      IdjaxError: if there are no rows, or if squares of the numbers overflow float64.
    """

    def work(x: np.ndarray, y: np.ndarray | None) -> _Partial:
        rows = block_moments(x, y, columns)
        finite = np.isfinite(rows.covariance).all()  # of no more numbers than were finite themselves
        return _Partial(rows, _samples(x, y, spacing) if samples and finite else None, x.shape[1], y is None)

    whole: _Partial | None = None
    for part in _in_order(work, blocks):
        whole = part if whole is None else _merge_partial(whole, part)
    if whole is None:
        raise IdjaxError("there are no rows to measure: give at least 2")
    covariance = whole.rows.covariance
    if not np.isfinite(covariance).all():
        check()
        raise IdjaxError("the squares of these numbers overflow float64: scale the data down")
    x, y = slice(whole.inputs), slice(0 if whole.autoencoder else whole.inputs, None)
    inputs = whole.rows.absolute.of(x)
    targets = inputs if whole.autoencoder else whole.rows.absolute.of(y)
    of_y = None if whole.autoencoder else (targets.mean, covariance[x, y], covariance[y, y])
    raw = Moments.of_pair(inputs.count, 1.0, (inputs.mean, covariance[x, x]), of_y)
    return Measured(MomentSet(raw, whole.samples), inputs, targets)


class _Partial(NamedTuple):
    """Moments of some rows of x and y, side by side."""

    rows: BlockMoments
    samples: tuple[Moments, Moments] | None
    inputs: int
    autoencoder: bool


def _merge_partial(a: _Partial, b: _Partial) -> _Partial:
    samples = a.samples and b.samples and (merge(a.samples[0], b.samples[0]), merge(a.samples[1], b.samples[1]))
    return a._replace(rows=pool(a.rows, b.rows), samples=samples)


def _in_order(work: Callable[..., Result], items: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
    """Results of the work on each item in order, done in threads while the next are taken; few are held at a time."""
    held: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    items = iter(items)
    first = list(itertools.islice(items, 2))
    # Products of one thread each: those of all cores would wait for each other.
    with ONE_THREAD:
        if len(first) < 2:  # a thread takes longer to start than few rows
            yield from (work(*item) for item in first)
            return
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as threads:
            for item in itertools.chain(first, items):
                held.append(threads.submit(work, *item))
                if len(held) > WORKERS:
                    yield held.popleft().result()
            while held:
                yield held.popleft().result()


def _samples(x: np.ndarray, y: np.ndarray | None, spacing: float | None) -> tuple[Moments, Moments]:
    """Moments of the rows standardised each by itself, and of those weighted by their variances."""
    if spacing is None:
        spacing = float(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps)
    with np.errstate(over="ignore", invalid="ignore"):  # `moments_of` refuses what overflows
        z, affine = standardize_samples(x.astype(np.float64), spacing=spacing)
        variance = affine.scale[:, 0] ** 2
    sample = moments_of(z, y)
    return sample, moments_of(z, None, variance) if y is None else sample


def _symmetric(a: np.ndarray) -> np.ndarray:
    return (a + a.T) / 2
