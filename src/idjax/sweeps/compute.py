"""A shard → its outcomes: every point predicted from the moments, all of them trained, and each pair judged."""

import functools

import numpy as np
from jaxtyping import Float

from idjax.data import Dataset, as_dataset, load, prescribed, training_rows
from idjax.moments.moments import MomentSet, measure
from idjax.prediction.dynamics import Sample
from idjax.prediction.predict import NoTheoryError, predict_from_moments
from idjax.settings import Settings
from idjax.sweeps.axes import Gaussian, Point
from idjax.sweeps.outcome import Agreement, SweepPoint
from idjax.sweeps.plan import Shard
from idjax.training.many import train_many
from idjax.types import Curve, Status

EXACT = {"float64": 1e-8, "float32": 1e-3}
"""The relative difference that passes where no batches are drawn: rounding alone is left."""


def outcomes_of(shard: Shard, tolerance: float) -> list[SweepPoint]:
    """What came of the points of a shard, in their order; the same numbers wherever and whenever it is called."""
    first = shard.points[0]
    dataset = dataset_of(first.data, first.settings)
    predict = _Predictor(dataset)
    predicted = [predict(point.settings) for point in shard.points]
    trained = train_many(dataset, [point.settings for point in shard.points])
    return [
        _judge(point, prediction, curve, tolerance)
        for point, prediction, curve in zip(shard.points, predicted, trained, strict=True)
    ]


def dataset_of(data: Gaussian | str, settings: Settings) -> Dataset:
    """The rows of a point."""
    if isinstance(data, str):
        return load(data, None, settings.data_dtype)
    shares = np.arange(data.inputs) / max(data.inputs - 1, 1)
    variances = data.deviation**2 * 10 ** (-data.decades * shares)
    mean = np.full(data.inputs, float(data.mean))
    return as_dataset(
        prescribed(mean, variances, data.rows, data.data_seed, exact=data.exact), None, settings.data_dtype
    )


class _Predictor:
    """Predictions for one data set, whose rows are measured once."""

    def __init__(self, dataset: Dataset):
        self._dataset = dataset

    def __call__(self, settings: Settings) -> Curve | str:
        """The predicted curve, or why there is none."""
        x, y = self._dataset.x, self._dataset.y
        rows = training_rows(len(x), settings.validation_split, settings.batch_size)
        moments = self._measured(rows, settings.normalize == "sample")
        sample = Sample(x[:rows], None if y is None else y[:rows])
        try:
            return predict_from_moments(*moments, settings, band=False, details=False, sample=sample)
        except NoTheoryError as error:
            return str(error)

    @functools.cache  # noqa: B019 a predictor lives as long as its shard
    def _measured(self, rows: int, samples: bool) -> tuple[MomentSet, MomentSet | None]:
        x, y = self._dataset.x, self._dataset.y
        train = measure(x[:rows], None if y is None else y[:rows], samples)
        if rows == len(x):
            return train, None
        return train, measure(x[rows:], None if y is None else y[rows:], samples)


def _judge(point: Point, predicted: Curve | str, trained: Curve, tolerance: float) -> SweepPoint:
    none = np.full(len(trained.epoch), np.nan)
    known = None if isinstance(predicted, str) else predicted
    settings = point.settings
    drawn = trained.steps_per_epoch > 1 or settings.dtype == "bfloat16"
    bound = tolerance if drawn else EXACT[settings.dtype]
    agreement, error = _agreement(known, trained, bound, settings.learned_at)
    return SweepPoint(
        index=point.index,
        at=point.at,
        agreement=agreement,
        error=error,
        bound=bound,
        epochs=settings.epochs,
        steps_per_epoch=trained.steps_per_epoch,
        predicted_epochs=known.epochs_to_learn if known else float("nan"),
        trained_epochs=trained.epochs_to_learn,
        predicted_train=known.train if known else none,
        trained_train=trained.train,
        predicted_validation=known.validation if known else none,
        trained_validation=trained.validation,
        predicted_explained=known.explained_variance if known else none,
        trained_explained=trained.explained_variance,
        how=predicted if isinstance(predicted, str) else predicted.how,
    )


def _agreement(predicted: Curve | None, trained: Curve, bound: float, learned_at: float) -> tuple[Agreement, float]:
    if predicted is None:
        return "no theory", float("nan")
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
