"""Curves: the result of predictions and trainings, with what a prediction adds. No JAX inside."""

import dataclasses
import enum
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from idjax.types import Layers, Weights


class Status(enum.StrEnum):
    """The validity of a curve: valid numbers, a run that diverges, numbers outside the theory's range, no theory where
    the rows are not at hand, or a run that was followed."""

    VALID = "valid"
    DIVERGES = "diverges"
    OUTSIDE_RANGE = "outside_range"
    NO_THEORY = "no_theory"
    FOLLOWED = "followed"
    """Trained on a sample of the rows, where no theory says what the run does."""


@dataclasses.dataclass(frozen=True)
class Band:
    """A 95% band and its median, one value an epoch; over says what is random: starts, orders of the rows, or both;
    and how many runs were followed, if it is made of these.
    """

    low: Float[np.ndarray, " E"]
    median: Float[np.ndarray, " E"]
    high: Float[np.ndarray, " E"]
    over: str = "starts"


@dataclasses.dataclass(frozen=True)
class LearningRates:
    """The learning rates that the data allow, for updates Θ ← Θ - η ∇L with the 1/q of the loss inside ∇L.

    full_batch_max:  2/h₁ (2 (1 + β)/h₁ with momentum β), beyond which full-batch descent diverges.
    full_batch_best: 2/(h₁ + h_n), the fastest single rate.
    max, best:       the same in mean square with minibatches (equal to the above for a full batch).
    critical_batch:  the batch size that allows half of full_batch_max: larger ones hardly buy fewer steps.
    momentum:        the heavy-ball momentum that learns fastest with the full batch, at momentum_rate.
    """

    full_batch_max: float
    full_batch_best: float
    max: float
    best: float
    critical_batch: float = float("nan")
    momentum: float = float("nan")
    momentum_rate: float = float("nan")


@dataclasses.dataclass(frozen=True)
class ModeGroup:
    """Modes that learn alike: mean, slow, bias or null.

    modes: how many.  share: of the loss at the start.  steps: updates until all but 1% (1 - learned_at) of their loss
    is gone; inf if noise or the lack of a gradient keeps it.
    """

    name: str
    modes: int
    share: float
    steps: float


class FastestRate(NamedTuple):
    """The learning rate that is predicted to learn in the fewest updates within the run, and how many (inf: not)."""

    learning_rate: float
    steps: float


@dataclasses.dataclass(frozen=True)
class Stall:
    """Where rounding ends learning: the last update that moves a weight stored in `dtype`, and the loss left there."""

    dtype: str
    steps: float
    loss: float


@dataclasses.dataclass(frozen=True)
class Curve:
    """The loss of a run epoch by epoch: the result of both `predict` and `train`.

    epoch:               from 1, as Keras counts.
    train:               row-weighted mean over the epoch of the batch losses, each before its update.
    validation:          loss on the validation rows at the epoch's end (NaN without a split).
    explained_variance:  1 - MSE / mean_j Var(y_j), original units, epoch's end, validation rows (training rows
                         without a split).
                         For classes it is 1 - cross-entropy / that of their base rates (McFadden's R²).
    accuracy:            the share of these rows that are answered right, where outputs are logits of classes.
    shape_correlation:   mean over rows of the correlation across features of output and target, at the end.
    reachable:           the explained variance of the best linear layer, of the training rows, on the same rows.
    steps_to_learn:      updates until the explained variance above is learned_at times that; inf if it never is, or
                         not within known_until.
    known_until:         updates up to which the run is known: those of a training, or of a prediction step by step;
                         inf where a closed form knows it for ever.
    weights:             the kernel and bias at the end: those of the whole map where there are hidden linear layers,
                         NaN where hidden layers are not linear.
    layers:              every layer's own, where there are hidden ones and they are known.
    how:                 how the curve was made, in words, for people alone.
    status:              whether the run diverges, or lies outside the range of its theory.
    seconds:             wall time that it took.
    notes:               what else there is to know, a sentence each.
    kernel_drift:        how far the tangent kernel has moved from its start at the epoch's end, relative, where the
                         prediction rests on its standing still.
    no_theory:           why the run was followed on the rows; empty where a theory predicts it.

    A prediction also carries what the data allow: the condition number of the layer's curvature, the learning
    rates, the 95% bands of the two losses, where rounding ends learning, and for adaptive optimizers the fastest rate.
    """

    epoch: Int[np.ndarray, " E"]
    train: Float[np.ndarray, " E"]
    validation: Float[np.ndarray, " E"]
    explained_variance: Float[np.ndarray, " E"]
    shape_correlation: float
    steps_per_epoch: int
    steps_to_learn: float
    weights: Weights
    how: str
    seconds: float
    status: Status = Status.VALID
    reachable: float = 1.0
    known_until: float = float("inf")
    condition_number: float | None = None
    learning_rates: LearningRates | None = None
    train_band: Band | None = None
    validation_band: Band | None = None
    mode_groups: tuple[ModeGroup, ...] = ()
    stall: Stall | None = None
    fastest: FastestRate | None = None
    layers: Layers = ()
    notes: tuple[str, ...] = ()
    kernel_drift: Float[np.ndarray, " E"] | None = None
    no_theory: str = ""
    accuracy: Float[np.ndarray, " E"] | None = None

    @property
    def never_learned(self) -> bool:
        """Whether no number of updates is enough, which is more than that those that are known are not."""
        forever = math.isinf(self.known_until) or self.status is Status.DIVERGES
        return math.isinf(self.steps_to_learn) and forever

    def until(self, epochs: int, status: Status) -> "Curve":
        """The first so many epochs."""
        cut = {name: getattr(self, name)[:epochs] for name in ("epoch", "train", "validation", "explained_variance")}
        cut |= {} if self.accuracy is None else {"accuracy": self.accuracy[:epochs]}
        return dataclasses.replace(self, **cut, status=status, train_band=None, validation_band=None)

    @property
    def epochs_to_learn(self) -> float:
        """Steps to learn in epochs, fractional."""
        return self.steps_to_learn / self.steps_per_epoch
