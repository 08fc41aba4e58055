"""Simulated runs of a prescription on the sample of the rows, whose mean time is its predicted time."""

import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.nn.starts import start_weights
from idjax.prediction.dynamics.empirical_rows import rows_seen
from idjax.prediction.precision import in_float64
from idjax.prediction.problem import QuadraticProblem
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
    if settings.optimizer != "sgd" or batch >= context.rows or batch > rows:
        return 0
    runs = min(RUNS, int(budget / max(products_of(context, settings, steps), 1.0)))
    return runs if runs >= FEWEST else 0


def products_of(context: Context, settings: Settings, steps: float) -> float:
    """Products of numbers, about, in a run that is expected to take so many steps."""
    raw = context.moments.raw
    width = raw.inputs + 1
    looks = width if settings.normalize == "sample" and settings.loss_space == "normalized" else 1
    return steps * width * raw.outputs * (2 * settings.batch_size + looks)


@in_float64
def mean_steps(context: Context, settings: Settings, expected: float, runs: int) -> float:
    """The mean over orders of the rows, and random starts, of the steps until the level is first reached; inf if a run
    does not get there.

    expected: steps by the expected loss, from which a run that fails is told.
    """
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
        jnp.asarray(_starts(context, problem, runs)),
        (1 - context.level) * problem.variance - problem.lost,
        np.ceil(LONGEST * max(expected, 10.0)),
        settings.seed,
        batch_size=settings.batch_size,
        runs=runs,
    )
    return float(np.mean(np.asarray(first)))


def _starts(context: Context, problem: QuadraticProblem, runs: int) -> np.ndarray:
    """Coefficients of the weights at the start: of each run, where random ones differ much, else of all."""
    given, raw = context.settings, context.moments.raw
    seeds = [(given.seed + run) % 2**32 for run in range(runs if context.starts_differ else 1)]
    starts = [start_weights(given.start, raw.inputs, raw.outputs, seed) for seed in seeds]
    made = np.stack([problem.coefficients(problem.enter(start)) for start in starts])
    return made if context.starts_differ else made[0]
