"""How far the losses of one layer's run stray with the order of its rows: the theory, for SGD and momentum."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.prediction import budget
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.prediction.dynamics.trajectory import Losses
from idjax.theory.sgd import order_spread

SPREAD_CELLS = 20 * 144
"""Cells that the spread over the orders of the rows is summed over: of an epoch, times pairs of epochs."""
SPREAD_WORK = 43 * SPREAD_CELLS
"""Products that each takes, for a pair of modes."""
NOTHING = 1e-12
"""Share of the first loss below which the spread is not told relative to the loss."""


class Along(NamedTuple):
    """Along a run, of a group of outputs as the loss counts it: its rates η', (E, 1) where one holds for all of an
    epoch, and its second moments before updates, ascending, of the epochs that are read, (t, n, n).
    """

    rates: Float[np.ndarray, "E m"]
    moments: Callable[[Float[np.ndarray, " t"]], Float[np.ndarray, "t n n"]]


def spread_over_orders(
    spec: RunSpec,
    along: Sequence[Along],
    train: Float[np.ndarray, " E"],
    ends: Float[np.ndarray, " E"],
    rows: Float[np.ndarray, "N n"] | None = None,
) -> Losses | None:
    """Relative standard deviations of the losses over the orders of the rows; None beyond the budget.

    Those of validation are taken to be what they are at the ends of epochs of the training rows.

    Args:
      train, ends: training losses above their floor, means of the epochs and at their ends.
      rows: in the eigenbasis, where they are not to be taken as Gaussian.
    """
    n, groups = spec.problem.spectrum.eigenvalues.size, spec.problem.groups
    if n**2 * (SPREAD_WORK * groups + (0 if rows is None else SPREAD_CELLS * len(rows))) > budget.ORDERS:
        return None
    parts = [_outputs(spec, *group) for group in zip(along, spec.problem.output_groups, strict=True)]
    found = order_spread.spread_over_batches(parts, spec.mean_batch, spec.steps, spec.settings.epochs, rows)

    def relative(deviation: np.ndarray, loss: np.ndarray) -> np.ndarray:
        index = found.epochs - 1
        # Where nothing strays, nothing may be left of the loss.
        scale = np.maximum(loss[index], NOTHING * loss[0])
        known = np.divide(deviation, scale, out=np.zeros_like(deviation), where=deviation != 0)
        return np.interp(np.log(spec.epochs), np.log(found.epochs), known)

    end = relative(found.end, ends)
    return Losses(relative(found.train, train), end, end)


def _outputs(spec: RunSpec, along: Along, outputs: slice) -> order_spread.OutputGroup:
    share, noise = spec.problem.output_shares[outputs], spec.problem.on_train.residual[outputs]
    start, kick = spec.counted(outputs)
    mean_share = float(share**2 @ noise) / kick if kick > 0 else 0.0
    return order_spread.OutputGroup(along.rates, spec.updates, start, along.moments, kick, mean_share)
