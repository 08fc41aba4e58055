"""Metrics of trained runs by name, and claims held against them."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from idjax.published.experiments import Claim, PublishedLoss
from idjax.published.outcomes import Checked
from idjax.report.comparison import prediction_error, training_error
from idjax.results.curve import Curve


class Evidence(NamedTuple):
    """A trained run, its prediction, what was published of it, and a prediction for longer."""

    trained: Curve
    predicted: Curve
    published: tuple[PublishedLoss, ...] = ()
    long_run: Curve | None = None


def published_lines(seen: Evidence) -> list[dict[str, Any]]:
    """Published losses beside the predicted ones with their band and the trained ones; NaN where a run was shorter."""

    def at(values: Any, epoch: int) -> float:
        return float(values[epoch - 1]) if values is not None and epoch <= len(values) else math.nan

    lines = []
    for line in seen.published:
        for name, field in (("training", "train"), ("validation", "validation")):
            band = getattr(seen.predicted, f"{field}_band")
            lines.append(
                {
                    "epoch": line.epoch,
                    "name": name,
                    "published": getattr(line, field),
                    "predicted": at(getattr(seen.predicted, field), line.epoch),
                    **{end: at(band and getattr(band, end), line.epoch) for end in ("low", "median", "high")},
                    "trained": at(getattr(seen.trained, field), line.epoch),
                }
            )
    return lines


def _outside_band(seen: Evidence) -> float:
    """How many published losses, rounded to 4 decimals as they are, lie outside the predicted 95% band."""
    lines = published_lines(seen)
    return float(sum(not round(line["low"], 4) <= line["published"] <= round(line["high"], 4) for line in lines))


def _band_widths(seen: Evidence) -> list[float]:
    return [(line["high"] - line["low"]) / line["median"] for line in published_lines(seen)]


def _columns_off_diagonal(seen: Evidence) -> float:
    kernel = seen.trained.weights.kernel
    return float(np.sum(kernel.argmax(axis=0) != np.arange(kernel.shape[1])))


METRICS: dict[str, tuple[str, Callable[[Evidence], float]]] = {
    "largest_train_loss": ("largest training loss of any epoch", lambda seen: seen.trained.train.max()),
    "largest_validation_loss": (
        "largest validation loss of any epoch",
        lambda seen: seen.trained.validation.max(),
    ),
    "validation_loss": ("validation loss at the end", lambda seen: seen.trained.validation[-1]),
    "explained_variance": ("explained variance at the end", lambda seen: seen.trained.explained_variance[-1]),
    "shape_correlation": ("shape correlation at the end", lambda seen: seen.trained.shape_correlation),
    "prediction_error": (
        "largest relative difference of trained and predicted losses",
        lambda seen: prediction_error(seen.trained, seen.predicted),
    ),
    "training_error": (
        "largest relative difference of trained and predicted training losses",
        lambda seen: training_error(seen.trained, seen.predicted),
    ),
    "long_run_loss": (
        "training loss predicted for the long run",
        lambda seen: math.nan if seen.long_run is None else seen.long_run.train[-1],
    ),
    "kernel_error": (
        "largest difference of the kernel from the identity",
        lambda seen: np.abs(seen.trained.weights.kernel - np.eye(len(seen.trained.weights.kernel))).max(),
    ),
    "columns_off_diagonal": (
        "kernel columns whose largest weight is off the diagonal",
        _columns_off_diagonal,
    ),
    "smallest_column_maximum": (
        "smallest of the kernel's column maxima",
        lambda seen: seen.trained.weights.kernel.max(axis=0).min(),
    ),
    "largest_column_maximum": (
        "largest of the kernel's column maxima",
        lambda seen: seen.trained.weights.kernel.max(axis=0).max(),
    ),
    "published_outside_band": ("published losses outside the predicted 95% band over starts", _outside_band),
    "first_band_width": (
        "width of the band over its median, first published training loss",
        lambda seen: _band_widths(seen)[0],
    ),
    "band_width": (
        "largest width of the band over its median, the other published losses",
        lambda seen: max(_band_widths(seen)[1:]),
    ),
}
"""What a claim may be about: the metric in words, and how it is found."""


def check_claim(claim: Claim, seen: Evidence) -> Checked:
    """A claim with the value found."""
    words, measure = METRICS[claim.metric]
    return Checked(claim, float(measure(seen)), words)
