"""Data + Settings → Curve, before training: chooses the theory, and says how the curve was made."""

import dataclasses
import math
import os
import time
from typing import Any

import numpy as np
from jaxtyping import Shaped

from idjax.data import Dataset, notes_on, within
from idjax.moments.moments import MomentSet
from idjax.moments.normalize import fold
from idjax.moments.one_thread import one_thread_if_narrow
from idjax.nn import learned
from idjax.nn.logistic import SEPARABLE, base_loss, least_loss_of
from idjax.nn.starts import start_layers
from idjax.prediction.dynamics.bands import Bands, bands_of
from idjax.prediction.dynamics.fastest_rate import fastest_rate
from idjax.prediction.dynamics.full_batch import FullBatchTrajectory
from idjax.prediction.dynamics.minibatch import MinibatchTrajectory
from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec, floor_of
from idjax.prediction.dynamics.theories import trajectory_for
from idjax.prediction.dynamics.trajectory import Trajectory, UndefinedTrajectory
from idjax.prediction.learning_rates import learning_rates
from idjax.prediction.measured import measured_rows
from idjax.prediction.problem import QuadraticProblem, quadratic_problem
from idjax.results.curve import Curve, LearningRates, ModeGroup, Status
from idjax.settings import Settings
from idjax.types import OnProgress, Rows, Weights, end_to_end, silent


def predict(
    data: Dataset | Shaped[np.ndarray, "N p"] | str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    target: Any = None,
    labels: bool = False,
    band: bool = True,
    progress: OnProgress = silent,
) -> Curve:
    """The curve that training with these settings will give, predicted from the moments of the data.

    Args:
      data: rows, as an array, a `Dataset` or a file, of which few are held; target is what is learned, if not data.
      labels: take the target's numbers for class labels, as words always are.
      settings: of the run, as `train` takes them.
      band: whether to add what takes seconds: the 95% bands over starts and orders of the rows, and for adaptive
        optimizers the fastest learning rate.
      progress: hears of what takes long.

    Returns:
      The predicted curve; `how` says how it was made, and whether these settings are outside its range.

    Raises:
      IdjaxError: bad settings or data.

    Example:
      >>> x = 1 + np.random.default_rng(0).normal(size=(100, 3))
      >>> curve = predict(x, Settings(batch_size=70, learning_rate=0.1, epochs=9), band=False)
      >>> curve.train.shape, bool(curve.train[-1] < curve.train[0])
      ((9,), True)
    """
    begin = time.perf_counter()
    settings = settings or Settings()
    found = measured_rows(data, target, settings, progress, labels=labels)
    rows = found.train.raw.count
    notes, settings = notes_on(settings, rows, found.targets), within(settings, rows)
    spec = run_spec(found.train, found.validation, settings, sample=found.sample, held_out=found.held_out)
    spec = spec._replace(progress=progress)
    notes += (SEPARABLE,) if spec.problem.separable else ()
    curve = predict_run(spec, band=band, details=True, begin=begin)
    return dataclasses.replace(curve, notes=notes + curve.notes)


def run_spec(
    train: MomentSet,
    validation: MomentSet | None,
    settings: Settings,
    *,
    problem: QuadraticProblem | None = None,
    sample: Rows | None = None,
    held_out: Rows | None = None,
) -> RunSpec:
    """The run that these settings make of training and validation rows, known by their moments.

    problem is what `problem_of` makes of these moments and settings, if it is there already; sample and held_out
    are the rows themselves, which activations and settings.moments = "data" need.
    """
    problem = problem or problem_of(train, validation, settings, sample, held_out)
    layers = start_layers(settings.start, (train.raw.inputs, *settings.hidden, train.raw.outputs), settings.seed)
    several = layers if settings.hidden or not settings.linear else ()
    start = problem.enter(end_to_end(layers))
    return RunSpec(problem, start, settings, train.raw.count, sample, layers=several, held_out=held_out)


