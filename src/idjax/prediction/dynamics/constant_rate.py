"""SGD with a constant learning rate on one linear layer: a closed form, or where the rate is too large for it."""

from idjax.prediction.dynamics.full_batch import FullBatchTrajectory, MeanTrajectory
from idjax.prediction.dynamics.minibatch import MinibatchTrajectory
from idjax.prediction.dynamics.rounded import with_rounding
from idjax.prediction.dynamics.run_spec import RunSpec, beyond_quadratic
from idjax.prediction.dynamics.trajectory import Trajectory, UndefinedTrajectory
from idjax.prediction.learning_rates import is_stable, max_learning_rate
from idjax.results.curve import Status

RARE = 0.3
"""Share of the largest stable learning rate from which rare runs carry the expected loss; docs/theory.md, section 5."""


def applies(spec: RunSpec) -> str | None:
    """Why this is no theory of the run, as flags; empty where it is of another kind."""
    if spec.layers or spec.empirical_rows or spec.settings.optimizer != "sgd" or spec.settings.schedule.changes:
        return ""
    return beyond_quadratic(spec.settings)


def build(spec: RunSpec) -> Trajectory:
    """The full batch in closed form, or the expectation over minibatches; with what rounding does to them."""
    settings, problem = spec.settings, spec.problem
    rate, momentum = settings.step_size, (settings.momentum, settings.nesterov)
    if spec.full_batch:
        limit, full_batch = max_learning_rate(problem, spec.rows, *momentum), FullBatchTrajectory(spec)
        if rate < limit:
            return with_rounding(spec, full_batch)
        full_batch.how, full_batch.status = _beyond(rate, limit), Status.DIVERGES
        return full_batch
    calm = rate < max_learning_rate(problem, spec.rows, *momentum) and is_stable(problem, settings, rate / RARE)
    if calm:
        return MeanTrajectory(spec) if spec.mean_alone else with_rounding(spec, MinibatchTrajectory(spec))
    limit = max_learning_rate(problem, settings.batch_size, *momentum)
    if rate >= max_learning_rate(problem, spec.rows, *momentum) or not is_stable(problem, settings, rate):
        return UndefinedTrajectory(_beyond(rate, limit), Status.DIVERGES)
    trajectory = MinibatchTrajectory(spec)
    trajectory.status = Status.OUTSIDE_RANGE
    trajectory.how += (
        f"; outside its range: at {rate / limit:.0%} of the largest stable learning rate rare runs carry the mean, and "
        "most runs lie below it"
    )
    return with_rounding(spec, trajectory)


def _beyond(rate: float, limit: float) -> str:
    return f"diverges: the learning rate {rate:.3g} is beyond the largest stable one, {limit:.3g} at this batch size"
