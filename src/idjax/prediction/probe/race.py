"""Many learning rates trained at once on the same batches, until the first of them has reached an accuracy.

Weights are (R, S, n, k): R learning rates, S orders of the rows, n inputs, k classes. The rates, the momentum, the
data and how many updates there are between two looks are traced: races of one shape share one compilation.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from idjax.nn import optimizers

LOOKS = 16
"""Looks at the accuracy on the judged rows in one compiled call."""
FINENESS = 24
"""A look comes every 1/24 of the updates that are behind; between looks lines are straight."""
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


class _RaceState(NamedTuple):
    weights: Float[Array, "R S n k"]
    optimizer: Any
    order: Int[Array, "S N"]
    key: Array
    done: Int[Array, ""]


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
) -> Race:
    """Trains from zero weights at every rate, and times their arrival at the target accuracy.

    Args:
      extra: the race ends so much later than its first arrival; inf runs it to `most_steps`.
    """
    training, judged = (
        LabelledRows(jnp.asarray(rows.a, jnp.float32), jnp.asarray(rows.labels, jnp.int32))
        for rows in (training, judged)
    )
    batch_size = min(batch_size, len(training.labels))
    shape = (len(rates), orders, training.a.shape[1], classes)
    weights = jnp.zeros(shape, jnp.float32)
    order = jnp.tile(jnp.arange(len(training.labels)), (orders, 1))
    hyper = jnp.asarray(rates, jnp.float32), jnp.asarray(momentum, jnp.float32)
    start = _over_runs(_start)(*hyper, weights)
    state = _RaceState(weights, start, order, jax.random.key(seed), jnp.asarray(0))
    looks, seen, done = [0.0], [_accuracies(weights, judged)], 0
    while done < most_steps:
        every = max(1, done // FINENESS)
        state, accuracies = _advance(state, training, judged, *hyper, every, batch_size)
        looks += [float(done + every * (look + 1)) for look in range(LOOKS)]
        done += every * LOOKS
        seen += list(np.asarray(accuracies))
        steps = arrivals(np.array(looks), np.array(seen), target)
        if done > extra * np.min(steps) + every or not np.isfinite(np.asarray(state.weights)).all(axis=(1, 2, 3)).any():
            break
    return Race(arrivals(np.array(looks), np.array(seen), target), np.array(looks), np.array(seen))


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


def _rule(rate: Array, momentum: Array) -> optax.GradientTransformation:
    return optimizers.build("sgd", rate, momentum=momentum)


def _start(rate: Array, momentum: Array, weights: Array) -> Any:
    return _rule(rate, momentum).init(weights)


def _update(rate: Array, momentum: Array, weights: Array, optimizer: Any, a: Array, labels: Array, counts: Array):
    """One update of one run on a batch whose rows count 0 where there are none."""

    def loss(weights: Array) -> Array:
        losses = optax.softmax_cross_entropy_with_integer_labels(a @ weights, labels)
        return jnp.sum(counts * losses) / jnp.sum(counts)

    updates, optimizer = _rule(rate, momentum).update(jax.grad(loss)(weights), optimizer)
    return optax.apply_updates(weights, updates), optimizer


def _over_runs(function: Any) -> Any:
    """f(rate, momentum, state of a run...) → the same over R rates and S orders."""
    return jax.vmap(jax.vmap(function, (None, None, 0)), (0, None, 0))


_UPDATES = jax.vmap(jax.vmap(_update, (None, None, 0, 0, 0, 0, None)), (0, None, 0, 0, None, None, None))


def _accuracies(weights: Array, rows: LabelledRows) -> Float[Array, " R"]:
    answer = jnp.argmax(jnp.einsum("mn,rsnk->rsmk", rows.a, weights), axis=-1)
    finite = jnp.isfinite(weights).all(axis=(-1, -2))
    return jnp.mean(finite * jnp.mean(answer == rows.labels, axis=-1), axis=-1)


@functools.partial(jax.jit, static_argnames="batch_size", donate_argnames="state")
def _advance(
    state: _RaceState,
    training: LabelledRows,
    judged: LabelledRows,
    rates: Array,
    momentum: Array,
    every: Array | int,
    batch_size: int,
) -> tuple[_RaceState, Float[Array, "looks R"]]:
    rows = len(training.labels)
    batches = -(-rows // batch_size)
    place = jnp.arange(batch_size)

    def shuffled(state: _RaceState) -> _RaceState:
        key, use = jax.random.split(state.key)
        order = jax.vmap(lambda key: jax.random.permutation(key, rows))(jax.random.split(use, len(state.order)))
        return state._replace(order=order, key=key)

    def step(_: Array, state: _RaceState) -> _RaceState:
        batch = state.done % batches
        state = jax.lax.cond(batch == 0, shuffled, lambda state: state, state)
        at = batch * batch_size + place
        chosen = state.order[:, jnp.minimum(at, rows - 1)]
        counts = jnp.asarray(at < rows, jnp.float32)
        weights, optimizer = _UPDATES(
            rates, momentum, state.weights, state.optimizer, training.a[chosen], training.labels[chosen], counts
        )
        return state._replace(weights=weights, optimizer=optimizer, done=state.done + 1)

    def look(state: _RaceState, _: None) -> tuple[_RaceState, Array]:
        state = jax.lax.fori_loop(0, every, step, state)
        return state, _accuracies(state.weights, judged)

    return jax.lax.scan(look, state, None, length=LOOKS)
