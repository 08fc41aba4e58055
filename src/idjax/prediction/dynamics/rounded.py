"""SGD with rounded weights: where a full batch stalls, and how rounding slows noisy batches."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from idjax.prediction import budget
from idjax.prediction.dynamics.full_batch import FullBatchTrajectory
from idjax.prediction.dynamics.minibatch import MinibatchTrajectory
from idjax.prediction.dynamics.passing import share_passed
from idjax.prediction.dynamics.run_spec import RunSpec, floor_of
from idjax.prediction.dynamics.search import first_step
from idjax.prediction.dynamics.trajectory import Losses, Trajectory, UndefinedTrajectory
from idjax.results.curve import Stall, Status
from idjax.theory import finite_precision
from idjax.types import Weights

NOTHING_LOST = 1 - 1e-10
UNSLOWED = 0.999
"""Share of the descent that has to pass for rounding to be left out."""
CLOCKED, TIMED = 0.9, 0.5
"""Share of the descent that has to pass for one clock to describe all weights: their loss, and roughly their time."""
STANDS = 0.98
"""Share of the loss that is left where training no longer moves, clock or not."""
STALLED = 0.01
"""Share of the descent that passes where a run with batches counts as stalled."""
MOST_NOISE = 0.05
"""Loss that rounding may add, as a share of what counts as learned and of the loss, within the range."""
MOST_WEIGHTS = 2**14
"""Weights from which those of evenly spaced outputs stand for all."""
FAR_OUT = 6.0
"""Deviations of a batch's gradient from its mean that count as its largest."""
FOREVER = 1e18
NODES = (np.polynomial.legendre.leggauss(4)[0] + 1) / 2


def with_rounding(spec: RunSpec, trajectory: FullBatchTrajectory | MinibatchTrajectory) -> Trajectory:
    """The trajectory, or one that knows what rounding to the dtype of the weights does; docs/theory.md, section 14.

    A full batch is stepped on the moments with its weights rounded, which is exact, where half of the descent is lost
    within the run. With minibatches the noise carries part of the mean updates over the gap.
    """
    settings = spec.settings
    end = float(settings.epochs * spec.steps)
    narrow, warning = settings.dtype == "float16", ""
    if settings.rounding == "stochastic":
        warning = _noise_warning(spec, trajectory, end)
    if settings.dtype == "float64" or (settings.rounding != "nearest" and not narrow):
        _warn(trajectory, warning)
        return trajectory
    learned = trajectory.steps_to(spec.left) if spec.beyond else np.inf
    if isinstance(trajectory, FullBatchTrajectory):
        last = max(learned, end)
        if not spec.power().any():  # nothing to descend, of which nothing is lost
            return trajectory
        if np.isfinite(last) and not settings.half and _passed(spec, trajectory, np.array([last]))[0] > 0.5:
            return trajectory
        stall = first_step(lambda steps: _passed(spec, trajectory, steps) <= 0.5)
        if settings.half or stall < end:
            from idjax.prediction.dynamics import stepped

            stepped_run = stepped.build(spec)
            _warn(stepped_run, warning)
            return stepped_run
        return StallingTrajectory(spec, stall) if stall < learned else trajectory
    if narrow and (lost := _lost_gradients(spec, trajectory, min(learned, end), end)):
        return UndefinedTrajectory(f"outside its range: {lost}", Status.OUTSIDE_RANGE)
    last = max(learned, end) if np.isfinite(learned) else end
    if settings.rounding == "nearest":
        warning = _noise_warning(spec, trajectory, end)
    rounded: MinibatchTrajectory | SlowedTrajectory = trajectory
    within, *_ = passed = _passed(spec, trajectory, np.unique([end, last]))
    if passed.min() < UNSLOWED:
        early = np.geomspace(1, last / 8, 10) if within < UNSLOWED else [end]
        # The noise falls with the loss, most of it close to the end.
        late = [*np.linspace(last / 4, 2 * last, 8), 3 * last, 6 * last]
        steps = np.unique(np.round([0.0, *early, *late]))
        rounded = SlowedTrajectory(spec, trajectory, steps, _passed(spec, trajectory, steps), learned)
    _warn(rounded, warning)
    return rounded


def _warn(trajectory: Trajectory, warning: str) -> None:
    if warning:
        trajectory.how, trajectory.status = trajectory.how + warning, Status.OUTSIDE_RANGE


