"""Figures of the published question, without global state or display: the same outcome gives the same bytes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from idjax.published.experiments import PublishedLoss
from idjax.published.outcomes import ExperimentOutcome, RunOutcome, ScanOutcome, ScanPoint
from idjax.report.drawing import BLUE, GREEN, GREY, RED, draw_losses, finite, frame_losses, plain, say, tidy
from idjax.report.formatting import LOSSES, NO_NUMBER, NORMALIZERS, number, units

SCAN_LINES: dict[str, dict[str, Any]] = {
    "none": {"color": "#E69F00", "lw": 6.0, "alpha": 0.55},
    "center": {"color": "#7f2704", "lw": 1.6, "ls": "--"},
    "feature": {"color": "#56B4E9", "lw": 6.0, "alpha": 0.55},
    "sample": {"color": "#08306b", "lw": 1.6, "ls": "--"},
}
"""Pairs that coincide: a broad pale line under a thin dark one."""
SCAN_STEPS = {"none": SCAN_LINES["center"]["color"], "sample": SCAN_LINES["sample"]["color"]}
"""Whose steps at the published data are written out, and in which colour."""
TRIED = 200 * 12_192
"""Steps of the 200 epochs that were tried on the published data."""


def samples_figure(run: RunOutcome) -> Figure:
    """A few validation rows: what went in, and what came out, on one scale."""
    samples = run.samples
    assert samples is not None
    count, features = samples.target.shape
    figure = Figure(figsize=(8, 1.8 * count + 0.9), layout="constrained")
    position = np.arange(1, features + 1)
    panels = figure.subplots(count, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for index, ax in enumerate(panels):
        ax.plot(position, samples.target[index], color=BLUE, lw=5, alpha=0.45, label="input = target")
        ax.plot(position, samples.output[index], color=RED, lw=1.4, label="output of the trained layer")
        ax.plot(position, samples.mean, color=GREY, lw=1, ls="--", label="mean of the data")
        ax.set_title(f"row {index + 1}", fontsize=10, loc="left")
        ax.ticklabel_format(axis="y", useOffset=False)
        if not np.isfinite(samples.output[index]).any():
            say(ax, "no finite output")
        tidy(ax)
    panels[-1].set_xlabel("feature")
    figure.supylabel("value (original units)", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def loss_figure(run: RunOutcome, published: Sequence[PublishedLoss] = ()) -> Figure:
    """Training and validation loss against epochs: predicted, trained and published."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    names = ("train", "validation") if np.isfinite(run.trained.validation).any() else ("train",)
    panels = list(figure.subplots(1, len(names), sharey=True, squeeze=False)[0])
    mean_answer = loss_of_mean(run)
    for ax, name in zip(panels, names, strict=True):
        drawn = draw_losses(ax, run.predicted, run.trained, name, BLUE)
        if drawn and published:
            losses = [getattr(line, name) for line in published]
            ax.plot([line.epoch for line in published], losses, "x", color=RED, ms=8, mew=2, label="published")
        if drawn and mean_answer is not None:
            ax.axhline(mean_answer, color=GREY, ls="--", lw=1.2, label="always answering the mean")
        ax.set_title({"train": "training loss", "validation": "validation loss"}[name], fontsize=11)
        ax.set_xlabel("epoch")
    frame_losses(panels, run.trained)
    panels[0].set_ylabel(f"{LOSSES[run.settings.loss]} ({units(run.settings)})")
    handles, labels = next((found for ax in panels if (found := ax.get_legend_handles_labels())[0]), ([], []))
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    return figure


def loss_of_mean(run: RunOutcome) -> float | None:
    """The validation loss of always answering the mean, where it is in the units of the run's own loss.

    It is in the curve already: the explained variance is 1 - loss / this.
    """
    settings, trained = run.settings, run.trained
    penalised = settings.activity_l1 or settings.activity_l2
    if settings.loss != "mse" or penalised or units(settings) != "original units":
        return None
    unexplained = 1 - trained.explained_variance
    known = np.isfinite(trained.validation) & np.isfinite(unexplained) & (unexplained > 0)
    if not known.any():
        return None
    index = int(np.argmax(np.where(known, unexplained, 0)))
    return float(trained.validation[index] / unexplained[index]) or None


