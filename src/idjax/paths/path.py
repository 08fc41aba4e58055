"""What every theory of a training run offers to `predict`, and what all of them start from."""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float

from idjax.problem import Problem
from idjax.settings import Settings
from idjax.theory import quadratic
from idjax.types import IdjaxError, Weights


class NoTheoryError(IdjaxError):
    """These settings can be trained, but no theory here predicts them."""


class Losses(NamedTuple):
    """One value an epoch: mean training loss above its floor, validation loss and squared error at the epoch's end.

    The squared error is in original units, of the rows that are judged; validation is NaN without a split.
    """

    train: Float[np.ndarray, " E"]
    validation: Float[np.ndarray, " E"]
    error: Float[np.ndarray, " E"]


@runtime_checkable
class Path(Protocol):
    """The loss along a training run, in expectation where batches are drawn."""

    how: str
    """How it was made: exact, exact in expectation, quasi-static, simulated on moments."""

    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """The losses of these epochs, counted from 1."""
        ...

    def steps_to(self, level: float) -> float:
        """Updates until the judged squared error is at most `level`; inf if it never is, or not within the run."""
        ...

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Updates until each group of modes holds at most the share `left` of the training loss it started with."""
        ...

    def weights(self, step: float) -> Weights | None:
        """The expected weights after so many updates, if they are known."""
        ...


class Course(NamedTuple):
    """A run to be predicted: the problem, its start, and how its epochs are cut into updates."""

    problem: Problem
    start: Weights
    settings: Settings
    rows: int

    @property
    def full_batch(self) -> bool:
        """Whether every update sees all rows."""
        return self.settings.batch_size >= self.rows

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
    def coefficients(self) -> Float[np.ndarray, "n q"]:
        """The error at the start in the eigenbasis."""
        return self.problem.coefficients(self.start)

    def judged(self) -> quadratic.Quadratic:
        """The squared error in original units as a quadratic form along the path."""
        problem = self.problem
        return quadratic.quadratic_form(
            problem.project(problem.judged), self.coefficients, problem.judged_weights, problem.groups
        )

    def validation(self) -> quadratic.Quadratic | None:
        """The validation loss as a quadratic form along the path, if there is a split."""
        problem = self.problem
        if problem.validation is None:
            return None
        return quadratic.quadratic_form(
            problem.project(problem.validation), self.coefficients, problem.output_weights, problem.groups
        )

    def power(self) -> Float[np.ndarray, "g n"]:
        """The training loss that each mode holds at the start."""
        problem = self.problem
        power = problem.spectrum.eigenvalues[:, None] * self.coefficients**2 * problem.output_shares
        return power.sum(axis=1)[None] if problem.groups == 1 else power.T

    def weights_at(self, factors: Float[np.ndarray, "g n"]) -> Weights:
        """The weights where each coefficient of the start has been multiplied by its factor."""
        problem = self.problem
        stacked = problem.reference.stacked + problem.spectrum.eigenvectors @ (factors.T * self.coefficients)
        return Weights(stacked[:-1], stacked[-1])


evaluate = jax.jit(quadratic.evaluate)


def floor_of(problem: Problem) -> float:
    """The training loss at the optimum, with the constant part of the penalty."""
    return float(problem.project(problem.train).residual @ problem.output_shares) + problem.penalty[0]
