"""Minibatch SGD with a constant learning rate, with or without momentum: the expected loss at any step."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.prediction.dynamics.full_batch import FullBatchTrajectory
from idjax.prediction.dynamics.search import first_step
from idjax.prediction.dynamics.trajectory import Losses, RunSpec
from idjax.prediction.problem import QuadraticProblem
from idjax.theory.sgd import minibatch
from idjax.theory.sgd.horizons import Expectation
from idjax.types import Stall, Weights

TRAIN, VALIDATION, JUDGED = range(3)


class _Part(NamedTuple):
    """Outputs that learn at the same rate: their expectation, label noise, and the bias of an epoch's mean loss."""

    expectation: Expectation
    noise: float
    unseen: float


class MinibatchTrajectory:
    """The loss in expectation over the batches of shuffled epochs; docs/theory.md, sections 10 and 11.

    The mean of the weights follows the full batch; their second moments, the noise of the batches included, the
    recursion (26), and of a shuffled epoch (49). Exact in expectation for Gaussian rows and fresh batches.
    """

    stall: Stall | None = None

    def __init__(self, spec: RunSpec, starts: Sequence[Weights] | None = None):
        self._spec = spec
        self._starts = starts or [spec.start]
        self._means = [FullBatchTrajectory(spec._replace(start=start)) for start in self._starts]
        problem = spec.problem
        grams = [np.diag(problem.spectrum.eigenvalues)]
        grams += [rows.gram for rows in (problem.on_validation or problem.on_train, problem.on_judged)]
        noise = problem.on_train.residual
        coefficients = [problem.coefficients(start) for start in self._starts]
        settings, eigenvalues = spec.settings, problem.spectrum.eigenvalues
        self._alike = np.array_equal(problem.output_shares, problem.judged_shares)
        self._judged_from = 0 if self._alike else len(self._starts)
        self._parts = []
        in_the_run = (spec.steps - 1.0, float(spec.steps * settings.epochs))
        for rate, outputs in zip(group_rates(problem, settings.step_size), problem.output_groups, strict=True):
            rule = shuffled_updates(spec, rate)
            # Each start twice where the error is judged with other weights of the outputs than the loss has.
            shares = [problem.output_shares[outputs], problem.judged_shares[outputs]][: 1 + (not self._alike)]
            seconds = [(c[:, outputs] * share) @ c[:, outputs].T for share in shares for c in coefficients]
            kicks = [float(share @ noise[outputs]) for share in shares for _ in coefficients]
            decay = rate / (1 - settings.momentum) * eigenvalues * spec.steps
            unseen = minibatch.unseen_rows(decay, rate, eigenvalues, spec.mean_batch, spec.rows)
            expectation = Expectation(rule, np.stack(seconds), np.array(kicks), np.stack(grams), in_the_run)
            self._parts.append(_Part(expectation, kicks[0], unseen))
        how = "SGD" if not settings.momentum else f"{'Nesterov ' if settings.nesterov else ''}momentum"
        self.how = f"{how}, exact in expectation over the batches (Gaussian rows, shuffled epochs to second order)"

    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """The losses of these epochs, of the first start."""
        return self.ensemble(epochs)[0]

    def ensemble(self, epochs: Float[np.ndarray, " E"]) -> list[Losses]:
        """The losses of these epochs, of every start."""
        steps, last_share = self._spec.steps, self._spec.last_share
        end = epochs * steps
        count = len(self._starts)
        after = self._ensemble_at(end)
        train = np.zeros((count, len(epochs)))
        for expectation, noise, unseen in self._parts:
            until_last = expectation.mean(end - steps, steps - 1)[:count, TRAIN]
            last = expectation.at(end - 1)[:count, TRAIN]
            mean = (1 - last_share) * until_last + last_share * last
            train += mean + unseen * (mean + noise)
        return [one._replace(train=mean) for one, mean in zip(after, train, strict=True)]

    def at(self, steps: Float[np.ndarray, " t"]) -> Losses:
        """All losses before the updates of these steps, of the first start."""
        return self._ensemble_at(steps)[0]

    def _ensemble_at(self, steps: Float[np.ndarray, " t"]) -> list[Losses]:
        second = np.sum([part.expectation.at(steps) for part in self._parts], axis=0)
        return [
            Losses(
                second[index, TRAIN],
                mean.linear_validation(steps) + second[index, VALIDATION],
                mean.linear_judged(steps) + second[self._judged_from + index, JUDGED],
            )
            for index, mean in enumerate(self._means)
        ]

    def excess(self, step: float) -> float:
        """The expected training loss above its floor before the update of this step, of the first start."""
        return float(self.at(np.array([step])).train[0])

    def steps_to(self, level: float) -> float:
        """Updates until the expected squared error of the first start, as judged, is at most `level`."""
        return first_step(lambda steps: self.at(steps).error <= level, guess=self._means[0].steps_to(level))

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Updates until each group of modes holds at most the share `left` of its loss, the batches' noise included."""
        forms = np.stack([np.diag(mask * self._spec.problem.spectrum.eigenvalues) for mask in masks])
        expectations = [part.expectation.of(forms) for part in self._parts]

        def power(index: int, steps: np.ndarray) -> np.ndarray:
            return np.sum([expectation.at(steps)[0, index] for expectation in expectations], axis=0)

        levels = [left * power(k, np.zeros(1))[0] for k in range(len(masks))]
        guesses = self._means[0].group_steps(masks, left)
        return np.array(
            [
                first_step(lambda steps, k=k: power(k, steps) <= levels[k], guess=guess)
                for k, guess in enumerate(guesses)
            ]
        )

    def weights_along(self, steps: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t n q"]:
        """The expected stacked weights before the updates of these steps."""
        return self._means[0].weights_along(steps)

    def weights(self, step: float) -> Weights:
        """The expected weights."""
        return self._means[0].weights(step)


def shuffled_updates(spec: RunSpec, rate: float) -> minibatch.Updates:
    """The updates of a run's shuffled epochs at the rate η' of some of its outputs."""
    settings, problem = spec.settings, spec.problem
    return minibatch.updates(
        problem.spectrum.eigenvalues,
        problem.mean,
        spec.mean_batch,
        rate,
        settings.momentum,
        settings.nesterov,
        float(spec.steps),
    )


def group_rates(problem: QuadraticProblem, learning_rate: float) -> Float[np.ndarray, " g"]:
    """η' = 2 η ω / q of each group of outputs."""
    return 2 * learning_rate * problem.output_shares[: problem.groups]
