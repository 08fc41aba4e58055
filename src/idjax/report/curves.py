"""A figure of one run: losses and explained variance, predicted and trained."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from idjax.report.drawing import BLUE, GREEN, GREY, RED, draw_losses, finite, frame_losses, marks, tidy, whole_epochs
from idjax.results.curve import Curve


def curve_figure(predicted: Curve, trained: Curve | None) -> Figure:
    """One run: its losses and its explained variance, predicted, and trained if it was."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    drawn = draw_losses(left, predicted, trained, "train", BLUE)
    curves = [predicted] if trained is None else [predicted, trained]
    validated = drawn and any(np.isfinite(curve.validation).any() for curve in curves)
    if validated:
        draw_losses(left, predicted, trained, "validation", GREEN)
    frame_losses([left], trained)
    left.set(xlabel="epoch", ylabel="loss")
    color = GREEN if validated else BLUE
    for curve, style in zip(curves, ({"lw": 1.6}, marks(trained)), strict=False):
        right.plot(curve.epoch, finite(curve.explained_variance), color=color, **style)
        if curve.accuracy is not None:
            right.plot(curve.epoch, finite(curve.accuracy), color=RED, **style)
    right.axhline(0, color=GREY, lw=1, ls="--")
    right.axhline(1, color=GREY, lw=1, ls=":")
    values = np.concatenate([np.zeros(1), *(finite(curve.explained_variance) for curve in curves)])
    if np.nanmin(values) < -20:
        right.set_yscale("symlog", linthresh=1)
        right.set_ylim(3 * np.nanmin(values), 3)
    whole_epochs(right)
    right.set(xlabel="epoch", ylabel="explained variance (1 is perfect)")
    tidy(right)
    handles: list[Artist] = [Line2D([], [], color=BLUE, lw=4, label="training rows")]
    handles += [Line2D([], [], color=GREEN, lw=4, label="validation rows")] if validated else []
    handles.append(Line2D([], [], color="black", lw=1.6, label="predicted"))
    if predicted.train_band is not None:
        handles.append(Patch(color="black", alpha=0.2, lw=0, label="95% of random starts"))
    if any(curve.accuracy is not None for curve in curves):
        handles.append(Line2D([], [], color=RED, lw=4, label="accuracy"))
    if trained is not None:
        handles.append(Line2D([], [], color="black", label="trained", **marks(None)))
    handles.append(Line2D([], [], color=GREY, lw=1, ls="--", label="no better than the mean"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure
