"""How the loss moves along a training run: one module for each theory, all with the same face (`Path`)."""

from idjax.paths.choose import losses_of_starts, path_for
from idjax.paths.full_batch import FullBatchPath
from idjax.paths.path import Course, Losses, NoTheoryError, Path, Sample, floor_of

__all__ = [
    "Course",
    "FullBatchPath",
    "Losses",
    "NoTheoryError",
    "Path",
    "Sample",
    "floor_of",
    "losses_of_starts",
    "path_for",
]
