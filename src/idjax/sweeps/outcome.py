"""Result dataclasses of a sweep: theory beside training at every point."""

import collections
import dataclasses
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from idjax.results.curve import Status
from idjax.types import Value

Agreement = Literal["agrees", "differs", "diverges as predicted", "outside the range"]


@dataclasses.dataclass(frozen=True, eq=False)
class SweepPoint:
    """One point of a sweep: what its axes set, what was predicted and what training did.

    error is the largest relative difference of what training and prediction leave unexplained, 1 - EV, over the epochs
    (below 1 - learned_at relative to that), and bound the largest that passes; NaN where nothing compares. Epochs to
    learn are inf where the level is not reached: of a prediction ever, of a training within its epochs. Curves have one
    value an epoch, NaN where there is none.
    """

    index: int
    at: dict[str, Value]
    agreement: Agreement
    error: float
    bound: float
    epochs: int
    steps_per_epoch: int
    predicted_epochs: float
    trained_epochs: float
    predicted_train: Float[np.ndarray, " E"]
    trained_train: Float[np.ndarray, " E"]
    predicted_validation: Float[np.ndarray, " E"]
    trained_validation: Float[np.ndarray, " E"]
    predicted_explained: Float[np.ndarray, " E"]
    trained_explained: Float[np.ndarray, " E"]
    how: str
    predicted_status: Status
    trained_status: Status


@dataclasses.dataclass(frozen=True)
class SweepOutcome:
    """All points of a sweep in their order, with what the figures need of its config."""

    name: str
    title: str
    question: str
    fields: tuple[str, ...]
    points: tuple[SweepPoint, ...]

    @property
    def counts(self) -> dict[str, int]:
        """The number of points of each agreement."""
        counts = collections.Counter(point.agreement for point in self.points)
        return {kind: counts[kind] for kind in get_args(Agreement) if counts[kind]}

    @property
    def holds(self) -> bool:
        """Whether no point differs from its prediction by more than its bound."""
        return "differs" not in self.counts
