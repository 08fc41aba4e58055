"""The theories of training runs: each module says to which runs it applies, and builds their trajectories.

A module has `applies(spec)`, None where it predicts the run, the flags that keep it from it where it does not, and
nothing but "" where the run is of another kind; `build(spec)`; and where other starts have to be followed one by one
`products(spec)`, what one of them costs.
"""

import importlib
from types import ModuleType

import numpy as np

from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec
from idjax.prediction.dynamics.trajectory import Trajectory
from idjax.results.curve import Status

THEORIES = (
    "constant_rate",
    "adam",
    "scheduled",
    "stepped",
    "empirical_rows",
    "deep_linear",
    "linearised",
    "logistic_flow",
    "followed",
)
"""In the order in which they are asked; a module is imported when it is, for most need JAX and the first does not. The
last follows what the others do not predict."""

COVERED = (
    "predict covers linear layers with the mse loss (and an L2 activity penalty), any optimizer on the full batch, "
    "sgd, adam, adamw, nadam and rmsprop on minibatches"
)
COVERED_LAYERS = (
    "with hidden layers or activations predict covers the mse loss (and an L2 activity penalty of linear layers), with "
    "any optimizer"
)


def trajectory_for(spec: RunSpec) -> Trajectory:
    """The run as its theory has it; followed on its rows, if these are at hand, where that has no numbers for it.

    Raises:
      NoTheoryError: with the reasons, for settings that cannot be predicted without the rows.
    """
    theory, why = _chosen(spec)
    try:
        trajectory = theory.build(spec)
    except NoTheoryError as error:
        trajectory, why = None, str(error)
    else:
        trajectory.no_theory = why if trajectory.followed else ""
        if trajectory.followed or trajectory.status is not Status.OUTSIDE_RANGE or _told_to_the_end(spec, trajectory):
            return trajectory
        why = trajectory.how
    if not spec.rows_at_hand:
        if trajectory is None:
            raise NoTheoryError(why)
        return trajectory
    trajectory = _module(THEORIES[-1]).build(spec)
    trajectory.no_theory = why
    return trajectory


def products_of(spec: RunSpec) -> float:
    """About the products that following the run costs; inf where its theory follows none."""
    return getattr(_chosen(spec)[0], "products", lambda _: float("inf"))(spec)


def _chosen(spec: RunSpec) -> tuple[ModuleType, str]:
    """The first theory that applies to the run, the last of which follows it; and why it is none of those before."""
    reasons: list[str] = []
    for theory in map(_module, THEORIES):
        reason = theory.applies(spec)
        if reason is None:
            return theory, f"no theory predicts {_together(reasons)}"
        reasons.append(reason)
    raise NoTheoryError(
        f"no theory predicts {_together(reasons)}: {COVERED_LAYERS if spec.layers else COVERED}; idjax train "
        "runs it all the same"
    )


def _together(reasons: list[str]) -> str:
    return " and ".join(dict.fromkeys(filter(None, reasons)))


def _told_to_the_end(spec: RunSpec, trajectory: Trajectory) -> bool:
    return bool(np.isfinite(trajectory.losses(spec.epochs[-1:]).train).all())


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"idjax.prediction.dynamics.{name}")
