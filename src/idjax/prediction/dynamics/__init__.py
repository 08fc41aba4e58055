"""How the loss moves along a training run: one module for each theory, all with the same face (`Path`)."""

from idjax.prediction.dynamics.bands import bands_of
from idjax.prediction.dynamics.empirical_rows import rows_seen
from idjax.prediction.dynamics.fastest_rate import fastest_rate
from idjax.prediction.dynamics.full_batch import FullBatchPath
from idjax.prediction.dynamics.minibatch import group_rates
from idjax.prediction.dynamics.theories import path_for
from idjax.prediction.dynamics.trajectory import Course, Losses, NoTheoryError, Path, Recorded, Sample, floor_of

__all__ = [
    "Course",
    "FullBatchPath",
    "Losses",
    "NoTheoryError",
    "Path",
    "Recorded",
    "Sample",
    "bands_of",
    "fastest_rate",
    "floor_of",
    "group_rates",
    "path_for",
    "rows_seen",
]
