"""Steps to learn against the deviation of the inputs, predicted and measured: the figure that explains the failure.

Full-batch gradient descent in float64 on Gaussian rows whose own sample moments are exactly the prescribed ones, so
that the prediction is exact and any difference is an error.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np

from idjax.data import prescribed
from idjax.moments.moments import measure, moments_of
from idjax.moments.normalize import fit
from idjax.nn.descent import Descent, put_on_device
from idjax.nn.model import from_params
from idjax.nn.starts import start_weights
from idjax.prediction.learning_rates import max_learning_rate
from idjax.prediction.predict import steps_to_loss
from idjax.prediction.problem import quadratic_problem
from idjax.published.experiments import VarianceScan
from idjax.published.outcomes import ScanOutcome, ScanPoint
from idjax.published.workers import Task
from idjax.settings import Normalize, Settings
from idjax.types import OnProgress, Progress, Rows, Weights

CHUNK = 1000
"""Steps of one compiled call."""
SETTLED = 500
"""Steps after which the mode of the mean, the only fast one, is gone."""
POINT_COST = 3e4
"""What a point costs on average, in updates of a run on the published data."""


def scan_tasks(scan: VarianceScan) -> list[Task]:
    """A task for each point, which returns it predicted and measured."""
    return [
        Task(f"{scan.name} · {normalize}, {ratio:.3g}", functools.partial(_point, scan, ratio, normalize), POINT_COST)
        for ratio in scan.ratios
        for normalize in scan.normalizers
    ]


def scan_outcome(scan: VarianceScan, points: Sequence[ScanPoint]) -> ScanOutcome:
    """The measured points in the order of the scan's normalisers and ratios."""
    order = sorted(points, key=lambda point: (scan.normalizers.index(point.normalize), point.ratio))
    return ScanOutcome(scan, tuple(order))


@dataclasses.dataclass(frozen=True)
class _Case:
    """A point of the scan with its prediction."""

    ratio: float
    settings: Settings
    x: np.ndarray
    start: Weights
    level: float
    predicted: float


def _pose(scan: VarianceScan, ratio: float, normalize: Normalize) -> _Case:
    deviation = ratio * scan.mean
    mean = np.full(scan.inputs, scan.mean)
    x = prescribed(mean, np.full(scan.inputs, deviation**2), scan.rows, 0, exact=True)
    settings = Settings(
        batch_size=scan.rows,
        validation_split=0.0,
        normalize=normalize,
        loss_space="normalized",
        dtype="float64",
    )
    problem = quadratic_problem(measure(x), None, settings)
    rate = min(scan.learning_rate, max_learning_rate(problem, scan.rows) / 2)
    settings = dataclasses.replace(settings, learning_rate=rate)
    start = start_weights("glorot", scan.inputs, scan.inputs, settings.seed)
    # Learned in the units of the loss, so that the curve of losses itself tells when.
    level = (1 - settings.learned_at) * float(np.mean(np.diagonal(problem.train.covariance_yy)))
    return _Case(ratio, settings, x, start, level, steps_to_loss(problem, start, settings, level))


def _point(scan: VarianceScan, ratio: float, normalize: Normalize, progress: OnProgress) -> ScanPoint:
    case = _pose(scan, ratio, normalize)
    if case.predicted <= scan.most_steps:
        measured, kind = _train_to_level(case, progress), "trained"
    elif ratio >= scan.smallest_measured:
        measured, kind = _extrapolate(case), "extrapolated"
    else:
        measured, kind = float("nan"), "beyond float64"
    return ScanPoint(ratio, normalize, case.settings.step_size, case.predicted, measured, kind)


def _descend(case: _Case, steps: int) -> Iterator[tuple[Weights, np.ndarray]]:
    """Trains `steps` steps at a time: the weights after them, and the loss before each."""
    rows = Rows(case.x, None)
    prepared = put_on_device(case.settings, rows, fit(case.settings.normalize, moments_of(case.x)))
    descent = Descent(prepared, [case.settings], [(case.start,)])
    while True:
        losses = descent.epochs(steps).batches[0, :, 0]
        yield from_params(descent.params()[0]), losses


def _train_to_level(case: _Case, progress: OnProgress) -> float:
    """The first step whose loss is at most the level; inf if that takes twice as long as predicted."""
    done, what = 0, f"{case.predicted:,.0f} steps of gradient descent, {case.settings.normalize}"
    for _, losses in _descend(case, CHUNK):
        below = np.flatnonzero(losses <= case.level)
        if len(below):
            return float(done + below[0])
        done += len(losses)
        progress(Progress(done, max(done, int(case.predicted)), what))
        if done > 2 * case.predicted + CHUNK:
            return float("inf")
    raise AssertionError("descent ends only by returning")


def _extrapolate(case: _Case) -> float:
    """Steps to the level at the decay rate that the slow modes show between two times of a real run.

    The slow modes are all inputs' directions at right angles to the mean: the error there shrinks by one factor.
    """
    mean = np.ones(case.x.shape[1]) / np.sqrt(case.x.shape[1])
    across = np.eye(len(mean)) - np.outer(mean, mean)
    path = _descend(case, SETTLED)
    sizes, losses = [], np.zeros(1)
    for _ in range(3):
        weights, losses = next(path)
        sizes.append(np.linalg.norm(across @ (weights.kernel - np.eye(len(mean)))))
    decay = np.log(sizes[0] / sizes[-1]) / (2 * SETTLED)
    # The loss of the last step of the last call stands for the step before its end.
    return float(3 * SETTLED - 1 + np.log(losses[-1] / case.level) / (2 * decay))
