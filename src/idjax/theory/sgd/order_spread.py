"""How far the losses of one run of minibatch SGD stray from their expectation with the order of its rows.

What the batches of every epoch add, from `fluctuation`, is summed over the epochs up to each loss: over some that stand
for others, dense at both ends. See docs/theory.md, section 16.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from idjax.theory.sgd import fluctuation
from idjax.theory.sgd.minibatch import Updates
from idjax.theory.sgd.mode_pairs import all_pairs

MOST_RECORDS = 12
"""Epochs whose spread is worked out; others lie between them."""
NUMBERS_AT_ONCE, NUMBERS_IN_CACHE = 2**20, 2**15
"""Second moments that are held at once, and those that are worked with."""
GROWTH = 2.0
"""Distance of a step (or an epoch) from the end that it is near to, over that of the one before."""


class OutputGroup(NamedTuple):
    """Outputs that learn alike; s_j is what one counts in the loss.

    rates: η' of every update of every epoch, (E, 1) where it is one for all of an epoch.  updates: those at a rate.
    start: Σ_j s_j e_j e_jᵀ (n, n).  moments: its expectation before updates, ascending, of epochs read, (t, n, n).
    noise: Σ_j s_j σ_j².  share: Σ_j s_j² σ_j² / Σ_j s_j σ_j².
    """

    rates: Float[np.ndarray, "E m"]
    updates: Callable[[float], Updates]
    start: Float[np.ndarray, "n n"]
    moments: Callable[[Float[np.ndarray, " t"]], Float[np.ndarray, "t n n"]]
    noise: float
    share: float


class Spread(NamedTuple):
    """Standard deviations of the mean of the batch losses of these epochs, and of the loss at their ends."""

    epochs: Int[np.ndarray, " r"]
    train: Float[np.ndarray, " r"]
    end: Float[np.ndarray, " r"]


def spread_over_batches(
    parts: Sequence[OutputGroup],
    batch_size: float,
    steps: int,
    epochs: int,
    rows: Float[np.ndarray, "N n"] | None = None,
) -> Spread:
    """The spread over the orders of the rows, in a run of so many epochs of so many updates each.

    rows, in the eigenbasis, are of any distribution: what they add to first order is theirs, in place of Gaussian
    rows'. Range: small against the loss. Momentum counts by its sum, as slow modes feel it.
    """
    records = _records(epochs)
    cells, lengths = _cells(steps)
    known, rule = [_Known(part, cells, steps) for part in parts], parts[0].updates(float(parts[0].rates[0].mean()))
    place, pairs = fluctuation.Epoch(cells, lengths, float(steps)), _epochs_read(records)
    variances = np.zeros((2, len(records)))
    size = max(1, NUMBERS_IN_CACHE // (len(cells) * rule.eigenvalues.size**2))
    for first in range(0, len(pairs.read), size):
        read, record, others = (part[first : first + size] for part in pairs)
        here = tuple(one.at(read, records[record] - 1) for one in known)
        added = others * fluctuation.variances(here, place, rule.eigenvalues, rule.mean, batch_size, rows)
        np.add.at(variances.T, record, added.T)
    return Spread(records, *np.sqrt(np.maximum(variances, 0.0)))


def epochs_read(epochs: int) -> list[int]:
    """The epochs, from 0, whose second moments `spread_over_batches` reads."""
    return np.unique(_epochs_read(_records(epochs)).read).tolist()


class _Known:
    """Outputs that learn alike, and what is left of their modes at the ends of the epochs that are read."""

    def __init__(self, outputs: OutputGroup, cells: Float[np.ndarray, " c"], steps: int):
        self._outputs, self._cells, self._steps = outputs, cells.astype(int), steps
        self._updates = functools.cache(outputs.updates)
        self._means = outputs.rates.mean(axis=1)
        rule = self._updates(float(self._means[0]))
        # Momentum's step is that of its sum.
        self._sum, self._modes = 1 / (1 - rule.momentum), rule.eigenvalues
        self._epochs, self._held = (read := epochs_read(len(outputs.rates))), dict[int, fluctuation.Within]()
        self._left = {0: np.zeros_like(self._modes)}
        for begin, end in itertools.pairwise(sorted({0, *read, *(epoch + 1 for epoch in read)})):
            self._left[end] = self._left[begin] + steps * self._logs(slice(begin, end)).sum(axis=0)

    def _logs(self, epochs: slice | Int[np.ndarray, " e"]) -> Float[np.ndarray, "e n"]:
        return fluctuation.log_kept(self._sum * self._means[epochs, None] * self._modes)

    def at(self, epochs: Int[np.ndarray, " r"], asked: Int[np.ndarray, " r"]) -> fluctuation.GroupInEpochs:
        """In epochs that are read, ascending, for the losses of later ones or their own."""
        outputs, pairs = self._outputs, zip(epochs.tolist(), asked.tolist(), strict=True)
        ends = [
            (self._left[one], self._left[one + 1], self._left[max(at, one + 1)], self._left[at + 1])
            for one, at in pairs
        ]
        before, after, beginning, end = np.array(ends).swapaxes(0, 1)
        return fluctuation.GroupInEpochs(
            fluctuation.Within(*map(np.array, zip(*map(self._read, epochs.tolist()), strict=True))),
            np.diagonal(outputs.start),
            outputs.noise,
            outputs.share,
            asked == epochs,
            before,
            beginning - after,
            end - after,
            self._logs(asked),
        )

    def _read(self, epoch: int) -> fluctuation.Within:
        """Rates, second moments and noise within an epoch.

        The second moments of the next at its rate are read with it, which share what the first of them costs.
        """
        if epoch not in self._held:
            cells, n, rule = self._cells, self._modes.size, self._updates(float(self._means[epoch]))
            later = self._epochs[self._epochs.index(epoch) :][: max(1, NUMBERS_AT_ONCE // (len(cells) * n**2))]
            same = list(itertools.takewhile(lambda other: self._means[other] == self._means[epoch], later))
            moments = self._outputs.moments(np.add.outer(self._steps * np.array(same, float), cells).ravel())
            apart = same if self._outputs.rates.shape[1] > 1 else same[:1]
            rates = [self._rates(one) for one in apart] * (len(same) // len(apart))
            chance = fluctuation.chance_of(rule, np.concatenate([there for there, *_ in rates]), moments)
            upper, twice = all_pairs(n), fluctuation.twice_of(rule, moments)
            parts = zip(*(np.split(each, len(same)) for each in (moments[:, *upper], chance, twice)), strict=True)
            # Earlier epochs are not asked for again.
            each = zip(same, parts, rates, strict=True)
            self._held = {one: fluctuation.Within(rule.batch_noise[upper], *part, *rate) for one, part, rate in each}
        return self._held[epoch]

    def _rates(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rates of the cells' updates, and their means over those of the epoch before and after each."""
        cells, steps = self._cells, self._steps
        rates = self._sum * np.broadcast_to(self._outputs.rates[epoch], steps)
        sums = np.append(0.0, np.cumsum(rates))
        after = (sums[-1] - sums[cells + 1]) / np.maximum(steps - 1 - cells, 1)
        return rates[cells], sums[cells] / np.maximum(cells, 1), after