def problem_of(
    train: MomentSet,
    validation: MomentSet | None,
    settings: Settings,
    sample: Rows | None = None,
    held_out: Rows | None = None,
) -> QuadraticProblem:
    """The quadratic problem of these settings; of classes with what these leave to explain in place of variances, which
    is what training measures them by.
    """
    problem = quadratic_problem(train, validation, settings)
    if not settings.classifies:
        return problem
    least = least_loss_of(settings.normalize, sample, held_out) if sample and not settings.hidden else None
    return dataclasses.replace(
        problem,
        variance=base_loss((validation or train).raw.mean_y),
        lost=0.0,
        penalty=(0.0, 0.0),
        reachable=1.0 if least is None else least.explained,
        separable=least is not None and least.separable,
    )


def predict_from_moments(
    train: MomentSet, validation: MomentSet | None, settings: Settings, *, band: bool = True, details: bool = True
) -> Curve:
    """The predicted curve from moments of the training and validation rows alone; options as of `predict_run`."""
    return predict_run(run_spec(train, validation, settings), band=band, details=details)


@np.errstate(over="ignore", invalid="ignore")
def predict_run(
    spec: RunSpec,
    *,
    band: bool = False,
    details: bool = False,
    undefined: bool = False,
    begin: float | None = None,
) -> Curve:
    """The predicted curve of a run.

    Args:
      band: adds what takes seconds, as `predict` does.
      details: adds what the data allow, the curve apart: learning rates and the times of the groups of modes.
      undefined: whether a run without a theory has a curve of NaN, of status no_theory, whose `how` is the reason.
      begin: of the work, if it began before, by `time.perf_counter`.

    Raises:
      NoTheoryError: settings that no theory here covers, if the rows are not at hand, unless `undefined`.
    """
    begin = time.perf_counter() if begin is None else begin
    with one_thread_if_narrow(spec.problem.train.inputs):
        return _curve_of(spec, band, details, undefined, begin)


def _curve_of(spec: RunSpec, band: bool, details: bool, undefined: bool, begin: float) -> Curve:
    settings, problem = spec.settings, spec.problem
    try:
        trajectory = trajectory_for(spec._replace(banded=band))
    except NoTheoryError as error:
        if not undefined:
            raise
        trajectory = UndefinedTrajectory(str(error), Status.NO_THEORY)
    losses, weights = trajectory.losses(spec.epochs), trajectory.weights(float(settings.epochs * spec.steps))
    known = band and bool(np.isfinite(losses.train).any())
    bands = bands_of(spec, trajectory, losses) if known else Bands()
    # Learning rates are those of a linear recursion with constant numbers, and of Gaussian rows.
    constant = settings.optimizer == "sgd" and not settings.schedule.changes
    quadratic = not (settings.classifies or trajectory.followed)
    rated = details and constant and quadratic and not (spec.empirical_rows or spec.layers)
    grouped = details and settings.linear and quadratic
    adaptive = known and details and spec.beyond and settings.optimizer != "sgd" and settings.linear
    return Curve(
        epoch=np.arange(1, settings.epochs + 1),
        # No loss is negative, but rounding can leave one of 1e-23 below 0.
        train=np.maximum(losses.train + floor_of(problem), 0.0),
        validation=np.maximum(losses.validation + problem.penalty[1], 0.0),
        explained_variance=learned.explained_variance(np.maximum(losses.error + problem.lost, 0.0), problem.variance),
        shape_correlation=_shape_correlation(problem, weights, settings.classifies),
        steps_per_epoch=spec.steps,
        steps_to_learn=trajectory.steps_to(spec.left) if spec.beyond else np.nan,
        known_until=trajectory.known_until,
        weights=_unknown(spec.start) if weights is None else problem.leave(weights),
        reachable=spec.reachable,
        how=trajectory.how,
        status=trajectory.status,
        condition_number=problem.condition_number,
        learning_rates=_learning_rates(spec) if rated else None,
        train_band=bands.train,
        validation_band=bands.validation,
        mode_groups=_mode_groups(spec, trajectory) if grouped and trajectory.status is not Status.NO_THEORY else (),
        stall=trajectory.stall,
        fastest=fastest_rate(spec) if adaptive else None,
        layers=trajectory.layers,
        notes=trajectory.notes + bands.notes,
        kernel_drift=trajectory.kernel_drift,
        no_theory=trajectory.no_theory,
        accuracy=trajectory.accuracy,
        seconds=time.perf_counter() - begin,
    )


