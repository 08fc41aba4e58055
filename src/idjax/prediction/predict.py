"""Data + Settings → Curve, before training: chooses the theory, and says how the curve was made."""

import dataclasses
import time

import jax
import numpy as np
from jaxtyping import Float

from idjax.data import Dataset, as_dataset, training_rows
from idjax.moments.moments import MomentSet, measure
from idjax.moments.normalize import fold
from idjax.nn import learned
from idjax.nn.model import start_layers
from idjax.prediction.dynamics import (
    Course,
    FullBatchPath,
    NoTheoryError,
    Path,
    Recorded,
    Sample,
    bands_of,
    fastest_rate,
    floor_of,
    path_for,
)
from idjax.prediction.problem import Problem, learning_rates, mode_groups, pose
from idjax.settings import Settings, check
from idjax.types import Curve, ModeGroup, Report, Weights, end_to_end, silent

__all__ = ["NoTheoryError", "predict", "predict_from_moments", "steps_to_loss"]


def predict(
    data: Dataset | Float[np.ndarray, "N p"],
    settings: Settings | None = None,
    *,
    y: Float[np.ndarray, "N q"] | None = None,
    band: bool = True,
    progress: Report = silent,
) -> Curve:
    """What training with these settings will do, from the moments of the data alone.

    Args:
      data: rows, as an array or a `Dataset`; y is the target if it is not x itself.
      settings: of the run, as `train` takes them.
      band: whether to add what takes seconds: the 95% bands over starts and orders of the rows, and for adaptive
        optimizers the fastest learning rate.
      progress: hears of what takes long: how much is done, of how much, and what it is.

    Returns:
      The predicted curve; `how` says how it was made, and whether these settings are outside its range.

    Raises:
      IdjaxError: bad settings or data. NoTheoryError: settings that no theory here covers.
    """
    begin = time.perf_counter()
    settings = check(settings or Settings())
    dataset = as_dataset(data, y, settings.data_dtype)
    x, y = dataset.x, dataset.y
    rows = training_rows(len(x), settings.validation_split, settings.batch_size)
    samples = settings.normalize == "sample"
    train = measure(x[:rows], None if y is None else y[:rows], samples)
    validation = measure(x[rows:], None if y is None else y[rows:], samples) if rows < len(x) else None
    sample = Sample(x[:rows], None if y is None else y[:rows])
    held_out = Sample(x[rows:], None if y is None else y[rows:]) if rows < len(x) else None
    curve = predict_from_moments(
        train, validation, settings, band=band, sample=sample, held_out=held_out, progress=progress
    )
    return dataclasses.replace(curve, seconds=time.perf_counter() - begin)


def predict_from_moments(
    train: MomentSet,
    validation: MomentSet | None,
    settings: Settings,
    *,
    band: bool = True,
    details: bool = True,
    sample: Sample | None = None,
    problem: Problem | None = None,
    beyond: bool = True,
    held_out: Sample | None = None,
    progress: Report = silent,
) -> Curve:
    """The predicted curve from moments of the training and validation rows alone.

    details adds what the data allow, the curve apart: learning rates and the times of the groups of modes. sample and
    held_out are the training and validation rows themselves, which activations and settings.moments = "data" need;
    problem is what `pose` makes of these moments and settings, if it is there already. Without beyond, the losses of
    the epochs are all that is predicted: steps_to_learn, which may lie far beyond them, is NaN.
    """
    begin = time.perf_counter()
    # In NumPy's float64 outside and JAX's inside: only NumPy arrays leave the context.
    # A loss that overflows is an answer too.
    with jax.enable_x64(True), np.errstate(over="ignore", invalid="ignore"):
        course = _course(train, settings, problem or pose(train, validation, settings))._replace(
            sample=sample, beyond=beyond, held_out=held_out, report=progress
        )
        path = path_for(course)
        curve = _curve(course, path)
        if isinstance(path, Recorded):
            curve = dataclasses.replace(curve, layers=path.layers, notes=path.notes, kernel_drift=path.kernel_drift)
        # Learning rates are those of a linear recursion with constant numbers, and of Gaussian rows.
        linear = (
            settings.optimizer == "sgd" and settings.schedule == "constant" and not (course.own_rows or course.layers)
        )
        if details:
            rates = None
            if linear:
                rates = learning_rates(course.problem, settings.batch_size, settings.momentum, settings.nesterov)
            curve = dataclasses.replace(
                curve, learning_rates=rates, mode_groups=_mode_groups(course, path) if settings.linear else ()
            )
        if band and np.isfinite(curve.train).any():
            bands = bands_of(course, path)
            curve = dataclasses.replace(
                curve, train_band=bands.train, validation_band=bands.validation, notes=curve.notes + bands.notes
            )
            if settings.optimizer != "sgd" and settings.linear and details and beyond:
                curve = dataclasses.replace(curve, fastest=fastest_rate(course))
    return dataclasses.replace(curve, seconds=time.perf_counter() - begin)


