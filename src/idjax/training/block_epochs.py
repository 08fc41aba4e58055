"""Epochs of SGD by `blocks`, for several runs that share rows and order: the twin of `steps.train_epochs`."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from idjax.moments.normalize import Normalizer, encode
from idjax.nn.step import Hyper, Plan, Rows, evaluate
from idjax.training import block_sgd

ROWS_IN_A_BLOCK = 32
"""Measured: 64 and 128 rows are no faster, alone or side by side, and take two and four times as long to compile."""


class Runs(NamedTuple):
    """Runs side by side, (k, p + 1, q) each: kernels with the bias as last row, less what an autoencoder's become."""

    weights: Float[Array, "k n q"]
    velocity: Float[Array, "k n q"] | None


def batches_in_a_block(batch_size: int) -> int:
    """How many batches are solved at once; a single one is a step, which gains by standing side by side alone."""
    return max(ROWS_IN_A_BLOCK // batch_size, 1)


def initial_runs(plan: Plan, params: dict[str, Any]) -> Runs:
    """From Flax variables with a leading axis of runs."""
    dense = params["params"]["dense"]
    weights = jnp.concatenate([dense["kernel"], dense["bias"][:, None]], axis=1)
    weights -= _identity(plan, weights)
    return Runs(weights, jnp.zeros_like(weights) if plan.has_momentum else None)


def params_of(plan: Plan, weights: Float[Array, "*k n q"]) -> dict[str, Any]:
    """Flax variables of `DenseModel`, with the leading axis of runs if the weights have one."""
    weights = weights + _identity(plan, weights)
    return {"params": {"dense": {"kernel": weights[..., :-1, :], "bias": weights[..., -1, :]}}}


def _identity(plan: Plan, weights: Float[Array, "*k n q"]) -> Float[Array, "n q"] | float:
    """Where an autoencoder's weights lead: the identity, and no bias."""
    return jnp.eye(*weights.shape[-2:], dtype=weights.dtype) if plan.autoencoder else 0.0


@functools.partial(jax.jit, static_argnames="plan", donate_argnames="state")
def train_in_blocks(
    plan: Plan,
    hyper: Hyper,
    fitted: Normalizer,
    state: Runs,
    training: Rows,
    validation: Rows | None,
    order: Array,
    deviation: Float[Array, ""] | float = 1.0,
) -> tuple[Runs, Array, Array, Array]:
    """Several epochs of k runs in one call; hyper leads with the axis of runs, the rest is as in `train_epochs`.

    Returns:
      State, batch losses (k, epochs, steps), and (k, epochs) each of the loss and the squared error on `validation`.
    """
    runs, _, q = state.weights.shape
    count = order.shape[1]
    z, target, _ = encode(plan.normalize, fitted, training.x, training.y)
    rows = jnp.concatenate([z, jnp.ones_like(z[:, :1])], axis=1)
    descent = block_sgd.Descent(
        jnp.repeat(2 / q * hyper.learning_rate, q), jnp.repeat(hyper.momentum, q), plan.nesterov
    )

    steps, rest = divmod(count, plan.batch_size)
    together = min(batches_in_a_block(plan.batch_size), steps)
    sizes = (plan.batch_size,) * together
    last = (plan.batch_size,) * (steps % together) + ((rest,) if rest else ())

    def gather(chosen: Array) -> tuple[Array, Array | None]:
        # As in `train_epochs`, a permutation needs no check of its bounds.
        known = (rows, None if plan.autoencoder else target)
        return jax.tree.map(lambda part: part.at[chosen].get(mode="promise_in_bounds"), known)

    def block(
        sizes: tuple[int, ...], pair: block_sgd.Pair, batches: tuple[Array, Array | None]
    ) -> tuple[block_sgd.Pair, Array]:
        rows, target = batches
        targets = None if target is None else jnp.tile(target, (1, runs))
        pair, squares = block_sgd.descend(descent, pair, rows, targets, sizes)
        counts = q * jnp.array(sizes, squares.dtype)
        return pair, jnp.sum(squares.reshape(len(sizes), runs, q), axis=2) / counts[:, None]

    def epoch(pair: block_sgd.Pair, order: Array) -> tuple[block_sgd.Pair, tuple[Array, Array, Array]]:
        whole = order[: count - sum(last)].reshape(-1, sum(sizes))
        pair, losses = jax.lax.scan(functools.partial(block, sizes), pair, gather(whole))
        losses = losses.reshape(-1, runs)
        if last:
            pair, more = block(last, pair, gather(order[-sum(last) :]))
            losses = jnp.concatenate([losses, more])
        return pair, (losses, *judge(pair.position))

    def judge(position: Float[Array, "n c"]) -> tuple[Array, Array]:
        if validation is None:
            return jnp.full(runs, jnp.nan, position.dtype), jnp.full(runs, jnp.nan, position.dtype)

        def one(run: tuple[Hyper, Array], rows: Rows = validation) -> tuple[Array, Array]:
            return evaluate(plan, run[0], fitted, params_of(plan, run[1]), rows, deviation)

        # One after another: the outputs of all at once would fill the memory.
        return jax.lax.map(one, (hyper, _apart(position, runs)))

    pair = block_sgd.Pair(*jax.tree.map(_side_by_side, state))
    pair, results = jax.lax.scan(epoch, pair, order)
    state = Runs(*jax.tree.map(functools.partial(_apart, runs=runs), pair))
    losses, loss, error = (jnp.moveaxis(result, -1, 0) for result in results)
    return state, losses, loss, error


def _side_by_side(weights: Float[Array, "k n q"]) -> Float[Array, "n c"]:
    return jnp.moveaxis(weights, 0, 1).reshape(weights.shape[1], -1)


def _apart(columns: Float[Array, "n c"], runs: int) -> Float[Array, "k n q"]:
    return jnp.moveaxis(columns.reshape(len(columns), runs, -1), 1, 0)
