"""The cost of runs of a prescription on the sample, and how many of them are affordable. No JAX inside."""

import dataclasses
import math

from idjax.diagnosis.data.context import Context
from idjax.prediction.dynamics.follow_cost import goes_to_its_end
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.settings import Settings

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
        return FEWEST if goes_to_its_end(long_run(context, settings, steps), FEWEST) else 0
    runs = min(RUNS, int(budget / max(products_of(context, settings, steps), 1.0)))
    return runs if runs >= FEWEST else 0


def products_of(context: Context, settings: Settings, steps: float) -> float:
    """Products of numbers, about, in a run that is expected to take so many steps."""
    raw = context.moments.raw
    width = raw.inputs + 1
    looks = width if settings.normalize == "sample" and settings.loss_space == "normalized" else 1
    return steps * width * raw.outputs * (2 * settings.batch_size + looks)


def long_run(context: Context, settings: Settings, expected: float) -> RunSpec:
    """The run with as many epochs as it takes to tell that it fails."""
    epochs = math.ceil(LONGEST * max(expected, 10.0) * settings.batch_size / context.rows)
    return context.run_of(dataclasses.replace(settings, epochs=epochs), follow=True)
