"""How far the losses of one layer's run stray with the order of its rows: the theory, for SGD and momentum."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idjax.prediction.dynamics.empirical_rows import rows_seen
from idjax.prediction.dynamics.minibatch import MinibatchTrajectory, group_rates, shuffled_updates
from idjax.prediction.dynamics.scheduled import ScheduledTrajectory
from idjax.prediction.dynamics.trajectory import Losses, RunSpec
from idjax.theory.sgd import order_spread
from idjax.theory.sgd.horizons import moments_at
from idjax.theory.sgd.minibatch import at_start

MOST_WORK = 2e10
"""Products that it may cost, well under a minute."""
SPREAD_CELLS = 20 * 144
"""Cells that the spread over the orders of the rows is summed over: of an epoch, times pairs of epochs."""
SPREAD_WORK = 43 * SPREAD_CELLS
"""Products that each takes, for a pair of modes."""
NOTHING = 1e-12
"""Share of the first loss below which the spread is not told relative to the loss."""


def spread_over_orders(
    spec: RunSpec, trajectory: MinibatchTrajectory | ScheduledTrajectory, epochs: Float[np.ndarray, " E"]
) -> Losses | None:
    """Relative standard deviations of the losses over the orders of the rows; None if they take minutes.

    Those of validation are taken to be what they are at the ends of epochs of the training rows.
    """
    problem, settings = spec.problem, spec.settings
    n = problem.spectrum.eigenvalues.size
    rows = None
    if spec.empirical_rows and spec.sample is not None:
        rows = np.asarray(rows_seen(problem, settings, spec.sample).inputs)
    if n**2 * (SPREAD_WORK * problem.groups + (0 if rows is None else SPREAD_CELLS * len(rows))) > MOST_WORK:
        return None
    found = order_spread.spread_over_batches(
        _outputs(spec, trajectory), spec.mean_batch, spec.steps, settings.epochs, rows
    )
    at_end = (
        trajectory.at_ends if isinstance(trajectory, ScheduledTrajectory) else trajectory.at(epochs * spec.steps).train
    )

    def relative(deviation: np.ndarray, loss: np.ndarray) -> np.ndarray:
        index = found.epochs - 1
        known = deviation / np.maximum(loss[index], NOTHING * loss[0])
        return np.interp(np.log(epochs), np.log(found.epochs), known)

    end = relative(found.end, at_end)
    return Losses(relative(found.train, trajectory.losses(epochs).train), end, end)


def _outputs(spec: RunSpec, trajectory: MinibatchTrajectory | ScheduledTrajectory) -> list[order_spread.Outputs]:
    """The groups of outputs, as the loss counts them, and their rates and second moments along the trajectory."""
    problem, settings = spec.problem, spec.settings
    parts = []
    for k, rate in enumerate(group_rates(problem, settings.step_size)):
        outputs = problem.output_groups[k]
        share, noise = problem.output_shares[outputs], problem.on_train.residual[outputs]
        errors = spec.coefficients[:, outputs]
        start, kick = (errors * share) @ errors.T, float(share @ noise)
        if isinstance(trajectory, ScheduledTrajectory):
            rates, moments = trajectory.groups[k].rates, functools.partial(trajectory.moments_at, trajectory.groups[k])
        else:
            rates = np.full((settings.epochs, 1), rate)
            rule = shuffled_updates(spec, rate)
            moments = functools.partial(moments_at, rule, at_start(jnp.asarray(start)), kick)
        mean_share = float(share**2 @ noise) / kick if kick > 0 else 0.0
        updates = functools.partial(shuffled_updates, spec)
        parts.append(order_spread.Outputs(rates, updates, start, moments, kick, mean_share))
    return parts
