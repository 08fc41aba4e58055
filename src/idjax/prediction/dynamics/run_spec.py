"""A run that is to be predicted: its problem, its start and its updates, and what theories ask of them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.nn.learned import level
from idjax.prediction.problem import QuadraticProblem
from idjax.settings import Settings
from idjax.theory import quadratic
from idjax.theory.sgd import minibatch
from idjax.types import IdjaxError, Layers, OnProgress, Rows, Weights, silent


class NoTheoryError(IdjaxError):
    """These settings can be trained, but no theory here predicts them."""


class RunSpec(NamedTuple):
    """A run to be predicted: the problem, its start, and how its epochs are cut into updates."""

    problem: QuadraticProblem
    start: Weights
    settings: Settings
    rows: int
    sample: Rows | None = None
    beyond: bool = True
    """Whether more than the losses is asked for: the time to learn, which may lie far beyond the run, and notes."""
    banded: bool = False
    """Whether a run that is followed has those of its band followed beside it."""
    mean_alone: bool = False
    """Whether the noise of batches is left out, where it would take long."""
    layers: Layers = ()
    """All layers at the start, where there are hidden ones or activations; `start` is what they do together."""
    held_out: Rows | None = None
    """The validation rows, which activations need."""
    progress: OnProgress = silent

    @property
    def all_layers(self) -> Layers:
        """The layers at the start, be there several or one, in the model's own coordinates."""
        return self.layers or (self.problem.leave(self.start),)

    @property
    def full_batch(self) -> bool:
        """Whether every update sees all rows."""
        return self.settings.batch_size >= self.rows

    @property
    def rows_at_hand(self) -> bool:
        """Whether the rows that are trained on, and those held out, are there to be followed on."""
        return self.sample is not None and (self.problem.validation is None or self.held_out is not None)

    @property
    def empirical_rows(self) -> bool:
        """Whether the rows' own fourth moment is asked for, and matters."""
        return self.settings.moments == "data" and not self.full_batch

    @property
    def steps(self) -> int:
        """Updates in an epoch."""
        return -(-self.rows // self.settings.batch_size)

    @property
    def last_share(self) -> float:
        """The share of the rows that the last batch of an epoch holds."""
        return (self.rows - (self.steps - 1) * self.settings.batch_size) / self.rows

    @property
    def mean_batch(self) -> float:
        """The harmonic mean of the batch sizes of an epoch, for noise goes as 1/B."""
        return self.steps / ((self.steps - 1) / self.settings.batch_size + 1 / (self.last_share * self.rows))

    @property
    def reachable(self) -> float:
        """The explained variance that the run is measured by: that of least squares, and 1 for hidden layers."""
        return 1.0 if self.settings.hidden else self.problem.reachable

    @property
    def left(self) -> float:
        """The judged squared error, above what no weights change, at which the run counts as learned."""
        return self.problem.left_at(level(self.settings.learned_at, self.reachable))

    @property
    def epochs(self) -> Float[np.ndarray, " E"]:
        """The numbers of the epochs, from 1."""
        return np.arange(1.0, self.settings.epochs + 1)

    @property
    def group_rates(self) -> Float[np.ndarray, " g"]:
        """η' = 2 η ω / q of each group of outputs."""
        return 2 * self.settings.step_size * self.problem.output_shares[: self.problem.groups]

    def updates(self, rate: float) -> minibatch.Updates:
        """The updates of shuffled epochs at the rate η' of some outputs."""
        settings, problem = self.settings, self.problem
        numbers = (self.mean_batch, rate, settings.momentum, settings.nesterov, float(self.steps))
        return minibatch.updates(problem.spectrum.eigenvalues, problem.mean, *numbers)

    @property
    def coefficients(self) -> Float[np.ndarray, "n q"]:
        """The error at the start in the eigenbasis."""
        return self.problem.coefficients(self.start)

    def counted(self, outputs: slice) -> tuple[Float[np.ndarray, "n n"], float]:
        """Σ_j s_j e_j e_jᵀ at the start and Σ_j s_j σ_j² of some outputs, each by its share s_j of the loss."""
        shares = self.problem.output_shares
        noise = float(shares[outputs] @ self.problem.on_train.residual[outputs])
        return self.problem.second(self.start, outputs, shares), noise

    def judged(self) -> quadratic.Quadratic:
        """The squared error in original units as a quadratic form along the trajectory."""
        problem = self.problem
        return quadratic.quadratic_form(problem.on_judged, self.coefficients, problem.judged_weights, problem.groups)

    def validation(self) -> quadratic.Quadratic | None:
        """The validation loss as a quadratic form along the trajectory, if there is a split."""
        problem = self.problem
        if problem.on_validation is None:
            return None
        return quadratic.quadratic_form(
            problem.on_validation, self.coefficients, problem.output_weights, problem.groups
        )

    def power(self) -> Float[np.ndarray, "g n"]:
        """The training loss that each mode holds at the start."""
        problem = self.problem
        power = problem.spectrum.eigenvalues[:, None] * self.coefficients**2 * problem.output_shares
        return power.sum(axis=1)[None] if problem.groups == 1 else power.T

    def weights_at(self, factors: Float[np.ndarray, "g n"]) -> Weights:
        """The weights where each coefficient of the start has been multiplied by its factor."""
        return self.weights_of(self.problem.spectrum.eigenvectors @ (factors.T * self.coefficients))

    def weights_of(self, errors: Float[np.ndarray, "n q"]) -> Weights:
        """The weights that are off the optimum by these errors."""
        stacked = self.problem.reference.stacked + errors
        return Weights(stacked[:-1], stacked[-1])


def swallows(settings: Settings) -> bool:
    """Whether rounding to 16 bits swallows updates, or gradients, for which no copy of the weights helps."""
    return settings.dtype == "float16" or (settings.dtype == "bfloat16" and settings.rounding == "nearest")


def beyond_quadratic(settings: Settings) -> str | None:
    """The flags that keep a linear layer's run from being descent on a quadratic form; None if there are none."""
    if settings.loss != "mse":
        return f"--loss {settings.loss}"
    if settings.activity_l1 > 0:
        return f"--activity-l1 {settings.activity_l1}"
    if settings.activity_l2 > 0 and settings.normalize not in ("none", "center") and settings.loss_space == "original":
        return "--activity-l2 with a loss in original units"
    if settings.normalize == "zca" and (settings.optimizer != "sgd" or settings.half):
        return f"--normalize zca with --optimizer {settings.optimizer} and --dtype {settings.dtype}"
    return None


def beyond_layers(spec: RunSpec) -> str | None:
    """The flags that keep a run of hidden layers or activations from being predicted; None if there are none."""
    settings = spec.settings
    if spec.empirical_rows:
        return "--moments data"
    if settings.normalize == "zca":
        return "--normalize zca"
    if not spec.full_batch and settings.half:
        return f"--dtype {settings.dtype} with minibatches"
    return beyond_quadratic(settings)


def floor_of(problem: QuadraticProblem) -> float:
    """The training loss at the optimum, with the constant part of the penalty."""
    return float(problem.on_train.residual @ problem.output_shares) + problem.penalty[0]
