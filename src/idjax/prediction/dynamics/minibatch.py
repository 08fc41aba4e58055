"""Minibatch SGD with a constant learning rate, with or without momentum: the expected loss at any step."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.prediction.dynamics.full_batch import EVERY, MeanTrajectory
from idjax.prediction.dynamics.order_spread import Along, spread_over_orders
from idjax.prediction.dynamics.other_starts import from_other_starts
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.prediction.dynamics.search import first_step
from idjax.prediction.dynamics.trajectory import Losses, Trajectory
from idjax.theory.sgd import minibatch
from idjax.theory.sgd.horizons import Expectation, moments_at
from idjax.types import Weights


class _GroupMoments(NamedTuple):
    """Outputs that learn at the same rate: their expectation, label noise, and the bias of an epoch's mean loss."""

    expectation: Expectation
    noise: float
    unseen: float


class MinibatchTrajectory(Trajectory):
    """The loss in expectation over the batches of shuffled epochs; docs/theory.md, sections 10 and 11.

    The mean of the weights follows the full batch; their second moments, the noise of the batches included, the
    recursion (26), and of a shuffled epoch (49). Exact in expectation for Gaussian rows and fresh batches.
    """

    def __init__(self, spec: RunSpec):
        self._spec, self._mean, self._reached = spec, MeanTrajectory(spec), dict[float, float]()
        problem = spec.problem
        # One form for rows that serve for several.
        seen = [problem.on_train, problem.on_validation or problem.on_train, problem.on_judged]
        forms = list(dict.fromkeys(map(id, seen)))
        self._train, self._validation, self._judged = (forms.index(id(rows)) for rows in seen)
        grams = [next(rows.gram for rows in seen if id(rows) == form) for form in forms]
        noise = problem.on_train.residual
        settings, eigenvalues = spec.settings, problem.spectrum.eigenvalues
        # Twice where the error is judged with other weights of the outputs than the loss has.
        kinds = [problem.output_shares, problem.judged_shares]
        self._judged_from = 0 if np.array_equal(kinds[0], kinds[1]) else 1
        self._parts = []
        in_the_run = (spec.steps - 1.0, float(spec.steps * settings.epochs))
        for rate, outputs in zip(spec.group_rates, problem.output_groups, strict=True):
            shares = kinds[: 1 + self._judged_from]
            seconds = [problem.second(spec.start, outputs, share) for share in shares]
            kicks = [float(share[outputs] @ noise[outputs]) for share in shares]
            decay = rate / (1 - settings.momentum) * eigenvalues * spec.steps
            unseen = minibatch.unseen_rows(decay, rate, eigenvalues, spec.mean_batch, spec.rows)
            expectation = Expectation(spec.updates(rate), seconds, np.array(kicks), grams, in_the_run)
            self._parts.append(_GroupMoments(expectation, kicks[0], unseen))
        how = "SGD" if not settings.momentum else f"{'Nesterov ' if settings.nesterov else ''}momentum"
        self.how = f"{how}, exact in expectation over the batches (Gaussian rows, shuffled epochs to second order)"

    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """The losses of these epochs."""
        steps, last_share = self._spec.steps, self._spec.last_share
        end, train = epochs * steps, np.zeros(len(epochs))
        for expectation, noise, unseen in self._parts:
            until_last = expectation.mean(end - steps, steps - 1)[0, self._train]
            mean = (1 - last_share) * until_last + last_share * expectation.at(end - 1)[0, self._train]
            train += mean + unseen * (mean + noise)
        return self.at(end)._replace(train=train)

    def at(self, steps: Float[np.ndarray, " t"]) -> Losses:
        """All losses before the updates of these steps."""
        second = np.sum([part.expectation.at(steps) for part in self._parts], axis=0)
        return Losses(
            second[0, self._train],
            self._mean.linear_validation(steps) + second[0, self._validation],
            self._mean.linear_judged(steps) + second[self._judged_from, self._judged],
        )

    @functools.cached_property
    def _own(self) -> Losses:
        """The losses of every epoch of the run."""
        return self.losses(self._spec.epochs)

    def ensemble(self, starts: Iterable[Weights], count: int) -> list[Losses] | None:
        """The losses of every epoch from these starts, to leading order in the batches' noise."""

        def losses_of(spec: RunSpec) -> Losses:
            return MinibatchTrajectory(spec).losses(spec.epochs)

        return from_other_starts(self._spec, starts, count, self._mean.means, self._own, losses_of)

    def spread(self, rows: Float[np.ndarray, "N n"] | None = None) -> Losses | None:
        """Relative standard deviations of the losses over the orders of the rows: Gaussian ones, or those given."""
        spec, along = self._spec, []
        for rate, outputs in zip(spec.group_rates, spec.problem.output_groups, strict=True):
            start, kick = spec.counted(outputs)
            moments = functools.partial(moments_at, spec.updates(rate), minibatch.at_start(start), kick)
            along.append(Along(np.full((spec.settings.epochs, 1), rate), moments))
        ends = self.at(spec.epochs * spec.steps).train
        return spread_over_orders(spec, along, self._own.train, ends, rows)

    def excess(self, step: float) -> float:
        """The expected training loss above its floor before the update of this step."""
        return float(self.at(np.array([step])).train[0])

    def steps_to(self, level: float) -> float:
        """Updates until the expected squared error, as judged, is at most `level`."""
        if level not in self._reached:
            guess = self._mean.steps_to(level)
            self._reached[level] = first_step(lambda steps: self.at(steps).error <= level, guess)
        return self._reached[level]

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Updates until each group of modes holds at most the share `left` of its loss, the batches' noise included."""
        forms = [np.diag(mask * self._spec.problem.spectrum.eigenvalues) for mask in masks]
        expectations = [part.expectation.of(forms) for part in self._parts]

        def power(index: int, steps: np.ndarray) -> np.ndarray:
            return np.sum([expectation.at(steps)[0, index] for expectation in expectations], axis=0)

        levels = [left * power(k, np.zeros(1))[0] for k in range(len(masks))]
        guesses = self._mean.group_steps(masks, left)
        return np.array(
            [
                first_step(lambda steps, k=k: power(k, steps) <= levels[k], guess=guess)
                for k, guess in enumerate(guesses)
            ]
        )

    def weights_along(self, steps: Float[np.ndarray, " t"], outputs: slice = EVERY) -> Float[np.ndarray, "t n q"]:
        """The expected stacked weights of some outputs before the updates of these steps."""
        return self._mean.weights_along(steps, outputs)

    def weights(self, step: float) -> Weights:
        """The expected weights."""
        return self._mean.weights(step)
