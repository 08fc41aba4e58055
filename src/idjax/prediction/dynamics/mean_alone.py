"""Minibatch SGD without the noise of its batches: the losses of the expected weights."""

import numpy as np
from jaxtyping import Float

from idjax.prediction import budget
from idjax.prediction.dynamics.full_batch import FullBatchTrajectory
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.prediction.dynamics.trajectory import Losses
from idjax.results.curve import Status
from idjax.theory.quadratic import evaluate

_GAUSS = np.polynomial.legendre.leggauss(12)
NODES, NODE_WEIGHTS = ((_GAUSS[0] + 1) / 2) ** 2, _GAUSS[1] * (_GAUSS[0] + 1) / 2
"""Where the losses of an epoch are read, closest at its beginning, and their weights in its mean."""


class MeanTrajectory(FullBatchTrajectory):
    """The loss of the mean of the weights, which follows the full batch: the noise of the batches only adds to it."""

    def __init__(self, spec: RunSpec):
        super().__init__(spec)
        self.how, self.status = "the mean of the weights, the noise of the batches left out", Status.OUTSIDE_RANGE

    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """The losses of these epochs."""
        ends, squares = self.means(epochs)
        validation = np.full(len(epochs), np.nan)
        if self._validation is not None:
            validation = evaluate(self._validation, ends)
        return Losses(np.sum(self._power * squares, axis=(-2, -1)), validation, evaluate(self._judged, ends))

    def means(self, epochs: Float[np.ndarray, " E"]) -> tuple[Float[np.ndarray, "E g n"], Float[np.ndarray, "E g n"]]:
        """Shrink factors of the modes of the expected weights at the ends of epochs, and their mean squares within."""
        size, steps = max(1, budget.NUMBERS_AT_ONCE // (len(NODES) * self._rates.size)), self._spec.steps
        parts = [epochs[first : first + size] for first in range(0, len(epochs), size)]
        within = [self.factors(((part - 1)[:, None] + NODES).ravel() * steps) ** 2 for part in parts]
        squares = [np.tensordot(NODE_WEIGHTS, each.reshape(-1, len(NODES), *each.shape[1:]), (0, 1)) for each in within]
        return self.factors(epochs * steps), np.concatenate(squares)
