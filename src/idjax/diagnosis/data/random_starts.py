"""Times to learn from several random starts, for whether a run is in time may hang on its start."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.prediction.predict import learns_within, mean_learns_within
from idjax.settings import Settings

STARTS = 16
"""Random starts that are looked at."""
MOST_OF_STARTS = 2**13
"""Weights above which they are not: the more there are, the more alike the starts."""


@dataclasses.dataclass(eq=False)
class RandomStarts:
    """Settings that differ in the seed of their start, with what tells their epochs to learn and their runs."""

    settings: Sequence[Settings]
    epochs_of: Callable[[Settings], float]
    run_of: Callable[[Settings], RunSpec]

    @functools.cached_property
    def epochs(self) -> Float[np.ndarray, " s"]:
        """Epochs to learn from each of them."""
        return np.array([self.epochs_of(each) for each in self.settings])

    def none_within(self, budget: float) -> bool:
        """Whether not even the mean of the weights gets there in time, from any of them."""
        return not any(mean_learns_within(self.run_of(each), budget) for each in self.settings)

    def straddle(self, budget: float) -> bool:
        """Whether some of them learn within the budget, and others do not: cheaper than all epochs."""
        learned = [learns_within(self.run_of(each), budget) for each in self.settings]
        return any(learned) and not all(learned)
