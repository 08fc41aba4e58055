"""What every theory of a training run offers to `predict`, and what all of them start from."""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idjax.nn.learned import crossing
from idjax.prediction.problem import QuadraticProblem, mode_groups
from idjax.settings import Settings
from idjax.theory import quadratic
from idjax.theory.full_batch.stepped import Layer, Watched
from idjax.types import IdjaxError, Layers, OnProgress, Stall, Weights, silent


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
class Trajectory(Protocol):
    """The loss along a training run, in expectation where batches are drawn."""

    how: str
    """How it was made: exact, exact in expectation, quasi-static, simulated on moments."""
    stall: Stall | None
    """Where rounding ends learning, if it does before everything is learned."""

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


class Sample(NamedTuple):
    """The training rows; y is None for an autoencoder."""

    x: Float[np.ndarray, "N p"]
    y: Float[np.ndarray, "N q"] | None


class RunSpec(NamedTuple):
    """A run to be predicted: the problem, its start, and how its epochs are cut into updates."""

    problem: QuadraticProblem
    start: Weights
    settings: Settings
    rows: int
    sample: Sample | None = None
    beyond: bool = True
    """Whether the time to learn is asked for, which may lie far beyond the run."""
    layers: Layers = ()
    """All layers at the start, where there are hidden ones or activations; `start` is what they do together."""
    held_out: Sample | None = None
    """The validation rows, which activations need."""
    progress: OnProgress = silent

    @property
    def full_batch(self) -> bool:
        """Whether every update sees all rows."""
        return self.settings.batch_size >= self.rows

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
    def coefficients(self) -> Float[np.ndarray, "n q"]:
        """The error at the start in the eigenbasis."""
        return self.problem.coefficients(self.start)

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

    def layer(self) -> Layer:
        """The layer as it is stepped on the moments of the data."""
        problem = self.problem
        return Layer(
            covariance=jnp.asarray(problem.train.covariance_xx),
            mean=jnp.asarray(problem.train.mean_x),
            weight=jnp.asarray(problem.train.weight),
            reference=jnp.asarray(problem.reference.stacked),
            shares=jnp.asarray(problem.output_shares),
        )

    def watched(self) -> tuple[Watched, Float[np.ndarray, " k"]]:
        """What is recorded of a run that is followed step by step: validation loss, judged error and the loss of every
        group of modes, as forms of the error in the inputs' coordinates, and their values at the optimum.
        """
        problem = self.problem
        vectors, eigenvalues = problem.spectrum.eigenvectors, problem.spectrum.eigenvalues
        projected = [problem.on_validation or problem.on_train, problem.on_judged]
        rows_shares = [problem.output_shares, problem.judged_shares]
        masks = [mask for _, mask in mode_groups(problem)]
        forms = [vectors @ part.gram @ vectors.T for part in projected]
        forms += [(vectors * (mask * eigenvalues)) @ vectors.T for mask in masks]
        slopes = [vectors @ part.slopes for part in projected] + [np.zeros_like(self.coefficients) for _ in masks]
        shares = rows_shares + [problem.output_shares for _ in masks]
        constants = [float(part.residual @ share) for part, share in zip(projected, rows_shares, strict=True)]
        watched = Watched(*(jnp.asarray(np.stack(part)) for part in (forms, shares, slopes)))
        return watched, np.array(constants + [0.0] * len(masks))

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


class SampledTrajectory:
    """A trajectory recorded epoch by epoch: training loss above its floor, then what `RunSpec.watched` lists."""

    how = ""
    stall: Stall | None = None
    outputs: Float[np.ndarray, "2 q E"] | None = None
    """What each output adds to the training loss and, but for a constant, to the validation loss, where it is known."""
    layers: Layers = ()
    """All layers at the end, where there are hidden ones."""
    notes: tuple[str, ...] = ()
    kernel_drift: Float[np.ndarray, " E"] | None = None

    def __init__(self, spec: RunSpec, record: Float[np.ndarray, "k E"], weights: Weights | None):
        self._spec, self._record, self._weights = spec, record, weights
        self._steps = np.arange(1.0, spec.settings.epochs + 1) * spec.steps

    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """The losses of these epochs."""
        train, validation, error = self._record[:3, (epochs - 1).astype(int)]
        if self._spec.problem.validation is None:
            validation = np.full_like(validation, np.nan)
        return Losses(train, validation, error)

    def steps_to(self, level: float) -> float:
        """Updates until the judged squared error is at most `level`, within the run."""
        return crossing(self._steps, self._record[2], level)

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Updates until each group of modes holds at most the share `left` of its loss, within the run."""
        start = masks @ self._spec.power().sum(axis=0)
        steps = np.append(0.0, self._steps)
        values = np.concatenate([start[:, None], self._record[3:]], axis=1)
        return np.array([crossing(steps, row, left * row[0]) for row in values])

    def weights(self, step: float) -> Weights | None:
        """The expected weights at the end of the run, where they were followed."""
        return self._weights if step == self._steps[-1] else None


evaluate = jax.jit(quadratic.evaluate)


def floor_of(problem: QuadraticProblem) -> float:
    """The training loss at the optimum, with the constant part of the penalty."""
    return float(problem.on_train.residual @ problem.output_shares) + problem.penalty[0]