def attempts_figure(outcome: ExperimentOutcome) -> Figure:
    """How far each attempt is from learning: its error relative to always answering the mean."""
    runs = outcome.runs[::-1]
    figure = Figure(figsize=(8, 0.34 * len(runs) + 1.3), layout="constrained")
    ax = figure.subplots()
    least, learned = 0.004, 1 - runs[0].settings.learned_at
    errors = [1 - float(run.trained.explained_variance[-1]) for run in runs]
    most = max([error for error in errors if math.isfinite(error)] + [10.0])
    for height, (run, error) in enumerate(zip(runs, errors, strict=True)):
        if not math.isfinite(error):
            ax.text(1.15, height, NO_NUMBER[run.trained.status], va="center", fontsize=9, color=RED)
            continue
        color = GREEN if error <= learned else BLUE
        at = max(error, least * 1.3)
        ax.hlines(height, min(1, at), max(1, at), color=color, lw=2, alpha=0.5)
        ax.plot(at, height, "o", color=color, ms=7)
        ax.annotate(number(error, 3), (max(at, 1), height), (8, 0), textcoords="offset points", va="center",
                    fontsize=9)  # fmt: skip
    ax.set(xscale="log", xlim=(least, most * 12), ylim=(-0.6, len(runs) + 0.3))
    ax.set_yticks(range(len(runs)), [plain(run.run.label) for run in runs])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    ax.minorticks_off()
    ax.axvspan(least, learned, color=GREEN, alpha=0.2, lw=0)
    ax.axvline(1, color=GREY, ls="--", lw=1.2)
    ax.text(least * 1.1, len(runs) - 0.35, "learned", color="#00664b", fontsize=9, va="bottom")
    ax.text(1.1, len(runs) - 0.35, "always answering the mean", color=GREY, fontsize=9, va="bottom")
    ax.set_xlabel("squared error over that of always answering the mean (left is better)")
    tidy(ax)
    ax.grid(visible=False, axis="y")
    return figure


def variance_figure(outcome: ScanOutcome) -> Figure:
    """Steps to learn against the deviation of the inputs: the figure that explains the failure."""
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    ax = figure.subplots()
    scan = outcome.scan
    ax.set(xscale="log", yscale="log", xlabel="standard deviation of the inputs, divided by their mean",
           ylabel="steps until learned (explained variance 0.99)")  # fmt: skip
    for normalize in scan.normalizers:
        points = sorted((p for p in outcome.points if p.normalize == normalize), key=lambda p: p.ratio)
        _draw_scan(ax, points, SCAN_LINES[normalize])
        for point in points:
            if point.ratio == scan.marked and normalize in SCAN_STEPS:
                ax.annotate(f"{number(point.predicted)} steps", (point.ratio, point.predicted), (10, 8),
                            textcoords="offset points", fontsize=10, color=SCAN_STEPS[normalize])  # fmt: skip
    ax.axvline(scan.marked, color=GREY, ls="--", lw=1.2)
    ax.annotate("the published data", (scan.marked, 0.02), (6, 0), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=9, color=GREY)  # fmt: skip
    ax.axhline(TRIED, color=GREY, ls="--", lw=1.2)
    ax.annotate(f"the 200 epochs that were tried:\n{TRIED / 1e6:.1f} million steps", (0.01, TRIED), (0, 4),
                xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=9, color=GREY)  # fmt: skip
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    handles = [Line2D([], [], **SCAN_LINES[n], label=f"{NORMALIZERS[n]}, predicted") for n in scan.normalizers]
    handles += [
        Line2D([], [], color="black", lw=2, ls=":", label="predicted, beyond float64"),
        Line2D([], [], ls="", marker="o", mfc="black", mec="black", label="trained to the end"),
        Line2D([], [], ls="", marker="o", mfc="white", mec="black", label="decay measured, extrapolated"),
    ]
    ax.legend(handles=handles, frameon=False, fontsize=9, loc="upper right", handlelength=3)
    tidy(ax)
    return figure


def _draw_scan(ax: Axes, points: list[ScanPoint], line: dict[str, Any]) -> None:
    """One normaliser: predicted line, dotted where float64 cannot follow; full points trained, hollow extrapolated."""
    seen = [point for point in points if point.kind != "beyond float64"]
    unseen = [point for point in points if point.kind == "beyond float64"]
    for some, style in ((seen, {}), (unseen + seen[:1], {"ls": ":"})):
        if len(some) > 1:
            predicted = finite(np.array([point.predicted for point in some]))
            ax.plot([point.ratio for point in some], predicted, **{**line, **style})
    broad = line["lw"] > 3
    for kind, face in (("trained", line["color"]), ("extrapolated", "white")):
        some = [point for point in points if point.kind == kind]
        measured = finite(np.array([point.measured for point in some]))
        ax.plot([point.ratio for point in some], measured, "o", ms=9 if broad else 4, mfc=face, mec=line["color"],
                mew=1.4, zorder=3 if broad else 4)  # fmt: skip
