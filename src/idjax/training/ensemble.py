"""Runs of one compiled program side by side: their state on the device, advanced together, by blocks or by steps."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from idjax.moments.normalize import Normalizer
from idjax.nn.model import start_layers, to_params
from idjax.nn.step import Hyper, Plan, Rows, hyper_for, initial_state, train_epochs, train_runs
from idjax.settings import Settings
from idjax.training.block_epochs import Runs, batches_in_a_block, initial_runs, params_of, train_in_blocks
from idjax.training.sharding import spread

WORTH_A_COMPILATION = 1_000_000
"""Rows, over all epochs and runs, from which on blocks win back the second that they take longer to compile."""
SMALL_STEP = 64
"""Multiplications: steps of fewer become one loop, which outruns the products of a block."""

Results = tuple[Float[np.ndarray, "k E steps"], Float[np.ndarray, "k E"], Float[np.ndarray, "k E"]]


def goes_in_blocks(settings: Settings, rows: int, weights: int, runs: int = 1) -> bool:
    """Whether training solves blocks of batches: where asked to, or where they apply and are faster.

    Args:
      rows: of training.  weights: numbers in a kernel.
    """
    if settings.solver != "auto" or settings.against_blocks or settings.batch_size == rows:
        return settings.solver == "blocks"
    pays = batches_in_a_block(settings.batch_size) > 1 and settings.batch_size * weights >= SMALL_STEP
    return (pays or runs > 1) and rows * settings.epochs * runs >= WORTH_A_COMPILATION


class Ensemble:
    """k runs of one plan, which share their rows; each with hyperparameters, start and seed of its own."""

    def __init__(self, plan: Plan, settings: Sequence[Settings], inputs: int, in_blocks: bool):
        hypers = [hyper_for(each) for each in settings]
        params = [
            to_params(start_layers(each.start, (inputs, *each.hidden, plan.outputs), each.seed), each.dtype)
            for each in settings
        ]
        self.plan, self.in_blocks = plan, in_blocks
        self.hyper: Hyper = _stack(hypers)
        self.state: Any
        if in_blocks:
            self.state = initial_runs(plan, _stack(params))
        else:
            runs = zip(hypers, params, settings, strict=True)
            self.state = _stack([initial_state(plan, hyper, start, each.seed) for hyper, start, each in runs])
        self.hyper, self.state = spread((self.hyper, self.state), len(settings))

    def __len__(self) -> int:
        return len(self.hyper.learning_rate)

    def keep(self, chosen: Int[np.ndarray, " k"]) -> None:
        """Goes on with these runs alone, in this order; one may be there twice."""
        kept = jax.tree.map(lambda leaf: leaf[chosen], (self.hyper, self.state))
        self.hyper, self.state = spread(kept, len(chosen))

    def params(self, run: int) -> dict[str, Any]:
        """Flax variables of one run."""
        if isinstance(self.state, Runs):
            return params_of(self.plan, self.state.weights[run])
        return jax.tree.map(lambda leaf: leaf[run], self.state.params)

    def advance(
        self,
        fitted: Normalizer,
        training: Rows,
        judged: Rows | None,
        orders: Sequence[Int[np.ndarray, "E N"]],
        repeats: int,
        deviation: jax.Array,
    ) -> Results:
        """Trains for some epochs: each run's order if they differ, one if they share it, none for a full batch.

        Returns:
          Batch losses, and losses and squared errors on the judged rows (NaN without), of every run and epoch.
        """
        common = (training, judged)
        if self.in_blocks:
            order = jnp.asarray(orders[0], jnp.int32)
            self.state, *results = train_in_blocks(self.plan, self.hyper, fitted, self.state, *common, order, deviation)
        elif len(self) == 1:
            order = jnp.asarray(orders[0], jnp.int32) if orders else None
            hyper, state = jax.tree.map(lambda leaf: leaf[0], (self.hyper, self.state))
            results = train_epochs(self.plan, hyper, fitted, state, *common, order, repeats, deviation)
            self.state, *results = jax.tree.map(lambda leaf: leaf[None], results)
        else:
            shared = len(orders) < 2
            order = jnp.asarray(orders[0] if shared else np.stack(orders), jnp.int32) if orders else None
            self.state, *results = train_runs(
                self.plan, self.hyper, fitted, self.state, *common, order, repeats, deviation, shared
            )
        losses, loss, error = (np.asarray(result, np.float64) for result in results)
        return losses, loss, error


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