class StallingTrajectory(FullBatchTrajectory):
    """A full batch that stalls after the run: what would be learned later never is."""

    def __init__(self, spec: RunSpec, step: float):
        super().__init__(spec)
        self.stall = Stall(spec.settings.dtype, step, self.excess(step) + floor_of(spec.problem))

    def steps_to(self, level: float) -> float:
        """Updates until the judged squared error is at most `level`; inf if updates are lost before."""
        assert self.stall is not None
        steps = super().steps_to(level)
        return steps if steps <= self.stall.steps else float("inf")

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Updates until each group of modes holds at most the share `left`; inf if updates are lost before."""
        assert self.stall is not None
        steps = super().group_steps(masks, left)
        return np.where(steps <= self.stall.steps, steps, np.inf)


class SlowedTrajectory(Trajectory):
    """Batches' noise carries the share p of the mean update over the gap: t updates do what τ would, dτ/dt = p.

    docs/theory.md (125). As the loss falls so does the noise, and the clock τ stops.

    Args:
      trajectory: the run without rounding.
      steps: some of its steps τ, from 0 on.
      passed: p at these.
      learned: steps of it until all is learned; what stalls later is no stall.
    """

    def __init__(
        self,
        spec: RunSpec,
        trajectory: MinibatchTrajectory,
        steps: Float[np.ndarray, " k"],
        passed: Float[np.ndarray, " k"],
        learned: float,
    ):
        self.unrounded, self._steps, self._unrounded_steps = trajectory, spec.steps, steps
        self._epochs, self.status = spec.epochs, trajectory.status
        pace = 1 / np.maximum(passed, 1 / FOREVER)
        needed = np.append(0.0, np.cumsum(np.diff(steps) * (pace[1:] + pace[:-1]) / 2))
        self._needed = np.minimum(needed, FOREVER)
        # Weights that most is lost of stay behind the others: no common clock describes them.
        self._valid, self._timed = (self._first(passed < share) for share in (CLOCKED, TIMED))
        self.known_until = self._timed if self._timed < FOREVER else float("inf")
        dtype = spec.settings.dtype
        self.how = f"{trajectory.how}; slowed by rounding to {dtype}, as the batches' noise carries updates over it"
        if self._valid < spec.settings.epochs * spec.steps:
            self.status = Status.OUTSIDE_RANGE
            self.how += (
                f"; outside its range from step {self._valid:,.0f} on: rounding loses a tenth of the mean update"
            )
        self.stall: Stall | None = None
        stalls = (passed < STALLED) & (steps < learned)
        if stalls.any():
            loss = trajectory.excess(float(steps[np.argmax(stalls)])) + floor_of(spec.problem)
            self.stall = Stall(dtype, self._first(stalls), loss)

    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """The losses of these epochs, NaN from where weights differ too much in what passes and still move."""
        end = epochs * self._steps
        within = end[:, None] - self._steps * NODES
        slowed, plain = (self.unrounded.at(np.floor(at).ravel()).train for at in (self._clock(within), within))
        share = slowed.reshape(within.shape).mean(axis=1) / plain.reshape(within.shape).mean(axis=1)
        after = self.unrounded.at(self._clock(end))
        losses = Losses(self.unrounded.losses(epochs).train * share, after.validation, after.error)
        still = after.train >= STANDS * self.unrounded.at(self._clock(np.array([self._valid]))).train
        return Losses(*(np.where((end > self._valid) & ~still, np.nan, part) for part in losses))

    def ensemble(self, starts: Iterable[Weights], count: int) -> list[Losses] | None:
        """The losses from these starts: rounding slows others as it slows this one."""
        found = self.unrounded.ensemble(starts, count)
        if found is None:
            return None
        slowed = [a / b for a, b in zip(*(one.losses(self._epochs) for one in (self, self.unrounded)), strict=True)]
        return [Losses(*(part * by for part, by in zip(one, slowed, strict=True))) for one in found]

    def spread(self) -> Losses | None:
        """Relative standard deviations over the orders of the rows, as without rounding."""
        return self.unrounded.spread()

    def steps_to(self, level: float) -> float:
        """Updates until the expected squared error is at most `level`; inf beyond the range."""
        return float(self._needed_for(np.array(self.unrounded.steps_to(level))))

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Updates until each group of modes holds at most the share `left` of its loss; inf beyond the range."""
        return self._needed_for(self.unrounded.group_steps(masks, left))

    def weights(self, step: float) -> Weights:
        """The expected weights."""
        return self.unrounded.weights(float(self._clock(np.array([step]))[0]))

    def _first(self, condition: Bool[np.ndarray, " k"]) -> float:
        return float(self._needed[np.argmax(condition)]) if condition.any() else FOREVER

    def _clock(self, steps: Float[np.ndarray, "*t"]) -> Float[np.ndarray, "*t"]:
        """The updates without rounding that do what these do."""
        return np.floor(np.interp(steps, self._needed, self._unrounded_steps))

    def _needed_for(self, steps: Float[np.ndarray, "*k"]) -> Float[np.ndarray, "*k"]:
        found = np.interp(steps, self._unrounded_steps, self._needed, right=np.inf)
        return np.where(found < min(self._timed, FOREVER), found, np.inf)


