"""A shard → its outcomes: every point predicted from the moments, all of them trained, and each pair judged."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from idjax.data import Dataset, as_dataset, load, prescribed
from idjax.prediction.measured import measured_rows
from idjax.prediction.predict import predict_run, run_spec
from idjax.results.curve import Curve, Status
from idjax.settings import Settings
from idjax.sweeps.axes import Data, Gaussian, Point, Table
from idjax.sweeps.outcome import Agreement, SweepPoint
from idjax.sweeps.plan import Shard
from idjax.training.many import train_many
from idjax.types import silent

EXACT = {"float64": 1e-8, "float32": 1e-3}
"""The relative difference that passes where no batches are drawn: rounding alone is left."""


def outcomes_of(shard: Shard, tolerance: float) -> list[SweepPoint]:
    """Results of the points of a shard, in their order; the same numbers wherever and whenever it is called."""
    settings = [point.settings for point in shard.points]
    dataset = dataset_of(shard.points[0].data, settings[0])
    predicted = _predict_all(dataset, settings)
    trained = train_many(dataset, settings)
    return [_judge(*each, tolerance) for each in zip(shard.points, predicted, trained, strict=True)]


def dataset_of(data: Data, settings: Settings) -> Dataset:
    """The rows of a point."""
    if not isinstance(data, Gaussian):
        table = Table(data) if isinstance(data, str) else data
        return load(table.source, table.target, settings.data_dtype, labels=table.labels)
    shares = np.arange(data.inputs) / max(data.inputs - 1, 1)
    variances = data.deviation**2 * 10 ** (-data.decades * shares)
    mean = np.full(data.inputs, float(data.mean))
    return as_dataset(
        prescribed(mean, variances, data.rows, data.data_seed, exact=data.exact), None, settings.data_dtype
    )


def _predict_all(dataset: Dataset, settings: Sequence[Settings]) -> list[Curve]:
    """The predicted curves of the runs of a shard, whose rows are measured once."""
    seen = measured_rows(dataset, None, settings[0], silent)
    rows = {"sample": seen.sample, "held_out": seen.held_out}
    return [predict_run(run_spec(seen.train, seen.validation, run, **rows)) for run in settings]


def _judge(point: Point, predicted: Curve, trained: Curve, tolerance: float) -> SweepPoint:
    settings = point.settings
    drawn = trained.steps_per_epoch > 1 or settings.half
    drawn = drawn or settings.classifies or predicted.status is Status.FOLLOWED
    bound = tolerance if drawn else EXACT[settings.dtype]
    agreement, error = _agreement(predicted, trained, bound, settings.learned_at)
    return SweepPoint(
        index=point.index,
        at=point.at,
        agreement=agreement,
        error=error,
        bound=bound,
        epochs=settings.epochs,
        steps_per_epoch=trained.steps_per_epoch,
        predicted_epochs=predicted.epochs_to_learn,
        trained_epochs=trained.epochs_to_learn,
        predicted_train=predicted.train,
        trained_train=trained.train,
        predicted_validation=predicted.validation,
        trained_validation=trained.validation,
        predicted_explained=predicted.explained_variance,
        trained_explained=trained.explained_variance,
        how=predicted.how,
        predicted_status=predicted.status,
        trained_status=trained.status,
    )


def _agreement(predicted: Curve, trained: Curve, bound: float, learned_at: float) -> tuple[Agreement, float]:
    if predicted.status is Status.DIVERGES:
        grown = not trained.train[-1] <= trained.train[0]
        return ("diverges as predicted" if grown else "differs"), float("nan")
    error = unexplained_error(predicted.explained_variance, trained.explained_variance, 1 - learned_at)
    if predicted.status is Status.OUTSIDE_RANGE:
        return "outside the range", error
    return ("agrees" if error <= bound else "differs"), error


def unexplained_error(predicted: Float[np.ndarray, " E"], trained: Float[np.ndarray, " E"], learned: float) -> float:
    """The largest difference of 1 - EV over the epochs, relative to the predicted one, or to `learned` below it.

    In these units it is the same for data of any scale; what is left of a loss once it counts as learned is not asked
    for more closely than that. NaN where one of them is.
    """
    if np.array_equal(predicted, trained, equal_nan=True):
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.max(np.abs(trained - predicted) / np.maximum(1 - predicted, learned)))
