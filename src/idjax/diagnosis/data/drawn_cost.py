"""The cost of runs of a prescription on the sample, and how many of them are affordable. No JAX inside."""

import dataclasses
import math

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import Candidate
from idjax.prediction.dynamics.follow_cost import goes_to_its_end
from idjax.prediction.dynamics.run_spec import RunSpec

RUNS = 64
"""Orders of the rows: the mean of them is known to an eighth of what one run strays."""
FEWEST = 16
LONGEST = 5
"""Times the expected steps after which a run has failed."""


def affordable_runs(context: Context, candidate: Candidate, budget: float) -> int:
    """The number of runs that so many products allow; 0 where they are too few, or where no rows are drawn."""
    batch, rows = candidate.settings.batch_size, len(context.sample.x)
    if batch >= context.rows or batch > rows:
        return 0
    if candidate.settings.optimizer != "sgd":
        return FEWEST if goes_to_its_end(long_run(context, candidate), FEWEST) else 0
    runs = min(RUNS, int(budget / max(products_of(context, candidate), 1.0)))
    return runs if runs >= FEWEST else 0


def products_of(context: Context, candidate: Candidate) -> float:
    """Products of numbers, about, in a run that takes as long as it is expected to."""
    raw, settings = context.moments.raw, candidate.settings
    width = raw.inputs + 1
    looks = width if settings.normalize == "sample" and settings.loss_space == "normalized" else 1
    return candidate.steps(context.rows) * width * raw.outputs * (2 * settings.batch_size + looks)


def most_steps(context: Context, candidate: Candidate) -> float:
    """The updates after which it is told from the expected ones that a run fails."""
    return LONGEST * max(candidate.steps(context.rows), 10.0)


def long_run(context: Context, candidate: Candidate) -> RunSpec:
    """The run with as many epochs as it takes to tell that it fails."""
    epochs = math.ceil(most_steps(context, candidate) * candidate.settings.batch_size / context.rows)
    return context.run_of(dataclasses.replace(candidate.settings, epochs=epochs), follow=True)
