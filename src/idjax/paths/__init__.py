"""How the loss moves along a training run: one module for each theory, all with the same face (`Path`)."""

from idjax.paths.bands import bands_of
from idjax.paths.choose import path_for
from idjax.paths.fastest import fastest_rate
from idjax.paths.full_batch import FullBatchPath
from idjax.paths.minibatch import group_rates
from idjax.paths.own_rows import rows_seen
from idjax.paths.path import Course, Losses, NoTheoryError, Path, Recorded, Sample, floor_of

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
