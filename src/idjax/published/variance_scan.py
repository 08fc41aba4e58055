"""Steps to learn against the deviation of the inputs, predicted and measured: the figure that explains the failure.

Full-batch gradient descent in float64 on Gaussian rows whose own sample moments are exactly the prescribed ones, so
that the prediction is exact and any difference is an error.
"""

import concurrent.futures
import dataclasses
import os
import threading
from collections.abc import Iterator

import numpy as np

from idjax.data import prescribed
from idjax.moments.moments import measure, moments_of
from idjax.moments.normalize import fit
from idjax.nn.descent import Descent, put_on_device
from idjax.nn.model import from_params
from idjax.nn.starts import start_weights
from idjax.prediction.predict import steps_to_loss
from idjax.prediction.problem import max_learning_rate, quadratic_problem
from idjax.published.experiments import VarianceScan
from idjax.published.outcomes import ScanOutcome, ScanPoint
from idjax.settings import Normalize, Settings
from idjax.types import OnProgress, Progress, Rows, Weights, silent

CHUNK = 5000
"""Steps of one compiled call."""
SETTLED = 2000
"""Steps after which the mode of the mean, the only fast one, is gone."""


def run_scan(scan: VarianceScan, progress: OnProgress = silent) -> ScanOutcome:
    """Predicts and measures every point; the longest trainings first, side by side on the machine's cores."""
    cases = [_pose(scan, ratio, normalize) for ratio in scan.ratios for normalize in scan.normalizers]
    cases.sort(key=lambda case: -case.predicted if case.predicted <= scan.most_steps else 0.0)
    points = []
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = [pool.submit(_measure, case, scan, stop) for case in cases]
        try:
            for done in concurrent.futures.as_completed(waiting):
                point = done.result()
                points.append(point)
                progress(Progress(len(points), len(cases), f"{scan.name}: {_describe(point)}"))
        except BaseException:
            # Ctrl-C reaches this thread alone: the others are told, and end within a call.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    points.sort(key=lambda point: (scan.normalizers.index(point.normalize), point.ratio))
    return ScanOutcome(scan, tuple(points))


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


def _measure(case: _Case, scan: VarianceScan, stop: threading.Event) -> ScanPoint:
    if case.predicted <= scan.most_steps:
        measured, kind = _train_to_level(case, stop), "trained"
    elif case.ratio >= scan.smallest_measured:
        measured, kind = _extrapolate(case), "extrapolated"
    else:
        measured, kind = float("nan"), "beyond float64"
    rate = case.settings.step_size
    return ScanPoint(case.ratio, case.settings.normalize, rate, case.predicted, measured, kind)


def _descend(case: _Case, steps: int) -> Iterator[tuple[Weights, np.ndarray]]:
    """Trains `steps` steps at a time: the weights after them, and the loss before each."""
    rows = Rows(case.x, None)
    prepared = put_on_device(case.settings, rows, fit(case.settings.normalize, moments_of(case.x)))
    descent = Descent(prepared, [case.settings], [(case.start,)])
    while True:
        losses = descent.epochs(steps).batches[0, :, 0]
        yield from_params(descent.params(0)), losses


def _train_to_level(case: _Case, stop: threading.Event) -> float:
    """The first step whose loss is at most the level; inf if that takes twice as long as predicted, or if stopped."""
    done = 0
    for _, losses in _descend(case, CHUNK):
        reached = np.flatnonzero(losses <= case.level)
        if len(reached):
            return float(done + reached[0])
        done += len(losses)
        if stop.is_set() or done > 2 * case.predicted + CHUNK:
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


def _describe(point: ScanPoint) -> str:
    found = f"predicted {point.predicted:.4g} steps"
    if point.kind != "beyond float64":
        found += f", {point.kind} {point.measured:.4g} ({point.error:+.3%})"
    return f"{point.normalize}, std/mean {point.ratio:.3g}, learning rate {point.learning_rate:.3g}: {found}"
