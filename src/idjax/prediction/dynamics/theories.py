"""The theories of training runs: each module says to which runs it applies, and builds their trajectories.

A module has `applies(spec)`, None where it predicts the run, the flags that keep it from it where it does not, and
nothing but "" where the run is of another kind; `build(spec)`; and where other starts have to be followed one by one
`products(spec)`, what one of them costs.
"""

import importlib
from collections.abc import Iterator
from types import ModuleType

from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec
from idjax.prediction.dynamics.trajectory import Trajectory

THEORIES = ("constant_rate", "adam", "scheduled", "stepped", "empirical_rows", "deep_linear", "linearised")
"""In the order in which they are asked; a module is imported when it is, for most need JAX and the first does not."""

COVERED = (
    "predict covers linear layers with the mse loss (and an L2 activity penalty), any optimizer on the full batch, "
    "sgd, adam, adamw, nadam and rmsprop on minibatches"
)
COVERED_LAYERS = (
    "with hidden layers or activations predict covers the mse loss (and an L2 activity penalty of linear layers), with "
    "any optimizer"
)


def theory_for(spec: RunSpec) -> ModuleType:
    """The first theory that applies to the run.

    Raises:
      NoTheoryError: with the reasons, for settings that cannot be predicted yet.
    """
    reasons = []
    for theory in _theories():
        reasons.append(theory.applies(spec))
        if reasons[-1] is None:
            return theory
    what = " and ".join(dict.fromkeys(reason for reason in reasons if reason))
    raise NoTheoryError(
        f"no theory predicts {what}: {COVERED_LAYERS if spec.layers else COVERED}; idjax train runs it all the same"
    )


def trajectory_for(spec: RunSpec) -> Trajectory:
    """The run as its theory has it.

    Raises:
      NoTheoryError: with the reasons, for settings that cannot be predicted yet.
    """
    return theory_for(spec).build(spec)


def products_of(spec: RunSpec) -> float:
    """About the products that following the run costs; inf where its theory follows none."""
    return getattr(theory_for(spec), "products", lambda _: float("inf"))(spec)


def _theories() -> Iterator[ModuleType]:
    return (importlib.import_module(f"idjax.prediction.dynamics.{name}") for name in THEORIES)
