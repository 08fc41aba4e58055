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
    FullBatchTrajectory,
    NoTheoryError,
    RunSpec,
    Sample,
    SampledTrajectory,
    Trajectory,
    bands_of,
    fastest_rate,
    floor_of,
    trajectory_for,
)
from idjax.prediction.problem import QuadraticProblem, learning_rates, mode_groups, quadratic_problem
from idjax.settings import Settings
from idjax.types import Curve, ModeGroup, OnProgress, Weights, end_to_end, silent

__all__ = ["NoTheoryError", "predict", "predict_from_moments", "steps_to_loss"]


def predict(
    data: Dataset | Float[np.ndarray, "N p"],
    settings: Settings | None = None,
    *,
    target: Float[np.ndarray, "N q"] | None = None,
    band: bool = True,
    progress: OnProgress = silent,
) -> Curve:
    """What training with these settings will do, from the moments of the data alone.

    Args:
      data: rows, as an array or a `Dataset`; target is what is learned, if it is not data itself.
      settings: of the run, as `train` takes them.
      band: whether to add what takes seconds: the 95% bands over starts and orders of the rows, and for adaptive
        optimizers the fastest learning rate.
      progress: hears of what takes long.

    Returns:
      The predicted curve; `how` says how it was made, and whether these settings are outside its range.

    Raises:
      IdjaxError: bad settings or data. NoTheoryError: settings that no theory here covers.

    Example:
      >>> x = 1 + np.random.default_rng(0).normal(size=(100, 3))
      >>> curve = predict(x, Settings(batch_size=70, learning_rate=0.1, epochs=9), band=False)
      >>> curve.train.shape, bool(curve.train[-1] < curve.train[0])
      ((9,), True)
    """
    begin = time.perf_counter()
    settings = settings or Settings()
    dataset = as_dataset(data, target, settings.data_dtype)
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
    problem: QuadraticProblem | None = None,
    beyond: bool = True,
    held_out: Sample | None = None,
    progress: OnProgress = silent,
) -> Curve:
    """The predicted curve from moments of the training and validation rows alone.

    details adds what the data allow, the curve apart: learning rates and the times of the groups of modes. sample and
    held_out are the training and validation rows themselves, which activations and settings.moments = "data" need;
    problem is what `quadratic_problem` makes of these moments and settings, if it is there already. Without beyond,
    the losses of the epochs are all that is predicted: steps_to_learn, which may lie far beyond them, is NaN.
    """
    begin = time.perf_counter()
    # In NumPy's float64 outside and JAX's inside: only NumPy arrays leave the context.
    # A loss that overflows is an answer too.
    with jax.enable_x64(True), np.errstate(over="ignore", invalid="ignore"):
        spec = _spec(train, settings, problem or quadratic_problem(train, validation, settings))._replace(
            sample=sample, beyond=beyond, held_out=held_out, progress=progress
        )
        trajectory = trajectory_for(spec)
        curve = _curve(spec, trajectory)
        if isinstance(trajectory, SampledTrajectory):
            curve = dataclasses.replace(
                curve, layers=trajectory.layers, notes=trajectory.notes, kernel_drift=trajectory.kernel_drift
            )
        # Learning rates are those of a linear recursion with constant numbers, and of Gaussian rows.
        linear = (
            settings.optimizer == "sgd" and not settings.schedule.changes and not (spec.empirical_rows or spec.layers)
        )
        if details:
            rates = None
            if linear:
                rates = learning_rates(spec.problem, settings.batch_size, settings.momentum, settings.nesterov)
            curve = dataclasses.replace(
                curve, learning_rates=rates, mode_groups=_mode_groups(spec, trajectory) if settings.linear else ()
            )
        if band and np.isfinite(curve.train).any():
            bands = bands_of(spec, trajectory)
            curve = dataclasses.replace(
                curve, train_band=bands.train, validation_band=bands.validation, notes=curve.notes + bands.notes
            )
            if settings.optimizer != "sgd" and settings.linear and details and beyond:
                curve = dataclasses.replace(curve, fastest=fastest_rate(spec))
    return dataclasses.replace(curve, seconds=time.perf_counter() - begin)


def epochs_to_learn(train: MomentSet, settings: Settings, problem: QuadraticProblem) -> float:
    """The epochs to learn of `predict_from_moments`, without the curve; problem is that of these moments."""
    with jax.enable_x64(True), np.errstate(over="ignore", invalid="ignore"):
        spec = _spec(train, settings, problem)
        return _steps_to_learn(spec, trajectory_for(spec)) / spec.steps


def times_of_groups(train: MomentSet, settings: Settings, problem: QuadraticProblem) -> tuple[ModeGroup, ...]:
    """The times of the groups of modes of `predict_from_moments`, without the curve."""
    with jax.enable_x64(True), np.errstate(over="ignore", invalid="ignore"):
        spec = _spec(train, settings, problem)
        return _mode_groups(spec, trajectory_for(spec)) if settings.linear else ()


def _spec(train: MomentSet, settings: Settings, problem: QuadraticProblem) -> RunSpec:
    layers = start_layers(settings.start, (train.raw.inputs, *settings.hidden, train.raw.outputs), settings.seed)
    several = layers if settings.hidden or not settings.linear else ()
    return RunSpec(problem, problem.enter(end_to_end(layers)), settings, train.raw.count, layers=several)


def _steps_to_learn(spec: RunSpec, trajectory: Trajectory) -> float:
    return trajectory.steps_to((1 - spec.settings.learned_at) * spec.problem.variance - spec.problem.lost)


def _curve(spec: RunSpec, trajectory: Trajectory) -> Curve:
    settings, problem = spec.settings, spec.problem
    epochs = np.arange(1, settings.epochs + 1)
    losses = trajectory.losses(epochs.astype(np.float64))
    weights = trajectory.weights(float(epochs[-1] * spec.steps))
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
        steps_per_epoch=spec.steps,
        steps_to_learn=_steps_to_learn(spec, trajectory) if spec.beyond else np.nan,
        weights=problem.leave(weights) if weights is not None else _unknown(spec.start),
        how=trajectory.how,
        status=trajectory.status,
        seconds=0.0,
        condition_number=problem.condition_number,
        stall=trajectory.stall,
    )


def _unknown(like: Weights) -> Weights:
    return Weights(*(np.full_like(part, np.nan, dtype=np.float64) for part in like))


def _mode_groups(spec: RunSpec, trajectory: Trajectory) -> tuple[ModeGroup, ...]:
    """The groups of modes, and the steps until each has lost all but 1 - learned_at of its loss at the start."""
    groups = mode_groups(spec.problem)
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


def steps_to_loss(problem: QuadraticProblem, start: Weights, settings: Settings, level: float) -> float:
    """The first step at which the training loss of the full batch is at most `level`; inf if never."""
    with jax.enable_x64(True):
        spec = RunSpec(problem, problem.enter(start), settings, problem.train.count)
        everything = np.ones((1, problem.spectrum.eigenvalues.size))
        return float(FullBatchTrajectory(spec).group_steps(everything, level / float(spec.power().sum()))[0])