def _records(epochs: int) -> Int[np.ndarray, " r"]:
    """The epochs, from 1, whose spread is worked out."""
    return np.unique(np.round(np.geomspace(1, epochs, MOST_RECORDS))).astype(int)


class _Read(NamedTuple):
    """Epochs, from 0 and ascending, that stand for others up to a record; which of the records, and for how many."""

    read: Int[np.ndarray, " r"]
    record: Int[np.ndarray, " r"]
    others: Float[np.ndarray, " r"]


def _epochs_read(records: Int[np.ndarray, " r"]) -> _Read:
    cells = [_cells(int(record)) for record in records]
    read, others = np.concatenate(cells, axis=1)
    record = np.repeat(np.arange(len(records)), [len(each[0]) for each in cells])
    order = np.argsort(read, kind="stable")
    return _Read(read[order].astype(int), record[order], others[order])


@functools.lru_cache(256)
def _cells(count: int) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """Of the numbers from 0 to count - 1 those that stand for others, dense at both ends, and for how many each."""
    cuts = [0.0]
    while cuts[-1] < count / 2:
        cuts.append(cuts[-1] + max(1.0, np.floor(cuts[-1] * (GROWTH - 1))))
    half = np.array([cut for cut in cuts if cut < count / 2])
    bounds = np.unique(np.concatenate([half, [count // 2], count - half]))
    lengths = np.diff(bounds)
    return bounds[:-1] + np.floor((lengths - 1) / 2), lengths
