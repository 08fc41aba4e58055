"""How the loss moves along a training run: one module for each theory, all with the same face (`Trajectory`)."""

from idjax.prediction.dynamics.bands import bands_of
from idjax.prediction.dynamics.fastest_rate import fastest_rate, followed_rates
from idjax.prediction.dynamics.full_batch import FullBatchTrajectory
from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec, floor_of
from idjax.prediction.dynamics.theories import trajectory_for
from idjax.prediction.dynamics.trajectory import Losses, SampledTrajectory, Trajectory, UndefinedTrajectory

__all__ = [
    "FullBatchTrajectory",
    "Losses",
    "NoTheoryError",
    "RunSpec",
    "SampledTrajectory",
    "Trajectory",
    "UndefinedTrajectory",
    "bands_of",
    "fastest_rate",
    "floor_of",
    "followed_rates",
    "trajectory_for",
]
