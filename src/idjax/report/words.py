"""Numbers, settings and verdicts in words, the same in tables, captions, figures and pages."""

import math

from idjax.outcomes import RunOutcome, ScanPoint
from idjax.settings import Settings
from idjax.types import Curve

NORMALIZERS = {
    "none": "raw",
    "center": "centred",
    "feature": "per feature",
    "sample": "per sample",
    "pca": "PCA",
    "zca": "ZCA",
}
LOSSES = {
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "huber": "Huber loss",
    "log-cosh": "log-cosh loss",
}
OPTIMIZERS = {"sgd": "SGD", "rmsprop": "RMSprop"}


def number(value: float | None, digits: int = 4) -> str:
    """A few digits, or a word for what is not a finite number."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "never" if value > 0 else "–∞"
    if value == 0:
        return "0"
    if 0 < value < 1e-15:
        return "below 1e-15"
    if 1e6 <= abs(value) < 1e12:
        size, word = (1e9, "billion") if abs(value) >= 1e9 else (1e6, "million")
        return f"{value / size:.3g} {word}"
    if abs(value) >= 1e12:
        return f"{value:.3g}".replace("e+", "e")
    if abs(value) >= 1e3:
        return f"{value:,.0f}"
    if 0.9999 < value < 1:
        return "> 0.9999"
    return f"{value:.{digits}g}"


def decimals(value: float, places: int = 4) -> str:
    """A number with so many decimals, or a dash."""
    return f"{round(value, places) + 0.0:.{places}f}" if math.isfinite(value) else "–"


def explained(value: float) -> str:
    """An explained variance, with enough digits to tell 0.9999 from 1."""
    if not math.isfinite(value):
        return "diverged"
    return number(value) if abs(value) >= 10 or 0.9999 < value < 1 else f"{value:.4f}"


def final_loss(curve: Curve) -> float:
    """The validation loss at the end; the last training loss without a split."""
    validation = float(curve.validation[-1])
    return float(curve.train[-1]) if math.isnan(validation) else validation


def ending(curve: Curve | None) -> str:
    """A curve's end in a table cell: loss and explained variance."""
    if curve is None:
        return "no theory yet"
    explained_variance = float(curve.explained_variance[-1])
    if not math.isfinite(explained_variance):
        return "diverged"
    return f"loss {number(final_loss(curve))}, EV {explained(explained_variance)}"


def settings_parts(settings: Settings) -> list[str]:
    """What was done, piece by piece in words."""
    optimizer = OPTIMIZERS.get(settings.optimizer, settings.optimizer.capitalize())
    if settings.momentum:
        optimizer += f" with {'Nesterov ' if settings.nesterov else ''}momentum {settings.momentum:g}"
    starts = {"glorot": "random (Glorot) start", "identity": "started at the identity"}
    parts = [
        f"{optimizer} at learning rate {number(settings.step_size)}",
        "1 row an update" if settings.batch_size == 1 else f"batches of {settings.batch_size} rows",
        "1 epoch" if settings.epochs == 1 else f"{settings.epochs:,} epochs",
        starts.get(settings.start, f"started from {settings.start}"),
        LOSSES[settings.loss],
    ]
    if settings.beta_1 is not None:
        parts.insert(1, f"β₁ {settings.beta_1:g}")
    if settings.schedule != "constant":
        parts.insert(1, f"schedule {settings.schedule}")
    if settings.activation != "linear":
        parts.append(f"{settings.activation} output")
    for name, penalty in (("L1", settings.activity_l1), ("L2", settings.activity_l2)):
        if penalty:
            parts.append(f"{name} penalty {penalty:g} on the output")
    if settings.normalize != "none":
        parts.append(f"{NORMALIZERS[settings.normalize]} normalisation, loss in {units(settings)}")
    return parts


def units(settings: Settings) -> str:
    """The units of the loss."""
    original = settings.normalize == "none" or settings.loss_space == "original"
    return "original units" if original else "normalised units"


def how_measured(point: ScanPoint) -> str:
    """Where a point's measured value comes from."""
    return {
        "trained": "trained to the end",
        "extrapolated": "measured decay rate, extrapolated",
        "beyond float64": "prediction only: beyond float64",
    }[point.kind]


def verdict_mark(run: RunOutcome) -> str:
    """Whether all that was claimed holds."""
    return "as claimed" if run.holds else "NOT as claimed"


def sentence(text: str) -> str:
    """With a capital at the start and a full stop at the end."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
