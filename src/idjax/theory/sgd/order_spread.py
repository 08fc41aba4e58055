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

MOST_RECORDS = 12
"""Epochs whose spread is worked out; others lie between them."""
NUMBERS_AT_ONCE = 2**20
"""Second moments that are held at once."""
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
    variances = np.zeros((2, len(records)))
    together = max(1, NUMBERS_AT_ONCE // (len(cells) * len(parts[0].start) ** 2))
    known = [_Known(part, cells, steps) for part in parts]
    for epoch, counts in _epochs_read(records).items():
        for one in known:
            one.read(epoch)
        for first in range(0, len(counts), together):
            index, count = np.array(list(counts.items())[first : first + together]).T
            asked = records[index := index.astype(int)] - 1
            place = fluctuation.Epoch(cells, lengths, float(steps), asked == epoch)
            here = tuple(one.at(epoch, asked) for one in known)
            variances[:, index] += count * fluctuation.variances(here, place, batch_size, rows)
    return Spread(records, *np.sqrt(np.maximum(variances, 0.0)))


def epochs_read(epochs: int) -> list[int]:
    """The epochs, from 0, whose second moments `spread_over_batches` reads."""
    return list(_epochs_read(_records(epochs)))


class _Known:
    """Outputs that learn alike, and what is left of their modes at the ends of the epochs that are read."""

    def __init__(self, outputs: OutputGroup, cells: Float[np.ndarray, " c"], steps: int):
        self._outputs, self._cells, self._steps = outputs, cells.astype(int), steps
        self._updates = functools.cache(outputs.updates)
        self._means = outputs.rates.mean(axis=1)
        rule = self._updates(float(self._means[0]))
        # Momentum's step is that of its sum.
        self._sum, self._modes = 1 / (1 - rule.momentum), rule.eigenvalues
        self._epochs, self._held = (read := epochs_read(len(outputs.rates))), dict[int, np.ndarray]()
        self._left = {0: np.zeros_like(self._modes)}
        for begin, end in itertools.pairwise(sorted({0, *read, *(epoch + 1 for epoch in read)})):
            self._left[end] = self._left[begin] + steps * self._logs(slice(begin, end)).sum(axis=0)

    def _logs(self, epochs: slice | Int[np.ndarray, " e"]) -> Float[np.ndarray, "e n"]:
        return fluctuation.log_kept(self._sum * self._means[epochs, None] * self._modes)

    def read(self, epoch: int) -> None:
        """Reads the second moments of an epoch, and what follows from them alone."""
        rates = self._sum * np.broadcast_to(self._outputs.rates[epoch], self._steps)
        if epoch not in self._held:
            # Together, for epochs share what the first of them costs.
            together = max(1, NUMBERS_AT_ONCE // (len(self._cells) * self._modes.size**2))
            epochs = [later for later in self._epochs if later >= epoch][:together]
            moments = self._outputs.moments(np.add.outer(self._steps * np.array(epochs, float), self._cells).ravel())
            self._held = dict(zip(epochs, np.split(moments, len(epochs)), strict=True))
        rule, second = self._rule(epoch), self._held[epoch]
        chance = fluctuation.chance_of(rule, rates[self._cells], second)
        self._read = second, chance, fluctuation.twice_of(rule, second), rates

    def at(self, epoch: int, asked: Int[np.ndarray, " r"]) -> fluctuation.GroupInEpoch:
        """In the epoch that was read last, for the losses of later ones or its own."""
        outputs, cells, left = self._outputs, self._cells, self._left
        second, chance, twice, rates = self._read
        sums = np.append(0.0, np.cumsum(rates))
        return fluctuation.GroupInEpoch(
            self._rule(epoch),
            np.diagonal(outputs.start),
            outputs.noise,
            outputs.share,
            second,
            chance,
            twice,
            rates[cells],
            sums[cells] / np.maximum(cells, 1),
            (sums[-1] - sums[cells + 1]) / np.maximum(self._steps - 1 - cells, 1),
            left[epoch],
            np.stack([left[max(one, epoch + 1)] for one in asked.tolist()]) - left[epoch + 1],
            np.stack([left[one + 1] for one in asked.tolist()]) - left[epoch + 1],
            self._logs(asked),
        )

    def _rule(self, epoch: int) -> Updates:
        return self._updates(float(self._means[epoch]))


def _records(epochs: int) -> Int[np.ndarray, " r"]:
    """The epochs, from 1, whose spread is worked out."""
    return np.unique(np.round(np.geomspace(1, epochs, MOST_RECORDS))).astype(int)


def _epochs_read(records: Int[np.ndarray, " r"]) -> dict[int, dict[int, float]]:
    """The epochs, from 0, that stand for others up to each of the records, in order: for how many, by record."""
    read: dict[int, dict[int, float]] = {}
    for index, record in enumerate(records):
        for epoch, count in zip(*_cells(int(record)), strict=True):
            read.setdefault(int(epoch), {})[index] = float(count)
    return dict(sorted(read.items()))


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
