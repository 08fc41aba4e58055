"""Simulated runs of a prescription on the sample of the rows, whose mean time is its predicted time."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.nn.learned import crossing
from idjax.prediction.dynamics import followed
from idjax.prediction.dynamics.empirical_rows import rows_seen
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.prediction.precision import in_float64
from idjax.settings import Settings
from idjax.theory.sgd.first_passage import Judge, MomentumRule, first_steps
from idjax.types import Rows

RUNS = 64
"""Orders of the rows: the mean of them is known to an eighth of what one run strays."""
FEWEST = 16
LONGEST = 5
"""Times the expected steps after which a run has failed."""


def affordable_runs(context: Context, settings: Settings, steps: float, budget: float) -> int:
    """The number of runs that so many products allow; 0 where they are too few, or where no rows are drawn."""
    batch, rows = settings.batch_size, len(context.sample[0])
    if batch >= context.rows or batch > rows:
        return 0
    if settings.optimizer != "sgd":
        run = _long_run(context, settings, steps)
        return FEWEST if followed.affordable(run, FEWEST) >= run.settings.epochs * run.steps else 0
    runs = min(RUNS, int(budget / max(products_of(context, settings, steps), 1.0)))
    return runs if runs >= FEWEST else 0


def products_of(context: Context, settings: Settings, steps: float) -> float:
    """Products of numbers, about, in a run that is expected to take so many steps."""
    raw = context.moments.raw
    width = raw.inputs + 1
    looks = width if settings.normalize == "sample" and settings.loss_space == "normalized" else 1
    return steps * width * raw.outputs * (2 * settings.batch_size + looks)


def mean_steps(context: Context, settings: Settings, expected: float, runs: int) -> float:
    """The mean over orders of the rows of the steps until the level is first reached; inf if a run does not get there.

    expected: steps by the expected loss, from which a run that fails is told.
    """
    steps = _drawn if settings.optimizer == "sgd" else _followed
    return float(np.mean(steps(context, settings, expected, runs)))


def _long_run(context: Context, settings: Settings, expected: float) -> RunSpec:
    """The run with as many epochs as it takes to tell that it fails."""
    epochs = math.ceil(LONGEST * max(expected, 10.0) * settings.batch_size / context.rows)
    return context.run_of(dataclasses.replace(settings, epochs=epochs), follow=True)


def _followed(context: Context, settings: Settings, expected: float, runs: int) -> np.ndarray:
    """Of trainings side by side: optimizers that have no recursion of moments."""
    run = _long_run(context, settings, expected)
    found = followed.side_by_side(run, followed.numbered(run, runs))
    return np.array([crossing(found.steps, error - run.problem.lost, run.left) for error in found.error])


@in_float64
def _drawn(context: Context, settings: Settings, expected: float, runs: int) -> np.ndarray:
    """Of runs of the recursion on rows, in the eigenbasis."""
    x, y = context.sample
    problem = context.problem_of(settings)
    sample = Rows(x.astype(settings.data_dtype), None if context.autoencoder else y.astype(settings.data_dtype))
    judged, shares = problem.on_judged, problem.judged_shares
    rates = np.broadcast_to(2 * settings.step_size * problem.output_shares[: problem.groups], shares.shape)
    first = first_steps(
        rows_seen(problem, settings, sample),
        MomentumRule(jnp.asarray(rates), settings.momentum, settings.nesterov),
        Judge(
            jnp.asarray(np.diagonal(judged.gram) if judged is problem.on_train else judged.gram),
            jnp.asarray(judged.slopes),
            jnp.asarray(shares),
            float(judged.residual @ shares),
        ),
        jnp.asarray(problem.coefficients(context.run_of(settings).start)),
        (1 - context.level) * problem.variance - problem.lost,
        np.ceil(LONGEST * max(expected, 10.0)),
        settings.seed,
        batch_size=settings.batch_size,
        runs=runs,
    )
    return np.asarray(first)
