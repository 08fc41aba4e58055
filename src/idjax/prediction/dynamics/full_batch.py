"""Descent at a constant rate, in closed form: of the full batch, exact, and of the mean of the weights over batches."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from idjax.prediction import budget
from idjax.prediction.dynamics.other_starts import from_other_starts
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.prediction.dynamics.search import first_step
from idjax.prediction.dynamics.trajectory import Losses, Trajectory
from idjax.results.curve import Status
from idjax.theory.full_batch import gradient_descent, momentum
from idjax.theory.quadratic import Quadratic, evaluate
from idjax.types import Weights

EVERY = slice(None)
"""All outputs."""
_GAUSS = np.polynomial.legendre.leggauss(12)
NODES, NODE_WEIGHTS = ((_GAUSS[0] + 1) / 2) ** 2, _GAUSS[1] * (_GAUSS[0] + 1) / 2
"""Where the losses of an epoch are read, closest at its beginning, and their weights in its mean."""


class FullBatchTrajectory(Trajectory):
    """Every mode shrinks by a factor of its own a step; docs/theory.md (12), and (52) with momentum."""

    def __init__(self, spec: RunSpec):
        self._spec = spec
        problem, settings = spec.problem, spec.settings
        self._validation, self._power, self._rates = spec.validation(), spec.power(), problem.rates
        self._reached: dict[float, float] = {}
        alike = problem.on_judged is problem.on_validation
        alike = alike and np.array_equal(problem.judged_weights, problem.output_weights)
        self._judged = self._validation if alike and self._validation is not None else spec.judged()
        self.how = "full-batch gradient descent, exact"
        if settings.momentum:
            self.how = f"full batch with {'Nesterov ' if settings.nesterov else ''}momentum, exact"

    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """The losses of these epochs."""
        size = max(1, budget.NUMBERS_AT_ONCE // self._rates.size)
        parts = [self._part(epochs[i : i + size]) for i in range(0, len(epochs), size)]
        return Losses(*map(np.concatenate, zip(*parts, strict=True)))

    def _part(self, epochs: np.ndarray) -> Losses:
        ends, squares = self.means(epochs)
        validation = np.full(len(epochs), np.nan)
        if self._validation is not None:
            validation = evaluate(self._validation, ends)
        return Losses(np.sum(self._power * squares, axis=(-2, -1)), validation, evaluate(self._judged, ends))

    def means(self, epochs: Float[np.ndarray, " E"]) -> tuple[Float[np.ndarray, "E g n"], Float[np.ndarray, "E g n"]]:
        """Shrink factors of the modes at the ends of epochs, of one update each, and their squares before it."""
        return self.factors(epochs), self.factors(epochs - 1) ** 2

    def ensemble(self, starts: Iterable[Weights], count: int) -> list[Losses] | None:
        """The losses of every epoch from these starts."""
        return from_other_starts(self._spec, starts, count, self.means)

    def factors(self, steps: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t g n"]:
        """The factor by which each mode has shrunk after these steps."""
        settings = self._spec.settings
        if settings.momentum == 0:
            return gradient_descent.shrink_factors(self._rates, settings.step_size, steps)
        return momentum.shrink_factors(self._rates, settings.step_size, settings.momentum, settings.nesterov, steps)

    def linear_validation(self, steps: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
        """The part of the validation loss that is linear in the error, with the constant; NaN without a split."""
        return np.full(len(steps), np.nan) if self._validation is None else self._linear(self._validation, steps)

    def linear_judged(self, steps: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
        """The part of the judged squared error that is linear in the error, with the constant."""
        return self._linear(self._judged, steps)

    def _linear(self, form: Quadratic, steps: np.ndarray) -> np.ndarray:
        if not np.any(form.linear):
            return np.full(len(steps), form.constant)
        return form.constant + np.sum(2 * form.linear * self.factors(steps), axis=(-2, -1))

    def excess(self, step: float) -> float:
        """The training loss above its floor before the update of this step."""
        return float(np.sum(self._power * self.factors(np.array([step]))[0] ** 2))

    def steps_to(self, level: float) -> float:
        """Updates until the judged squared error is at most `level`."""
        if level not in self._reached:
            self._reached[level] = first_step(lambda steps: evaluate(self._judged, self.factors(steps)) <= level)
        return self._reached[level]

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Updates until each group of modes holds at most the share `left` of its loss."""

        def power(mask: np.ndarray, steps: np.ndarray) -> np.ndarray:
            return np.sum(mask * self._power * self.factors(steps) ** 2, axis=(-2, -1))

        levels = [left * power(mask, np.zeros(1))[0] for mask in masks]
        return np.array(
            [
                first_step(lambda steps, mask=mask, level=level: power(mask, steps) <= level)
                for mask, level in zip(masks, levels, strict=True)
            ]
        )

    def weights_along(self, steps: Float[np.ndarray, " t"], outputs: slice = EVERY) -> Float[np.ndarray, "t n q"]:
        """The stacked weights of some outputs before the updates of these steps."""
        problem = self._spec.problem
        factors = np.swapaxes(self.factors(steps), 1, 2)
        factors = factors if problem.groups == 1 else factors[:, :, outputs]
        coefficients = factors * self._spec.coefficients[:, outputs]
        return problem.reference.stacked[:, outputs] + problem.spectrum.eigenvectors @ coefficients

    def weights(self, step: float) -> Weights:
        """The weights."""
        return self._spec.weights_at(self.factors(np.array([step]))[0])


class MeanTrajectory(FullBatchTrajectory):
    """Minibatch SGD without the noise of its batches: the losses of the expected weights, which follow the full batch;
    the noise only adds to them.
    """

    def __init__(self, spec: RunSpec):
        super().__init__(spec)
        self.how, self.status = "the mean of the weights, the noise of the batches left out", Status.OUTSIDE_RANGE

    def means(self, epochs: Float[np.ndarray, " E"]) -> tuple[Float[np.ndarray, "E g n"], Float[np.ndarray, "E g n"]]:
        """Shrink factors of the modes of the expected weights at the ends of epochs, and their mean squares within."""
        size, steps = max(1, budget.NUMBERS_AT_ONCE // (len(NODES) * self._rates.size)), self._spec.steps
        parts = [epochs[first : first + size] for first in range(0, len(epochs), size)]
        within = [self.factors(((part - 1)[:, None] + NODES).ravel() * steps) ** 2 for part in parts]
        squares = [np.tensordot(NODE_WEIGHTS, each.reshape(-1, len(NODES), *each.shape[1:]), (0, 1)) for each in within]
        return self.factors(epochs * steps), np.concatenate(squares)
