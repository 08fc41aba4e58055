"""Predicted beside trained: the progress line, the agreement, the metrics of claims, and the verdict in words."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from idjax.results.outcomes import Checked
from idjax.settings import Claim, PublishedLoss
from idjax.types import Curve, Progress


class Pair(NamedTuple):
    """A trained run, its prediction if there is one, and what was published of it."""

    trained: Curve
    predicted: Curve | None
    published: tuple[PublishedLoss, ...] = ()
    long_run: Curve | None = None


def progress_line(progress: Progress, predicted: Curve | None) -> str:
    """An epoch as Keras users know it, with the predicted losses beside the measured ones."""
    index = progress.epoch - 1
    parts = [f"loss: {progress.train:.4g}"]
    if predicted is not None:
        parts[-1] += f" (predicted {predicted.train[index]:.4g})"
    if not math.isnan(progress.validation):
        parts.append(f"val_loss: {progress.validation:.4g}")
        if predicted is not None:
            parts[-1] += f" (predicted {predicted.validation[index]:.4g})"
    explained = progress.explained_variance
    parts.append(f"explained_variance: {explained:{'.4f' if abs(explained) < 1e4 else '.4g'}}")
    left = f", {progress.seconds_left:.0f} s left" if progress.epoch < progress.epochs else ""
    return (
        f"Epoch {progress.epoch}/{progress.epochs}  {progress.steps}/{progress.steps} "
        f"{progress.seconds:.2f} s{left}  {' - '.join(parts)}"
    )


def prediction_error(pair: Pair) -> float:
    """The largest relative difference of trained and predicted losses, over both losses and all epochs."""
    if pair.predicted is None:
        return math.nan
    differences = [training_error(pair.trained, pair.predicted)]
    if not np.isnan(pair.predicted.validation).all():
        differences.append(_relative(pair.trained.validation, pair.predicted.validation))
    return float(np.max(differences))


def training_error(trained: Curve, predicted: Curve) -> float:
    """The largest relative difference of trained and predicted training losses, over all epochs."""
    return _relative(trained.train, predicted.train)


def _relative(trained: np.ndarray, predicted: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.max(np.where(trained == predicted, 0.0, np.abs(trained / predicted - 1))))


def _outside_band(pair: Pair) -> float:
    """How many published losses, rounded to 4 decimals as they are, lie outside the predicted 95% band."""
    return float(sum(not low <= loss <= high for loss, low, _, high in _published_in_band(pair)))


def _band_widths(pair: Pair) -> list[float]:
    return [(high - low) / median for _, low, median, high in _published_in_band(pair, decimals=None)]


def _published_in_band(pair: Pair, decimals: int | None = 4) -> list[tuple[float, float, float, float]]:
    """(published, low, median, high) of each published loss, training and validation in turn."""
    found = []
    for line in pair.published:
        for loss, band in (
            (line.train, pair.predicted and pair.predicted.train_band),
            (line.validation, pair.predicted and pair.predicted.validation_band),
        ):
            if band is None:
                found.append((loss, math.nan, math.nan, math.nan))
                continue
            ends = [float(values[line.epoch - 1]) for values in (band.low, band.median, band.high)]
            found.append((loss, *(ends if decimals is None else [round(end, decimals) for end in ends])))
    return found


def _columns_off_diagonal(pair: Pair) -> float:
    kernel = pair.trained.weights.kernel
    return float(np.sum(kernel.argmax(axis=0) != np.arange(kernel.shape[1])))


METRICS: dict[str, tuple[str, Callable[[Pair], float]]] = {
    "largest_train_loss": ("largest training loss of any epoch", lambda pair: pair.trained.train.max()),
    "largest_validation_loss": (
        "largest validation loss of any epoch",
        lambda pair: pair.trained.validation.max(),
    ),
    "validation_loss": ("validation loss at the end", lambda pair: pair.trained.validation[-1]),
    "explained_variance": ("explained variance at the end", lambda pair: pair.trained.explained_variance[-1]),
    "shape_correlation": ("shape correlation at the end", lambda pair: pair.trained.shape_correlation),
    "prediction_error": ("largest relative difference of trained and predicted losses", prediction_error),
    "training_error": (
        "largest relative difference of trained and predicted training losses",
        lambda pair: math.nan if pair.predicted is None else training_error(pair.trained, pair.predicted),
    ),
    "long_run_loss": (
        "training loss predicted for the long run",
        lambda pair: math.nan if pair.long_run is None else pair.long_run.train[-1],
    ),
    "kernel_error": (
        "largest difference of the kernel from the identity",
        lambda pair: np.abs(pair.trained.weights.kernel - np.eye(len(pair.trained.weights.kernel))).max(),
    ),
    "columns_off_diagonal": (
        "kernel columns whose largest weight is off the diagonal",
        _columns_off_diagonal,
    ),
    "smallest_column_maximum": (
        "smallest of the kernel's column maxima",
        lambda pair: pair.trained.weights.kernel.max(axis=0).min(),
    ),
    "largest_column_maximum": (
        "largest of the kernel's column maxima",
        lambda pair: pair.trained.weights.kernel.max(axis=0).max(),
    ),
    "published_outside_band": ("published losses outside the predicted 95% band over starts", _outside_band),
    "first_band_width": (
        "width of the band over its median, first published training loss",
        lambda pair: _band_widths(pair)[0],
    ),
    "band_width": (
        "largest width of the band over its median, the other published losses",
        lambda pair: max(_band_widths(pair)[1:]),
    ),
}
"""What a claim may be about: the metric in words, and how it is found."""


def check_claim(claim: Claim, pair: Pair) -> Checked:
    """A claim with the value found."""
    words, measure = METRICS[claim.metric]
    return Checked(claim, float(measure(pair)), words)


def verdict(pair: Pair, level: float) -> str:
    """What the run came to, in words: learned or not, against the answer that knows only the mean."""
    explained = float(pair.trained.explained_variance[-1])
    if math.isnan(explained) and math.isfinite(pair.trained.train[-1]):
        return "the targets do not vary: there is no variance to explain"
    if not math.isfinite(explained):
        return "diverged: the loss is not a finite number any more"
    if not pair.trained.train.any():
        return "nothing to learn: the loss is exactly 0 from the start"
    if explained >= level:
        epochs = pair.trained.epochs_to_learn
        return f"learned within {'the first epoch' if epochs <= 1 else f'{epochs:.1f} epochs'}"
    if explained > 0.5:
        text = f"not learned yet: explained variance {explained:.3f}"
    else:
        text = f"not learned: its squared error is {_figure(1 - explained)} times that of always answering the mean"
    if pair.predicted is not None and math.isfinite(pair.predicted.epochs_to_learn):
        text += f"; an explained variance of {level:g} would take {_figure(pair.predicted.epochs_to_learn)} epochs"
    return text


def _figure(value: float) -> str:
    """Four figures at most, with separators rather than powers of ten."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
