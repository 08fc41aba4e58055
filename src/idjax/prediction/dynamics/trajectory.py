"""Trajectories: losses, times and weights along a training run, from other starts too."""

import abc
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.nn.learned import crossing
from idjax.prediction.dynamics.run_spec import RunSpec, swallows
from idjax.results.curve import Stall, Status
from idjax.types import Layers, Weights


class Losses(NamedTuple):
    """One value an epoch: mean training loss above its floor, validation loss and squared error at the epoch's end.

    The squared error is in original units, of the rows that are judged; validation is NaN without a split.
    """

    train: Float[np.ndarray, " E"]
    validation: Float[np.ndarray, " E"]
    error: Float[np.ndarray, " E"]


class Trajectory(abc.ABC):
    """The loss along a training run, in expectation where batches are drawn."""

    how: str = ""
    """How it was made: exact, exact in expectation, quasi-static, simulated on moments."""
    status: Status = Status.VALID
    known_until: float = float("inf")
    """Updates beyond which the run is not known; inf in closed form."""
    stall: Stall | None = None
    """Where rounding ends learning, if it does before everything is learned."""
    layers: Layers = ()
    """All layers at the end, where there are hidden ones."""
    notes: tuple[str, ...] = ()
    kernel_drift: Float[np.ndarray, " E"] | None = None
    followed: bool = False
    """Whether it is training on the rows, for no theory predicts the run; `no_theory` says why."""
    others: list[Losses] | None = None
    """Of other starts and orders, where runs are followed, are to have a band, and anything in them is random."""
    no_theory: str = ""
    accuracy: Float[np.ndarray, " E"] | None = None
    """Of classes, by epochs."""
    least: float = 0.0
    """The training loss, above its floor, that no weights get below."""

    @abc.abstractmethod
    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """The losses of these epochs, counted from 1."""

    @abc.abstractmethod
    def steps_to(self, level: float) -> float:
        """Updates until the judged squared error is at most `level`; inf if it never is, or not within the run."""

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Updates until each group of modes holds at most the share `left` of the training loss it started with; NaN
        where they are not known, as where modes are not those of the loss.
        """
        return np.full(len(masks), np.nan)

    @abc.abstractmethod
    def weights(self, step: float) -> Weights | None:
        """The expected weights after so many updates, if they are known."""

    def ensemble(self, starts: Iterable[Weights], count: int) -> list[Losses] | None:
        """The losses of every epoch of the run from each of so many starts, which may be drawn as they are asked for;
        None where they are not known in closed form, or cost too much.
        """
        return None

    def spread(self) -> Losses | None:
        """Relative standard deviations of every epoch's losses over the orders of the rows, where theory has them."""
        return None


class UndefinedTrajectory(Trajectory):
    """A run that diverges or that no theory here describes: no number is better than a wrong one."""

    def __init__(self, how: str, status: Status):
        self.how, self.status = how, status
        self.known_until = float("inf") if status is Status.DIVERGES else 0.0

    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """NaN."""
        return Losses(*np.full((3, len(epochs)), np.nan))

    def steps_to(self, level: float) -> float:
        """Never where it diverges; else not known."""
        return float("inf" if self.status is Status.DIVERGES else "nan")

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Never."""
        return np.full(len(masks), np.inf)

    def weights(self, step: float) -> Weights | None:
        """Unknown."""
        return None


def undefined_by_rounding(spec: RunSpec) -> UndefinedTrajectory | None:
    """No numbers, where rounding to 16 bits swallows updates of batches at rates that change, or float16 gradients;
    None for other runs.
    """
    settings = spec.settings
    if spec.full_batch or not swallows(settings):
        return None
    undone = "" if settings.dtype == "float16" else "; --rounding stochastic or master undoes it"
    return UndefinedTrajectory(
        f"{settings.optimizer} with {settings.schedule} learning rate, outside its range: rounding to {settings.dtype} "
        f"is predicted for the full batch and for sgd with a constant rate{undone}",
        Status.OUTSIDE_RANGE,
    )


class SampledTrajectory(Trajectory):
    """A trajectory recorded epoch by epoch: training loss above its floor, then what `watched_of` lists."""

    def __init__(self, spec: RunSpec, record: Float[np.ndarray, "k E"], weights: Weights | None):
        self._spec, self._record, self._weights = spec, record, weights
        self._steps = spec.epochs * spec.steps
        known = np.isfinite(record[2])
        self.known_until = float(self._steps[known][-1]) if known.any() else 0.0
        most = np.finfo(spec.settings.data_dtype).max  # that training can hold
        held = (np.abs(record[0]) <= most).all() and all(np.isfinite(part).all() for part in weights or ())
        self.status = Status.VALID if held and not np.isinf(record[2]).any() else Status.DIVERGES

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
