"""Many learning rates trained at once on the same batches, until the first of them has reached an accuracy.

Weights are (S, R, k, n): S orders of the rows, R learning rates, k classes, n inputs, so that all rates share one
matrix product. The rates, the momentum, the data and the number of updates are traced: races of one shape share one
compilation.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from idjax.nn.descent import Shuffle

FINENESS = 36
"""A look comes every 1/36 of the updates that are behind; between looks lines are straight."""
DRAWN = 256
"""Updates whose rows are drawn at a time, at least an epoch's."""
EXTRA = 1.15
"""How much longer than the first rate to arrive the others may run."""


class LabelledRows(NamedTuple):
    """Inputs (N, n), a 1 for the bias included, and class labels (N,)."""

    a: Any
    labels: Any


class Race(NamedTuple):
    """Updates that each rate took, inf if it did not arrive; and the accuracy, mean over orders, at the looks.

    An arrival is where this mean first is at the target or above it for two looks, straight lines drawn between looks.
    """

    steps: Float[np.ndarray, " R"]
    looks: Float[np.ndarray, " T"]
    accuracy: Float[np.ndarray, "T R"]


class _Runs(NamedTuple):
    """Weights and their velocity."""

    weights: Float[Array, "S R k n"]
    velocity: Float[Array, "S R k n"]


def race(
    training: LabelledRows,
    judged: LabelledRows,
    classes: int,
    rates: Float[np.ndarray, " R"],
    target: float,
    *,
    batch_size: int,
    most_steps: int,
    momentum: float = 0.0,
    orders: int = 2,
    seed: int = 0,
    extra: float = EXTRA,
    begin: float = 0.0,
) -> Race:
    """Trains from zero weights at every rate, and times their arrival at the target accuracy.

    Args:
      extra: the race ends so much later than its first arrival; inf runs it to `most_steps`.
      begin: updates before which nobody is looked at.
    """
    training, judged = (
        LabelledRows(jnp.asarray(rows.a, jnp.float32), jnp.asarray(rows.labels, jnp.int32))
        for rows in (training, judged)
    )
    batches = _DrawnOrders(len(training.labels), batch_size, orders, seed)
    zeros = np.zeros((orders, len(rates), classes, training.a.shape[1]), np.float32)
    runs = _Runs(jnp.asarray(zeros), jnp.asarray(zeros))
    hyper = jnp.asarray(rates, jnp.float32), jnp.asarray(momentum, jnp.float32)
    looks, seen, steps = [0.0], [np.asarray(_accuracies(runs.weights, judged))], np.array([np.inf])
    while (done := int(looks[-1])) < most_steps:
        until = min(max(done + max(1, done // FINENESS), int(begin)), max(most_steps, 1))
        for order, first, last in batches.between(done, until):
            runs = _advance(runs, training, order, *hyper, first, last)
        looks.append(float(until))
        seen.append(np.asarray(_accuracies(runs.weights, judged)))
        steps = arrivals(np.array(looks), np.array(seen), target)
        if until > extra * np.min(steps) or not np.isfinite(np.asarray(runs.weights)).all(axis=(0, 2, 3)).any():
            break
    return Race(steps, np.array(looks), np.array(seen))


class _DrawnOrders:
    """Row numbers of the updates, drawn as they are come to: -1 where the last batch of an epoch is short."""

    def __init__(self, rows: int, batch_size: int, orders: int, seed: int):
        size = min(batch_size, rows)
        self._rows, self._each = rows, -(-rows // size)
        self._epochs = -(-DRAWN // self._each)
        self._shape = orders, self._epochs * self._each, size
        self._shuffles = [Shuffle(np.random.default_rng([seed, order]), rows, rows) for order in range(orders)]
        self._drawn, self._order = 0, jnp.zeros(self._shape, jnp.int32)

    def between(self, done: int, until: int) -> Iterator[tuple[Int[Array, "S P B"], int, int]]:
        """Row numbers, and which updates of them to make."""
        while done < until:
            if done == self._drawn:
                orders, _, size = self._shape
                numbers = np.full((orders, self._epochs, self._each * size), -1, np.int32)
                numbers[:, :, : self._rows] = [shuffle.epochs(self._epochs) for shuffle in self._shuffles]
                self._order = jnp.asarray(numbers.reshape(self._shape))
                self._drawn += self._shape[1]
            first = done - (self._drawn - self._shape[1])
            last = min(until, self._drawn) - done + first
            yield self._order, first, last
            done += last - first


def arrivals(
    looks: Float[np.ndarray, " T"], accuracy: Float[np.ndarray, "T R"], target: float
) -> Float[np.ndarray, " R"]:
    """When each column first is at the target for two looks, between looks by straight lines; inf if it never is."""
    above = accuracy >= target
    stays = above[:-1] & above[1:]
    first = np.argmax(stays, axis=0)
    column = np.arange(accuracy.shape[1])
    before = np.maximum(first - 1, 0)
    low, high = accuracy[before, column], accuracy[first, column]
    share = np.where(high > low, (target - low) / np.where(high > low, high - low, 1), 1.0)
    time = looks[before] + np.clip(share, 0, 1) * (looks[first] - looks[before])
    return np.where(stays.any(axis=0), time, np.inf)


@jax.jit
def _accuracies(weights: Float[Array, "S R k n"], rows: LabelledRows) -> Float[Array, " R"]:
    answer = jnp.argmax(jnp.einsum("mn,srkn->srmk", rows.a, weights), axis=-1)
    finite = jnp.isfinite(weights).all(axis=(-1, -2))
    return jnp.mean(finite * jnp.mean(answer == rows.labels, axis=-1), axis=0)


@functools.partial(jax.jit, donate_argnames="runs")
def _advance(
    runs: _Runs,
    training: LabelledRows,
    order: Int[Array, "S P B"],
    rates: Float[Array, " R"],
    momentum: Float[Array, ""],
    first: Array | int,
    last: Array | int,
) -> _Runs:
    """The updates from `first` to `last` of those whose rows are drawn."""
    classes = jnp.arange(runs.weights.shape[2])[:, None]

    def step(update: Array, runs: _Runs) -> _Runs:
        rows = order[:, update]
        a, labels = training.a[rows], training.labels[rows]
        counts = (rows >= 0) / jnp.sum(rows >= 0, axis=1, keepdims=True)
        shares = jax.nn.softmax(jnp.einsum("srkn,sbn->srkb", runs.weights, a), axis=2)
        errors = (shares - (labels[:, None, None] == classes)) * counts[:, None, None]
        gradient = jnp.einsum("srkb,sbn->srkn", errors, a)
        velocity = momentum * runs.velocity - rates[:, None, None] * gradient
        return _Runs(runs.weights + velocity, velocity)

    return jax.lax.fori_loop(first, last, step, runs)