def _passed(
    spec: RunSpec, trajectory: FullBatchTrajectory | MinibatchTrajectory, steps: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """The share of the descent that rounding lets pass at these steps; docs/theory.md (122) and (123)."""
    size = max(1, budget.NUMBERS_AT_ONCE // min(spec.start.kernel.size, MOST_WEIGHTS))
    return np.concatenate([_part_passed(spec, trajectory, steps[i : i + size]) for i in range(0, len(steps), size)])


def _part_passed(spec: RunSpec, trajectory: FullBatchTrajectory | MinibatchTrajectory, steps: np.ndarray) -> np.ndarray:
    settings = spec.settings
    before, updates = _updates(spec, trajectory, steps)
    share = share_passed(settings, before, updates, np.zeros_like(before))
    # The loss is dear, and where hardly any of the descent is lost noise has nothing to carry.
    helped = share < NOTHING_LOST
    if isinstance(trajectory, MinibatchTrajectory) and helped.any():
        noise = _noise(spec, trajectory, steps[helped])
        share[helped] = share_passed(settings, before[helped], updates[helped], noise)
    return np.nan_to_num(share, nan=1.0 if isinstance(trajectory, MinibatchTrajectory) else 0.0)


def _updates(
    spec: RunSpec, trajectory: FullBatchTrajectory | MinibatchTrajectory, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The expected weights before these steps, and the mean updates."""
    both = trajectory.weights_along(np.concatenate([steps, steps + 1]), _looked_at(spec))
    before, after = np.split(both, 2)
    return before, after - before


def _noise(spec: RunSpec, trajectory: MinibatchTrajectory, steps: np.ndarray) -> np.ndarray:
    """The deviation of the updates at these steps.

    Late in a run the mean of the inputs is learned, and a row's gradient is as large as what is left.
    """
    problem = spec.problem
    rate = 2 * spec.settings.step_size * problem.output_shares[_looked_at(spec)]
    left = trajectory.at(steps).train + floor_of(problem) - problem.penalty[0]
    power = problem.train.weight * np.append(np.diagonal(problem.train.covariance_xx) + problem.train.mean_x**2, 1)
    return np.sqrt(np.outer(left, power) / spec.mean_batch)[:, :, None] * rate


def _lost_gradients(spec: RunSpec, trajectory: MinibatchTrajectory, *steps: float) -> str:
    """Says where the first gradients overflow float16, or those at these steps are too small for it."""
    settings, first = spec.settings, np.zeros(1)
    largest = np.abs(_updates(spec, trajectory, first)[1]) + FAR_OUT * _noise(spec, trajectory, first)
    largest *= settings.loss_scale / settings.step_size
    if largest.max() > finite_precision.LARGEST:
        return f"gradients of {largest.max():.2g} overflow float16"
    # Rounded stochastically the weights lose nothing of the mean: what is lost is lost before.
    alone = spec._replace(settings=dataclasses.replace(settings, rounding="stochastic"))
    lost = 1 - _passed(alone, trajectory, np.unique([0.0, *steps])).min()
    return f"float16 loses {lost:.0%} of the gradients" if lost > 1 - CLOCKED else ""


def _looked_at(spec: RunSpec) -> slice:
    """The outputs whose weights tell what rounding does: all, or of very many weights evenly spaced ones."""
    return slice(None, None, -(-spec.start.kernel.size // MOST_WEIGHTS))


def _noise_warning(spec: RunSpec, trajectory: FullBatchTrajectory | MinibatchTrajectory, end: float) -> str:
    """Says where what rounding adds to the loss is not small."""
    settings, problem = spec.settings, spec.problem
    rate = settings.step_size / (1 - settings.momentum)
    outputs = _looked_at(spec)
    weights, count = trajectory.weights_along(np.array([end]), outputs)[0], spec.start.kernel.shape[1]
    added = finite_precision.noise_after(weights, problem.rates, rate, end, settings.dtype)
    added *= count / weights.shape[1]
    if settings.rounding == "stochastic":
        added *= 2  # up or down at random is off by u²/6, to nearest by u²/12
    variance = problem.train.weight * float(np.diagonal(problem.train.covariance_yy) @ problem.output_shares)
    # The loss at the end is dear: it is looked at where it decides.
    if added <= MOST_NOISE * (1 - settings.learned_at) * variance:
        return ""
    if added > MOST_NOISE * (trajectory.excess(end) + floor_of(problem)):
        return f"; outside its range at the end: rounding to {settings.dtype} adds about {added:.2g} to the loss"
    return ""