@np.errstate(over="ignore", invalid="ignore")
def epochs_to_learn(spec: RunSpec) -> float:
    """The epochs to learn of `predict_run`, without the curve."""
    return trajectory_for(spec).steps_to(spec.left) / spec.steps


@np.errstate(over="ignore", invalid="ignore")
def learns_within(spec: RunSpec, epochs: float) -> bool:
    """Whether `epochs_to_learn` is at most so many: told by the loss at their end alone, if nothing is rounded away."""
    settings = dataclasses.replace(spec.settings, epochs=math.ceil(epochs))
    trajectory = trajectory_for(spec._replace(settings=settings, sample=None, beyond=False))
    if isinstance(trajectory, MinibatchTrajectory):
        return bool(trajectory.at(np.array([epochs * spec.steps])).error[0] <= spec.left)
    return epochs_to_learn(spec._replace(sample=None)) <= epochs


@np.errstate(over="ignore", invalid="ignore")
def mean_learns_within(spec: RunSpec, epochs: float) -> bool:
    """Whether the mean of the weights does, by sgd at a constant rate: the noise of batches only adds to its time.

    E|e|² ≥ |E e|², and the loss is a sum of such squares.
    """
    return bool(FullBatchTrajectory(spec).losses(np.array([epochs * spec.steps])).error[0] <= spec.left)


@np.errstate(over="ignore", invalid="ignore")
def times_of_groups(spec: RunSpec) -> tuple[ModeGroup, ...]:
    """The times of the groups of modes of `predict_run`, without the curve."""
    return _mode_groups(spec, trajectory_for(spec)) if spec.settings.linear else ()


@np.errstate(over="ignore", invalid="ignore")
def steps_to_loss(problem: QuadraticProblem, start: Weights, settings: Settings, level: float) -> float:
    """The first step at which the training loss of the full batch is at most `level`; inf if never."""
    spec = RunSpec(problem, problem.enter(start), settings, problem.train.count)
    everything = np.ones((1, problem.spectrum.eigenvalues.size))
    return float(FullBatchTrajectory(spec).group_steps(everything, level / float(spec.power().sum()))[0])


def _learning_rates(spec: RunSpec) -> LearningRates:
    settings = spec.settings
    return learning_rates(spec.problem, settings.batch_size, settings.momentum, settings.nesterov)


def _shape_correlation(problem: QuadraticProblem, weights: Weights | None, classifies: bool) -> float:
    if weights is None or classifies:
        return float("nan")
    seen_as = fold(problem.fold_with, weights) if problem.fold_with is not None else weights
    return learned.shape_correlation(problem.shape_moments, *seen_as)


def _unknown(like: Weights) -> Weights:
    return Weights(*(np.full_like(part, np.nan, dtype=np.float64) for part in like))


def _mode_groups(spec: RunSpec, trajectory: Trajectory) -> tuple[ModeGroup, ...]:
    """The groups of modes, and the steps until each has lost all but 1 - learned_at of its loss at the start."""
    groups = spec.problem.mode_groups
    start = spec.power().sum(axis=0)
    masks = np.stack([mask for _, mask in groups])
    steps = trajectory.group_steps(masks, 1 - spec.settings.learned_at)
    return tuple(
        ModeGroup(
            name=name,
            modes=int(np.count_nonzero(mask)),
            share=float(mask @ start / start.sum()) if start.any() else 0.0,
            steps=float("inf") if name == "null" else float(steps[index]),
        )
        for index, (name, mask) in enumerate(groups)
    )
