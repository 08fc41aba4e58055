"""Exact SGD in parallel over time: the batches of a block are one block-lower-triangular solve, for many runs at once.

For the mean squared error of a linear layer the residual of every batch is linear in the weights before the block. Let
the rows of K batches be A (m, n), the last column all ones for the bias, E (n, c) the weights (minus what they are to
become, for an autoencoder), Y the targets (0 for an autoencoder), G = A Aᵀ, and S_k = 2η/(q B_k) R_k the residuals of
batch k times the step. Then, as step by step,

    R_k = A_k E - Y_k - Σ_{i<k} G_ki S_i,        E ← E - Aᵀ S,

that is (1 + tril(G) 2η/(qB)) R = A E - Y. It is solved by halves: the upper half of the batches, one product of the
lower rows' G with its S, then the lower half. All products are wide: runs that share rows and order share A and G,
and their q columns stand side by side in E, each column with a learning rate and a momentum of its own.

With momentum (v ← β v - η g, E ← E + v) the state is the pair E, V. After h batches

    E_h = E + s_h V - Σ_i w_{h-i} A_iᵀ S_i,      V_h = β^h V - Σ_i β^{h-1-i} A_iᵀ S_i,
    s_h = Σ_{j=1..h} β^j,                        w_r = Σ_{j<r} β^j,

and Nesterov's rule (E ← E + β v - η g) has β s_h for s_h and w_{r+1} for w_r. What is true of E and V is true of
A_k E and A_k V, with G_ki in the place of A_iᵀ: halving works as before. Nothing is approximated but by rounding.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idjax.moments.normalize import Normalizer, encode
from idjax.nn.descent import PreparedData
from idjax.nn.step import Hyper, Plan, evaluate
from idjax.settings import Settings
from idjax.types import Rows

ROWS_IN_A_BLOCK = 32
"""Measured: 64 and 128 rows are no faster, alone or side by side, and take two and four times as long to compile."""
WORTH_A_COMPILATION = 1_000_000
"""Rows, over all epochs and runs, from which on blocks win back the second that they take longer to compile."""
SMALL_STEP = 64
"""Multiplications: steps of fewer become one loop, which outruns the products of a block."""

_product = functools.partial(jnp.matmul, precision="highest")  # else a GPU or TPU rounds to 10 or 8 bits


class Motion(NamedTuple):
    """Weights, with the bias as last row, less what an autoencoder's become, and their velocity (None: no momentum).

    Of k runs (k, n, q) each; as columns side by side (n, c); or what m rows make of the two, (m, c).
    """

    position: Float[Array, "*k n c"]
    velocity: Float[Array, "*k n c"] | None


class HeavyBall(NamedTuple):
    """The rule that the columns follow: twice the learning rate over q and the momentum of each, (c,)."""

    rate: Float[Array, " c"]
    momentum: Float[Array, " c"]
    nesterov: bool


def goes_in_blocks(settings: Settings, rows: int, weights: int, runs: int = 1) -> bool:
    """Whether training solves blocks of batches: where asked to, or where they apply and are faster.

    Args:
      rows: of training.  weights: numbers in a kernel.
    """
    if settings.solver != "auto" or settings.against_blocks or settings.batch_size == rows:
        return settings.solver == "blocks"
    pays = _batches_in_a_block(settings.batch_size) > 1 and settings.batch_size * weights >= SMALL_STEP
    return (pays or runs > 1) and rows * settings.epochs * runs >= WORTH_A_COMPILATION


def _batches_in_a_block(batch_size: int) -> int:
    """How many batches are solved at once; a single one is a step, which gains by standing side by side alone."""
    return max(ROWS_IN_A_BLOCK // batch_size, 1)


class InBlocks:
    """Updates of runs that share rows and order, solved in blocks: an `Updater` of `nn.descent`."""

    def initial(self, plan: Plan, hyper: Hyper, params: dict[str, Any], seeds: list[int]) -> Any:
        """The motion of the runs at rest."""
        del hyper, seeds
        dense = params["params"]["dense"]
        weights = jnp.concatenate([dense["kernel"], dense["bias"][:, None]], axis=1)
        weights -= _identity(plan, weights)
        return Motion(weights, jnp.zeros_like(weights) if plan.has_momentum else None)

    def advance(
        self, prepared: PreparedData, hyper: Hyper, state: Motion, order: jax.Array | None, repeats: int
    ) -> tuple[Any, ...]:
        """One compiled call of `train_in_blocks`."""
        del repeats
        plan, fitted, training, judged = prepared[:4]
        assert order is not None
        return train_in_blocks(plan, hyper, fitted, state, training, judged, order, prepared.deviation)

    def params(self, plan: Plan, state: Motion) -> dict[str, Any]:
        """Flax variables of `DenseModel` with the weights."""
        return _params_of(plan, state.position)


def _params_of(plan: Plan, weights: Float[Array, "*k n q"]) -> dict[str, Any]:
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
    state: Motion,
    training: Rows,
    validation: Rows | None,
    order: Array,
    deviation: Float[Array, ""] | float = 1.0,
) -> tuple[Motion, Array, Array, Array, Array]:
    """Several epochs of k runs in one call; hyper leads with the axis of runs, the rest is as in `train_epochs`.

    Returns:
      State, batch losses (k, epochs, steps), and (k, epochs) each of what `evaluate` says of `validation`.
    """
    runs = len(state.position)
    rates, momenta = (
        jnp.repeat(each, plan.outputs) for each in (2 / plan.outputs * hyper.learning_rate, hyper.momentum)
    )
    blocks = _Blocks(plan, HeavyBall(rates, momenta, plan.nesterov), _known(plan, fitted, training), runs)

    def epoch(motion: Motion, order: Array) -> tuple[Motion, tuple[Array, ...]]:
        motion, losses = blocks.epoch(motion, order)
        return motion, (losses, *judge(motion.position))

    def judge(position: Float[Array, "n c"]) -> tuple[Array, Array, Array]:
        if validation is None:
            nan = jnp.full(runs, jnp.nan, position.dtype)
            return nan, nan, nan

        def one(run: tuple[Hyper, Array], rows: Rows = validation) -> tuple[Array, Array, Array]:
            return evaluate(plan, run[0], fitted, _params_of(plan, run[1]), rows, deviation)

        # One after another: the outputs of all at once would fill the memory.
        return jax.lax.map(one, (hyper, _apart(position, runs)))

    motion, results = jax.lax.scan(epoch, Motion(*jax.tree.map(_side_by_side, state)), order)
    state = Motion(*jax.tree.map(functools.partial(_apart, runs=runs), motion))
    losses, loss, error, accuracy = (jnp.moveaxis(result, -1, 0) for result in results)
    return state, losses, loss, error, accuracy


def _known(plan: Plan, fitted: Normalizer, training: Rows) -> Rows:
    """The rows as the layer sees them, with a column of ones, and their targets; None for an autoencoder."""
    z, target, _ = encode(plan.normalize, fitted, training.x, training.y)
    return Rows(jnp.concatenate([z, jnp.ones_like(z[:, :1])], axis=1), None if plan.autoencoder else target)


class _Blocks(NamedTuple):
    """The blocks of an epoch, inside the compiled program."""

    plan: Plan
    rule: HeavyBall
    known: Rows
    runs: int

    def epoch(self, motion: Motion, order: Array) -> tuple[Motion, Array]:
        """The motion after the batches of an epoch, and their losses, (steps, k)."""
        size = self.plan.batch_size
        steps, rest = divmod(len(order), size)
        together = min(_batches_in_a_block(size), steps)
        last = (size,) * (steps % together) + ((rest,) if rest else ())
        whole = order[: len(order) - sum(last)].reshape(-1, size * together)
        motion, losses = jax.lax.scan(functools.partial(self._block, (size,) * together), motion, self._gather(whole))
        losses = losses.reshape(-1, self.runs)
        if last:
            motion, more = self._block(last, motion, self._gather(order[-sum(last) :]))
            losses = jnp.concatenate([losses, more])
        return motion, losses

    def _gather(self, chosen: Array) -> Rows:
        # As in `train_epochs`, a permutation needs no check of its bounds.
        return jax.tree.map(lambda part: part.at[chosen].get(mode="promise_in_bounds"), self.known)

    def _block(self, sizes: tuple[int, ...], motion: Motion, batches: Rows) -> tuple[Motion, Array]:
        q = self.plan.outputs
        targets = None if batches.y is None else jnp.tile(batches.y, (1, self.runs))
        motion, squares = descend(self.rule, motion, batches.x, targets, sizes)
        counts = q * jnp.array(sizes, squares.dtype)
        return motion, jnp.sum(squares.reshape(len(sizes), self.runs, q), axis=2) / counts[:, None]


def _side_by_side(weights: Float[Array, "k n q"]) -> Float[Array, "n c"]:
    return jnp.moveaxis(weights, 0, 1).reshape(weights.shape[1], -1)


def _apart(columns: Float[Array, "n c"], runs: int) -> Float[Array, "k n q"]:
    return jnp.moveaxis(columns.reshape(len(columns), runs, -1), 1, 0)


def descend(
    rule: HeavyBall,
    state: Motion,
    rows: Float[Array, "m n"],
    targets: Float[Array, "m c"] | None,
    sizes: tuple[int, ...],
) -> tuple[Motion, Float[Array, "K c"]]:
    """The updates of K consecutive batches, of the given numbers of rows.

    Returns:
      The weights and velocity after them, and Σ R² over the rows of each batch, before its own update.
    """
    seen = _through(rows, state)
    if targets is not None:
        seen = seen._replace(position=seen.position - targets)
    steps, squares = _solve(rule, _product(rows, rows.T), seen, sizes)
    return _push(rule, state, rows.T, steps, sizes), jnp.stack(squares)


def _through(matrix: Float[Array, "m n"], state: Motion) -> Motion:
    return jax.tree.map(functools.partial(_product, matrix), state)


def _solve(
    rule: HeavyBall, gram: Float[Array, "m m"], seen: Motion, sizes: tuple[int, ...]
) -> tuple[Float[Array, "m c"], list[Float[Array, " c"]]]:
    """The steps S of the batches, and Σ R² of each, from what the first weights make of their rows."""
    if len(sizes) == 1:
        return rule.rate / sizes[0] * seen.position, [jnp.sum(seen.position**2, axis=0)]
    half = len(sizes) // 2
    cut = sum(sizes[:half])
    upper, lower = (jax.tree.map(lambda part, rows=rows: part[rows], seen) for rows in (slice(cut), slice(cut, None)))
    steps, squares = _solve(rule, gram[:cut, :cut], upper, sizes[:half])
    lower = _push(rule, lower, gram[cut:, :cut], steps, sizes[:half])
    later, more = _solve(rule, gram[cut:, cut:], lower, sizes[half:])
    return jnp.concatenate([steps, later]), squares + more


def _push(
    rule: HeavyBall, state: Motion, matrix: Float[Array, "l m"], steps: Float[Array, "m c"], sizes: tuple[int, ...]
) -> Motion:
    """The pair after the steps S of some batches: matrix is Aᵀ for the weights, a part of G for the rows' view."""
    if state.velocity is None:
        return Motion(state.position - _product(matrix, steps), None)
    count = len(sizes)
    powers = rule.momentum ** jnp.arange(count + 2, dtype=steps.dtype)[:, None]  # (K+2, c)
    sums = jnp.cumsum(powers, axis=0)  # sums[r] = w_{r+1}
    ahead = int(rule.nesterov)

    def weighted(weights: Float[Array, "K c"]) -> Float[Array, "l c"]:
        each_row = jnp.repeat(weights[::-1], np.array(sizes), axis=0, total_repeat_length=len(steps))
        return _product(matrix, each_row * steps)

    drift = rule.momentum * sums[count - 1] * (rule.momentum if rule.nesterov else 1)
    return Motion(
        state.position + drift * state.velocity - weighted(sums[ahead : ahead + count]),
        powers[count] * state.velocity - weighted(powers[:count]),
    )
