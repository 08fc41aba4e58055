"""Which theory a run takes, and what is said where its learning rate is too large for it."""

import numpy as np
from jaxtyping import Float

from idjax.prediction.dynamics import deep_linear, linearised
from idjax.prediction.dynamics.adam import FORMS, adam_trajectory, in_scalars
from idjax.prediction.dynamics.empirical_rows import empirical_rows_trajectory
from idjax.prediction.dynamics.full_batch import FullBatchTrajectory
from idjax.prediction.dynamics.minibatch import MinibatchTrajectory
from idjax.prediction.dynamics.rounded import with_rounding
from idjax.prediction.dynamics.scheduled import scheduled_trajectory
from idjax.prediction.dynamics.stepped import stepped_trajectory
from idjax.prediction.dynamics.trajectory import Losses, NoTheoryError, RunSpec, Trajectory
from idjax.prediction.problem import is_stable, max_learning_rate
from idjax.theory.adam import jumps
from idjax.types import Stall, Weights

RARE = 0.3
"""Share of the largest stable learning rate from which rare runs carry the expected loss; docs/theory.md, section 5."""


class UndefinedTrajectory:
    """A run that diverges or that no theory here describes: no number is better than a wrong one."""

    stall: Stall | None = None

    def __init__(self, how: str):
        self.how = how

    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """NaN."""
        return Losses(*np.full((3, len(epochs)), np.nan))

    def steps_to(self, level: float) -> float:
        """Never."""
        return float("inf")

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Never."""
        return np.full(len(masks), np.inf)

    def weights(self, step: float) -> Weights | None:
        """Unknown."""
        return None


def trajectory_for(spec: RunSpec) -> Trajectory:
    """The theory for this run.

    Raises:
      NoTheoryError: with the reason, for settings that cannot be predicted yet.
    """
    settings = spec.settings
    require_theory(spec)
    if spec.layers:
        return (
            deep_linear.deep_linear_trajectory(spec) if spec.settings.linear else linearised.linearised_trajectory(spec)
        )
    if spec.empirical_rows:
        return empirical_rows_trajectory(spec)
    changing = settings.optimizer != "sgd" or settings.schedule != "constant"
    if changing and not spec.full_batch and settings.dtype == "bfloat16" and settings.rounding == "nearest":
        return UndefinedTrajectory(
            f"{settings.optimizer} with {settings.schedule} learning rate, outside its range: rounding to bfloat16 is "
            "predicted for the full batch and for sgd with a constant rate; --rounding stochastic or master undoes it"
        )
    if settings.optimizer in FORMS and not spec.full_batch:
        return adam_trajectory(spec)
    if changing:
        return stepped_trajectory(spec) if spec.full_batch else scheduled_trajectory(spec)
    limit = max_learning_rate(spec.problem, spec.rows, settings.momentum, settings.nesterov)
    if spec.full_batch:
        trajectory = FullBatchTrajectory(spec)
        if settings.step_size >= limit:
            trajectory.how = _beyond(settings.step_size, limit)
            return trajectory
        return with_rounding(spec, trajectory)
    calm = settings.step_size < limit and is_stable(spec.problem, settings, settings.step_size / RARE)
    if not calm and (settings.step_size >= limit or not is_stable(spec.problem, settings, settings.step_size)):
        limit = max_learning_rate(spec.problem, settings.batch_size, settings.momentum, settings.nesterov)
        return UndefinedTrajectory(_beyond(settings.step_size, limit))
    trajectory = MinibatchTrajectory(spec)
    if not calm:
        limit = max_learning_rate(spec.problem, settings.batch_size, settings.momentum, settings.nesterov)
        trajectory.how += (
            f"; outside its range: at {settings.step_size / limit:.0%} of the largest stable learning rate rare runs "
            "carry the mean, and most runs lie below it"
        )
    return with_rounding(spec, trajectory)


def require_theory(spec: RunSpec) -> None:
    """Raises NoTheoryError, with the reason, for settings that cannot be predicted yet."""
    settings = spec.settings
    if spec.layers:
        _require_deep_theory(spec)
        return
    own_units = settings.normalize in ("none", "center") or settings.loss_space == "normalized"
    for holds, what in (
        (
            spec.full_batch or settings.optimizer == "sgd" or settings.optimizer in FORMS,
            f"--optimizer {settings.optimizer} with minibatches",
        ),
        (
            spec.full_batch or settings.optimizer == "sgd" or not settings.momentum,
            f"--momentum of {settings.optimizer} with minibatches",
        ),
        (
            not spec.empirical_rows or settings.optimizer == "sgd",
            f"--moments data with --optimizer {settings.optimizer}",
        ),
        (
            not spec.empirical_rows or settings.schedule == "constant",
            f"--moments data with --schedule {settings.schedule}",
        ),
        (not spec.empirical_rows or settings.dtype != "bfloat16", "--moments data with --dtype bfloat16"),
        (settings.loss == "mse", f"--loss {settings.loss}"),
        (
            settings.normalize != "zca" or (settings.optimizer == "sgd" and settings.dtype != "bfloat16"),
            f"--normalize zca with --optimizer {settings.optimizer} and --dtype {settings.dtype}",
        ),
        (settings.activity_l1 == 0, f"--activity-l1 {settings.activity_l1}"),
        (settings.activity_l2 == 0 or own_units, "--activity-l2 with a loss in original units"),
    ):
        if not holds:
            raise NoTheoryError(
                f"no theory predicts {what}: predict covers linear layers with the mse loss (and an L2 activity "
                "penalty), any optimizer on the full batch, sgd, adam, adamw, nadam and rmsprop on minibatches; idjax "
                "train runs it all the same"
            )


def _require_deep_theory(spec: RunSpec) -> None:
    settings = spec.settings
    own_units = settings.normalize in ("none", "center") or settings.loss_space == "normalized"
    for holds, what in (
        (not spec.empirical_rows, "--moments data"),
        (settings.loss == "mse", f"--loss {settings.loss}"),
        (settings.normalize != "zca", "--normalize zca"),
        (settings.linear or settings.normalize != "pca", "--normalize pca with an activation"),
        (
            settings.linear or settings.loss_space == "normalized" or settings.normalize == "none",
            "an activation and a loss in original units",
        ),
        (settings.linear or settings.activity_l2 == 0, "an activation and --activity-l2"),
        (settings.linear or not settings.hidden_l2, "an activation and --hidden-l2"),
        (settings.activity_l1 == 0, f"--activity-l1 {settings.activity_l1}"),
        (settings.activity_l2 == 0 or own_units, "--activity-l2 with a loss in original units"),
        (spec.full_batch or settings.dtype != "bfloat16", "--dtype bfloat16 with minibatches"),
    ):
        if not holds:
            raise NoTheoryError(
                f"no theory predicts {what}: with hidden layers or activations predict covers the mse loss (and an L2 "
                "activity penalty of linear layers), with any optimizer; idjax train runs it all the same"
            )


def _beyond(rate: float, limit: float) -> str:
    return f"diverges: the learning rate {rate:.3g} is beyond the largest stable one, {limit:.3g} at this batch size"


def seconds_of(spec: RunSpec) -> float:
    """About how long following a run step by step takes on two cores."""
    if spec.layers:
        return deep_linear.seconds_of(spec) if spec.settings.linear else linearised.seconds_of(spec)
    n, outputs = spec.start.stacked.shape
    updates = spec.settings.epochs * spec.steps
    if spec.full_batch:
        return updates * 2e-9 * n**2 * outputs
    return 0.5 if in_scalars(spec) else updates * jumps.seconds_a_step(n, outputs)