def epochs_to_learn(train: MomentSet, settings: Settings, problem: Problem) -> float:
    """The epochs to learn of `predict_from_moments`, without the curve; problem is what these moments pose."""
    with jax.enable_x64(True), np.errstate(over="ignore", invalid="ignore"):
        course = _course(train, settings, problem)
        return _steps_to_learn(course, path_for(course)) / course.steps


def times_of_groups(train: MomentSet, settings: Settings, problem: Problem) -> tuple[ModeGroup, ...]:
    """The times of the groups of modes of `predict_from_moments`, without the curve."""
    with jax.enable_x64(True), np.errstate(over="ignore", invalid="ignore"):
        course = _course(train, settings, problem)
        return _mode_groups(course, path_for(course)) if settings.linear else ()


def _course(train: MomentSet, settings: Settings, problem: Problem) -> Course:
    layers = start_layers(settings.start, (train.raw.inputs, *settings.widths, train.raw.outputs), settings.seed)
    several = layers if settings.widths or not settings.linear else ()
    return Course(problem, problem.enter(end_to_end(layers)), settings, train.raw.count, layers=several)


def _steps_to_learn(course: Course, path: Path) -> float:
    return path.steps_to((1 - course.settings.learned_at) * course.problem.variance - course.problem.lost)


def _curve(course: Course, path: Path) -> Curve:
    settings, problem = course.settings, course.problem
    epochs = np.arange(1, settings.epochs + 1)
    losses = path.losses(epochs.astype(np.float64))
    weights = path.weights(float(epochs[-1] * course.steps))
    correlation = float("nan")
    if weights is not None:
        seen_as = fold(problem.fold_with, weights) if problem.fold_with is not None else weights
        correlation = learned.shape_correlation(problem.shape_moments, *seen_as)
    return Curve(
        epoch=epochs,
        # No loss is negative, but rounding can leave one of 1e-23 below 0.
        train=np.maximum(losses.train + floor_of(problem), 0.0),
        validation=np.maximum(losses.validation + problem.penalty[1], 0.0),
        explained_variance=learned.explained_variance(losses.error + problem.lost, problem.variance),
        shape_correlation=correlation,
        steps_per_epoch=course.steps,
        steps_to_learn=_steps_to_learn(course, path) if course.beyond else np.nan,
        weights=problem.leave(weights) if weights is not None else _unknown(course.start),
        how=path.how,
        seconds=0.0,
        condition_number=problem.condition_number,
        stall=path.stall,
    )


def _unknown(like: Weights) -> Weights:
    return Weights(*(np.full_like(part, np.nan, dtype=np.float64) for part in like))


def _mode_groups(course: Course, path: Path) -> tuple[ModeGroup, ...]:
    """The groups of modes, and the steps until each has lost all but 1 - learned_at of its loss at the start."""
    groups = mode_groups(course.problem)
    start = course.power().sum(axis=0)
    masks = np.stack([mask for _, mask in groups])
    steps = path.group_steps(masks, 1 - course.settings.learned_at)
    return tuple(
        ModeGroup(
            name=name,
            modes=int(np.count_nonzero(mask)),
            share=float(mask @ start / start.sum()) if start.any() else 0.0,
            steps=float("inf") if name == "null" else float(steps[index]),
        )
        for index, (name, mask) in enumerate(groups)
    )


def steps_to_loss(problem: Problem, start: Weights, settings: Settings, level: float) -> float:
    """The first step at which the training loss of the full batch is at most `level`; inf if never."""
    with jax.enable_x64(True):
        course = Course(problem, problem.enter(start), settings, problem.train.count)
        everything = np.ones((1, problem.spectrum.eigenvalues.size))
        return float(FullBatchPath(course).group_steps(everything, level / float(course.power().sum()))[0])
