"""Predicted beside trained: the progress line, the largest difference, and the verdict in words."""

import math

import numpy as np

from idjax.nn.learned import level
from idjax.report.formatting import level_words
from idjax.results.curve import Curve, Status
from idjax.types import Progress


def progress_line(progress: Progress, predicted: Curve) -> str:
    """An epoch as Keras users know it, with the predicted losses beside the measured ones."""
    index = progress.done - 1
    parts = [f"loss: {progress.train:.4g} (predicted {predicted.train[index]:.4g})"]
    if not math.isnan(progress.validation):
        parts.append(f"val_loss: {progress.validation:.4g} (predicted {predicted.validation[index]:.4g})")
    if not math.isnan(progress.accuracy):
        parts.append(f"accuracy: {progress.accuracy:.4f}")
    explained = progress.explained_variance
    parts.append(f"explained_variance: {explained:{'.4f' if abs(explained) < 1e4 else '.4g'}}")
    left = f", {progress.seconds_left:.0f} s left" if progress.done < progress.total else ""
    return (
        f"Epoch {progress.done}/{progress.total}  {progress.steps}/{progress.steps} "
        f"{progress.seconds:.2f} s{left}  {' - '.join(parts)}"
    )


def prediction_error(trained: Curve, predicted: Curve) -> float:
    """The largest relative difference of trained and predicted losses, over both losses and all epochs."""
    differences = [training_error(trained, predicted)]
    if not np.isnan(predicted.validation).all():
        differences.append(_relative(trained.validation, predicted.validation))
    return float(np.max(differences))


def training_error(trained: Curve, predicted: Curve) -> float:
    """The largest relative difference of trained and predicted training losses, over all epochs."""
    return _relative(trained.train, predicted.train)


def _relative(trained: np.ndarray, predicted: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.max(np.where(trained == predicted, 0.0, np.abs(trained / predicted - 1))))


def verdict(trained: Curve, predicted: Curve, learned_at: float) -> str:
    """The verdict on a run in words: learned or not, against the answer that knows only the mean."""
    explained = float(trained.explained_variance[-1])
    if trained.status is Status.DIVERGES:
        return "diverged: the loss is not a finite number any more"
    if math.isnan(explained):
        return "the targets do not vary: there is no variance to explain"
    if not trained.train.any():
        return "nothing to learn: the loss is exactly 0 from the start"
    reachable = trained.reachable
    share = f" of the {reachable:.3f} that a linear layer can explain" if 0 < reachable < 1 else ""
    right = "" if trained.accuracy is None else f", accuracy {trained.accuracy[-1]:.3f}"
    if explained >= level(learned_at, reachable):
        epochs = trained.epochs_to_learn
        found = f", explained variance {explained:.3f}{share}" if share else ""
        return f"learned within {'the first epoch' if epochs <= 1 else f'{epochs:.1f} epochs'}{found}{right}"
    if explained > 0.5:
        text = f"not learned yet: explained variance {explained:.3f}{share}{right}"
    else:
        always = "squared error is", "the mean"
        if trained.accuracy is not None:
            always = "cross-entropy is", "the base rates"
        text = f"not learned: its {always[0]} {_figure(1 - explained)} times that of always answering {always[1]}"
    if math.isfinite(predicted.epochs_to_learn):
        words = level_words(learned_at, reachable)
        text += f"; an {words} would take {_figure(predicted.epochs_to_learn)} epochs"
    return text


def _figure(value: float) -> str:
    """Four figures at most, with separators rather than powers of ten."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
