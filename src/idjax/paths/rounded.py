"""What rounding of the weights changes in SGD: where descent stalls, and what is left where batches are noisy."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idjax.paths.full_batch import FullBatchPath
from idjax.paths.minibatch import MinibatchPath
from idjax.paths.path import Course, Losses, Path, floor_of
from idjax.paths.search import first_step
from idjax.paths.stepped import stepped_path
from idjax.theory import finite_precision
from idjax.types import Stall, Weights

MOST_NOISE = 0.05
"""Share of the loss that rounding may add to it before the prediction is outside its range."""


def with_rounding(course: Course, path: FullBatchPath | MinibatchPath) -> Path:
    """The path, or one that knows where rounding to the dtype of the weights ends it; docs/theory.md, section 14.

    A full batch is stepped on the moments with its weights rounded, which is exact, where half of the descent is lost
    within the run. With minibatches the losses from there on are NaN, and `how` says why.
    """
    settings = course.settings
    if settings.rounding != "nearest" or settings.dtype == "float64":
        return path
    end = float(settings.epochs * course.steps)
    if isinstance(path, FullBatchPath):
        if settings.dtype == "bfloat16":
            return stepped_path(course)
        stall = first_step(lambda step: _passed(course, path, step) <= 0.5)
        if stall < end:
            return stepped_path(course)
    else:
        known = path.steps_to((1 - settings.learned_at) * course.problem.variance)
        last = known if np.isfinite(known) else end
        if _passed(course, path, last) > 0.5:
            return _with_noise(course, path, end)
        stall = first_step(lambda step: step >= last or _passed(course, path, step) <= 0.5)
    if stall < path.steps_to((1 - settings.learned_at) * course.problem.variance):
        return _Stalled(course, path, stall)
    return path


class _Stalled:
    """A path that is known until rounding holds back half of its descent."""

    def __init__(self, course: Course, path: FullBatchPath | MinibatchPath, step: float):
        self._course, self._path, self._step = course, path, step
        dtype = course.settings.dtype
        self.stall: Stall | None = Stall(dtype, step, _excess(course, path, step) + floor_of(course.problem))
        self.how = f"{path.how}; outside its range from step {step:,.0f} on: {dtype} loses half of the mean update"

    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """The losses of these epochs, NaN once updates are lost."""
        lost = epochs * self._course.steps > self._step
        return Losses(*(np.where(lost, np.nan, part) for part in self._path.losses(epochs)))

    def steps_to(self, level: float) -> float:
        """Updates until the judged squared error is at most `level`, before updates are lost."""
        steps = self._path.steps_to(level)
        return steps if steps <= self._step else float("inf")

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Updates until each group of modes holds at most the share `left`, before updates are lost."""
        steps = self._path.group_steps(masks, left)
        return np.where(steps <= self._step, steps, np.inf)

    def weights(self, step: float) -> Weights | None:
        """The expected weights, before updates are lost."""
        return self._path.weights(step) if step <= self._step else None


def _passed(course: Course, path: FullBatchPath | MinibatchPath, step: float) -> float:
    """The share of the descent, Σ Δ² over the weights' mean updates Δ, that rounding lets pass; docs (122)-(123)."""
    settings, problem = course.settings, course.problem
    before, after = path.weights(step).stacked, path.weights(step + 1).stacked
    update = after - before
    descent = update**2
    if not descent.any():
        return 0.0 if isinstance(path, FullBatchPath) else 1.0
    gap = np.asarray(finite_precision.unit(jnp.asarray(before), settings.dtype))
    held = np.asarray(finite_precision.lost(jnp.asarray(before), jnp.asarray(update), settings.dtype))
    passed = np.where(held, 0.0, 1.0)
    if isinstance(path, MinibatchPath):
        # Late in a run the mean of the inputs is learned, and a row's gradient is as large as what is left.
        rate = 2 * settings.step_size * problem.output_shares
        noise = _excess(course, path, step) + floor_of(problem) - problem.penalty[0]
        power = problem.train.weight * np.append(np.diagonal(problem.train.covariance_xx) + problem.train.mean_x**2, 1)
        deviation = np.sqrt(noise * power / course.mean_batch)[:, None] * rate
        passed = np.maximum(passed, np.asarray(finite_precision.passed(jnp.asarray(deviation / gap))))
    return float(np.sum(passed * descent) / np.sum(descent))


def _excess(course: Course, path: FullBatchPath | MinibatchPath, step: float) -> float:
    """The training loss above its floor, before the update of this step."""
    if isinstance(path, MinibatchPath):
        return path.excess(step)
    return float(jnp.sum(course.power() * path.factors(np.array([step]))[0] ** 2))


def _with_noise(course: Course, path: MinibatchPath, end: float) -> MinibatchPath:
    """The path, outside its range where what rounding adds to the loss is not small."""
    settings = course.settings
    weights = jnp.asarray(path.weights(end).stacked)
    added = float(
        finite_precision.noise_after(
            weights,
            jnp.asarray(course.problem.rates),
            settings.step_size / (1 - settings.momentum),
            end,
            settings.dtype,
        )
    )
    loss = _excess(course, path, end) + floor_of(course.problem)
    if added > MOST_NOISE * loss:
        path.how += f"; outside its range at the end: rounding to {settings.dtype} adds about {added:.2g} to the loss"
    return path
