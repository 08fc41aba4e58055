"""Cross-entropy of one linear layer, sgd at small constant rates: the gradient flow with the noise of its batches."""

import numpy as np
from jaxtyping import Float

from idjax.moments.normalize import encode
from idjax.nn.learned import crossing
from idjax.nn.logistic import mean_loss
from idjax.nn.metrics import accuracy
from idjax.prediction import budget
from idjax.prediction.dynamics.follow_cost import goes_to_its_end
from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec, floor_of
from idjax.prediction.dynamics.trajectory import SampledTrajectory
from idjax.theory.logistic import (
    LabelledInputs,
    Look,
    SmallUpdates,
    curvature_bound,
    flow,
    gradients,
    lagged,
    updates_of,
)
from idjax.types import Rows, Weights

LARGEST_BEND = 0.2
"""Share of a gradient that an update may change of itself, up to which losses are within 3%."""
LARGEST_NOISE = 0.03
"""Share of a training loss that is the noise of batches, up to which they are."""
SATURATED = 0.1
"""Share of the curvature at equal shares of the classes that is left at a start whose outputs are not saturated: from
others the curvature rises by an unknown amount.
"""
BEYOND = 1000.0
"""Times the run that the time to learn is looked for, at most."""
REACH = 1e5
"""Curvature times clock up to which it is."""


def applies(spec: RunSpec) -> str | None:
    """Why this is no theory of the run, as flags; empty where it is of another kind."""
    settings = spec.settings
    if not settings.classifies:
        return ""
    sample = spec.sample
    for holds, what in (
        (not spec.layers, "and hidden layers"),
        (settings.optimizer == "sgd", f"and --optimizer {settings.optimizer}"),
        (not settings.nesterov, "and --nesterov"),
        (not settings.schedule.changes, f"and --schedule {settings.schedule}"),
        (settings.activity_l1 == settings.activity_l2 == 0, "and a penalty"),
        (not settings.half, f"and --dtype {settings.dtype}"),
        (settings.normalize != "zca", "and --normalize zca"),
        (sample is not None and len(sample.x) == spec.rows, "without all rows at hand"),
        # One run of the full batch is exact, and told to its end where that is cheap.
        (not (spec.full_batch and goes_to_its_end(spec, 1)), "on the full batch"),
        (products(spec) <= budget.FOLLOWED_RUNS, f"of {spec.rows:,} rows for {settings.epochs * spec.steps:,} updates"),
    ):
        if not holds:
            return f"--loss cross-entropy {what}"
    return None


def products(spec: RunSpec) -> float:
    """About the products that the flow takes, at the largest rate that it is taken for, and the clocks of updates."""
    inputs, outputs = spec.start.stacked.shape
    updates = spec.settings.epochs * spec.steps
    return 500.0 * updates + gradients(2 * LARGEST_BEND * updates) * spec.rows * inputs * 6.0 * (outputs + 1)


def build(spec: RunSpec) -> "LogisticTrajectory":
    """The flow to the end of the run, and on to where it has learned; docs/theory.md (140) to (142).

    Raises:
      NoTheoryError: if the rate is too large for it, or the noise.
    """
    settings, sample = spec.settings, spec.sample
    assert sample is not None
    rows = _seen(spec, sample)
    judged = rows if spec.held_out is None else _seen(spec, spec.held_out)
    sizes = np.full(spec.steps, float(min(settings.batch_size, spec.rows)))
    sizes[-1] = spec.last_share * spec.rows
    updates = updates_of(settings.step_size, settings.momentum, sizes)
    clocks = updates.stride * lagged(np.arange(settings.epochs * spec.steps + 1.0), settings.momentum)
    looks, seen = [], []
    equal = np.full_like(rows.y, 1 / max(2, rows.y.shape[1]))
    usual, _ = curvature_bound(rows.a, equal, np.mean(np.abs(rows.a), axis=0))
    for look in flow(rows, spec.all_layers[0].stacked, updates, float(clocks[-1])):
        if not looks and look.curvature < SATURATED * usual:
            raise NoTheoryError("--loss cross-entropy from a start with saturated outputs has no closed form")
        looks.append(look)
        seen.append(_judged(look, judged))
        if look.clock <= clocks[-1]:
            _require_range(spec, updates, look)
        beyond = max(look.clock / clocks[-1] / BEYOND, look.clock * look.curvature / REACH)
        if look.clock >= clocks[-1] and (seen[-1][0] <= spec.left or not spec.beyond or beyond > 1):
            break
    return LogisticTrajectory(spec, updates.noise, looks, np.array(seen), clocks, sizes)


def _require_range(spec: RunSpec, updates: SmallUpdates, look: Look) -> None:
    """Raises NoTheoryError where losses may be 3% from training."""
    bend, noise = updates.bend * look.curvature, updates.noise * look.scatter
    if bend > LARGEST_BEND:
        most = spec.settings.step_size * LARGEST_BEND / bend
        raise NoTheoryError(f"--loss cross-entropy at rates above {most:.2g} has no closed form")
    if noise > LARGEST_NOISE * (look.loss + noise):
        raise NoTheoryError("--loss cross-entropy with so much noise of batches has no closed form")


class LogisticTrajectory(SampledTrajectory):
    """Losses between looks by straight lines over the clock."""

    def __init__(
        self,
        spec: RunSpec,
        noise: float,
        looks: list[Look],
        seen: Float[np.ndarray, "t 2"],
        clocks: Float[np.ndarray, " T"],
        sizes: Float[np.ndarray, " m"],
    ):
        times = np.array([look.clock for look in looks])
        trained = np.array([look.loss + noise * look.scatter for look in looks])
        batches = np.interp(clocks[:-1], times, trained).reshape(-1, len(sizes))
        losses, accuracy = (np.interp(clocks[len(sizes) :: len(sizes)], times, part) for part in seen.T)
        record = np.stack([batches @ sizes / sizes.sum() - floor_of(spec.problem), losses, losses])
        end = next(look.weights for look in looks if look.clock >= clocks[-1])
        super().__init__(spec, record, spec.problem.enter(Weights(end[:-1], end[-1])))
        self.accuracy, self.least = accuracy, -floor_of(spec.problem)
        momentum = spec.settings.momentum
        self._times = times / clocks[-1] * lagged(np.array([len(clocks) - 1.0]), momentum)
        self._times += momentum / (1 - momentum) * (times > 0)
        self._losses = seen[:, 0]
        self.known_until = float(max(self._times[-1], len(clocks) - 1))
        self.how = f"gradient flow of the cross-entropy to second order in the rate, {len(looks)} looks"
        self.how += "" if spec.full_batch else ", with the noise of shuffled batches in expectation"

    def steps_to(self, level: float) -> float:
        """Updates until the judged loss is at most `level`, within the run or beyond it."""
        return crossing(self._times, self._losses, level)

    def group_steps(self, masks: Float[np.ndarray, "k n"], left: float) -> Float[np.ndarray, " k"]:
        """Unknown: modes are those of a quadratic loss."""
        return np.full(len(masks), np.nan)


def _seen(spec: RunSpec, rows: Rows) -> LabelledInputs:
    z = encode(spec.settings.normalize, spec.problem.normalizer, np.asarray(rows.x, np.float64), None)[0]
    return LabelledInputs(np.append(z, np.ones((len(z), 1)), axis=1), np.asarray(rows.target, np.float64))


def _judged(look: Look, rows: LabelledInputs) -> tuple[float, float]:
    """Loss and accuracy."""
    logits = rows.a @ look.weights
    return mean_loss(logits, rows.y), float(accuracy(logits, rows.y))
