"""Figures of a diagnosis, each with what it shows in words; narrow, so that a phone shows them whole."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from idjax.report.drawing import BLUE, GREEN, GREY, MOST_MARKS, RED, finite, say, tidy
from idjax.report.formatting import epochs_words, explained, not_reached, number, sentence
from idjax.results.curve import Status
from idjax.results.diagnosis import Diagnosis, Samples

COLORS = (BLUE, GREEN, "#CC79A7", "#B8860B", "#56B4E9")
"""Of the prescriptions; the settings as given are red."""
FEW = 12
"""So few outputs are drawn as points."""
CLEAR = -3.0
"""Explained variances below this need an axis of their own."""


def spectrum_figure(diagnosis: Diagnosis) -> tuple[Figure, str]:
    """Eigenvalues against rank on a logarithmic scale, the mean's and the bias's marked; and that in words."""
    values = diagnosis.eigenvalues
    excited = np.isfinite(values) & (values > 0)
    null = int(np.count_nonzero(values == 0))
    figure, ax = _panel()
    rank = np.arange(1, len(values) + 1)
    ax.set(xlabel="rank", ylabel="mean square of the data (log)")
    if not excited.any():
        say(ax, "no direction has any size")
        return figure, "The spectrum: no direction of the data has any size."
    ax.set_yscale("log")
    ax.plot(rank[excited], values[excited], "o", color=BLUE, ms=5, alpha=0.8)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.set_xlim(0.5 - len(values) * 0.03, len(values) + 0.5 + len(values) * 0.03)
    low, high = values[excited].min(), values[excited].max()
    margin = max(high / low, 10.0) ** 0.12
    ax.set_ylim(low / margin, high * margin)
    marked = []
    for name, mode, color in (("mean", diagnosis.mean_mode, RED), ("bias", diagnosis.bias_mode, GREEN)):
        if mode is None or not excited[mode]:
            continue
        ax.plot(rank[mode], values[mode], "o", color=color, ms=9)
        side = 1 if mode < len(values) / 2 else -1
        shift = 7 if name == "mean" or diagnosis.mean_mode != mode else -9
        ax.annotate(f"{name}: {number(values[mode], 3)}", (rank[mode], values[mode]), (9 * side, shift),
                    textcoords="offset points", ha="left" if side > 0 else "right", va="center", color=color,
                    weight="bold")  # fmt: skip
        marked.append(f"the {name}'s is {number(values[mode], 3)} (rank {mode + 1})")
    told = [f"{_count(int(excited.sum()), 'direction')}, from {number(high, 3)} down to {number(low, 3)}: a ratio of "
            f"{number(high / low, 3)}."]  # fmt: skip
    if marked:
        told.append(sentence(", ".join(marked)))
    if null:
        told.append(f"{_count(null, 'null mode')}: the data never move along {'it' if null == 1 else 'them'}.")
        ax.text(0.98, 0.97, f"+ {_count(null, 'null mode')}", transform=ax.transAxes, ha="right", va="top", color=GREY)
    return figure, " ".join(told)


def budget_figure(diagnosis: Diagnosis) -> tuple[Figure, str]:
    """The predicted explained variance against the budget, and that in words. It needs a prediction."""
    before = diagnosis.before
    assert before is not None
    figure, ax = _panel()
    _draw_line(ax, before.epoch, before.explained_variance, color=RED)
    learned = _learned(before.epochs_to_learn)
    if learned is not None:
        ax.plot(learned, diagnosis.level, "D", color=RED, ms=8, zorder=5)
        _beside(ax, f"after {epochs_words(learned)}", learned, diagnosis.level, [diagnosis.budget, learned])
    ax.axvline(diagnosis.budget, color=GREY, ls="--", lw=1.3)
    _frame(ax, diagnosis, [before.explained_variance], [*before.epoch, diagnosis.budget, learned])
    right = learned is not None and learned > 3 * diagnosis.budget  # then there is room, for the curve has ended
    ax.annotate(f"budget: {number(diagnosis.budget)}", (diagnosis.budget, 0.2), (5 if right else -5, 0),
                xycoords=("data", "axes fraction"), textcoords="offset points", color=GREY,
                ha="left" if right else "right",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1})  # fmt: skip
    ends = float(before.explained_variance[-1]) if len(before.epoch) else math.nan
    known = np.isfinite(before.explained_variance)
    if not known.any():
        if before.status is Status.OUTSIDE_RANGE:
            say(ax, "no prediction: outside its range")
            return figure, "These settings are outside the range of their theory. There is no curve to draw."
        say(ax, "no finite prediction: it diverges")
        return figure, "Predicted: the loss leaves the range of numbers. There is no curve to draw."
    told = [f"Predicted explained variance {explained(ends, before.status)} at the end of "
            f"{epochs_words(diagnosis.budget)}; {number(diagnosis.level)} counts as learned."]  # fmt: skip
    if not known.all():
        last = before.epoch[known][-1]
        told = [f"The prediction is drawn up to epoch {number(float(last))}; after it the loss is not finite. "
                f"{number(diagnosis.level)} counts as learned."]  # fmt: skip
    told.append(
        not_reached(before) if math.isinf(before.epochs_to_learn)
        else f"That level is predicted after {epochs_words(before.epochs_to_learn)}." if learned else ""
    )  # fmt: skip
    return figure, " ".join(filter(None, told))


def samples_figure(samples: Samples) -> tuple[Figure, str]:
    """A few rows: what is to be answered and what the layer answers, original units; and that in words."""
    count, outputs = samples.target.shape
    alone = outputs == 1
    target, output = (samples.target.T, samples.output.T) if alone else (samples.target, samples.output)
    figure = Figure(figsize=(4.8, 2.9 if alone else 1.35 * count + 1), layout="constrained")
    panels = figure.subplots(len(target), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    position = np.arange(1, target.shape[1] + 1)
    points: dict[str, Any] = {"marker": "o", "ls": ""} if len(position) <= FEW else {}
    for index, ax in enumerate(panels):
        ax.plot(position, target[index], color=BLUE, lw=4.5, ms=9, alpha=0.5, label="target", **points)
        ax.plot(position, finite(output[index]), color=RED, lw=1.3, ms=5, label="the layer's answer", **points)
        if not alone:
            ax.plot(position, samples.mean, color=GREY, lw=1, ls="--", label="mean")
            ax.set_title(f"row {index + 1}", fontsize=9, loc="left", pad=2)
        else:
            ax.axhline(float(samples.mean[0]), color=GREY, lw=1, ls="--", label="mean")
        ax.ticklabel_format(axis="y", useOffset=False)
        ax.yaxis.set_major_locator(MaxNLocator(4))
        if not np.isfinite(output[index]).any():
            say(ax, "no finite answer")
        tidy(ax)
    panels[-1].xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    panels[-1].set_xlabel("row" if alone else "output")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=9
    )
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.sqrt(np.mean((samples.output - samples.target) ** 2)))
        spread = float(np.sqrt(np.mean((samples.target - samples.mean) ** 2)))
    if not math.isfinite(error):
        return figure, f"{_count(count, 'row')} as predicted at the end of the budget: the answers are not finite."
    return figure, (
        f"{_count(count, 'row')} at the end of the budget, as predicted. The answers are off by {number(error, 3)} "
        f"(root mean square); always answering the mean is off by {number(spread, 3)}."
    )


def proof_figure(diagnosis: Diagnosis) -> tuple[Figure, str]:
    """Before and after: explained variance over epochs, predicted and trained; and that in words."""
    figure, ax = _panel(4.0)
    curves, ends, told = [], [diagnosis.budget], []
    before = diagnosis.before
    if before is not None:
        _draw_line(ax, before.epoch, before.explained_variance, color=RED, label="as given, predicted")
        curves.append(before.explained_variance)
        ends += [*before.epoch]
    runs = [("as given", RED, math.nan, diagnosis.proof)]
    proven = [(rank, p) for rank, p in enumerate(diagnosis.prescriptions, 1) if p.proof is not None][: len(COLORS)]
    for (rank, p), color in zip(proven, COLORS, strict=False):
        runs.append((f"prescription {rank}", color, p.predicted_epochs, p.proof))
    for name, color, predicted, proof in runs:
        if proof is None:
            continue
        _draw_circles(ax, proof.curve_epochs, proof.curve_explained, color=color, label=f"{name}, trained")
        curves.append(proof.curve_explained)
        ends += [*proof.curve_epochs]
        outcome = f"learned in {epochs_words(proof.epochs)}" if math.isfinite(proof.epochs) else "not learned"
        told.append(f"{name}: {outcome}, explained variance {explained(proof.explained_variance)} at the end")
        if (learned := _learned(predicted)) is not None:
            ax.plot(learned, diagnosis.level, "D", color=color, ms=8, mec="white", zorder=5)
            ends.append(learned)
    if any(_learned(predicted) for _, _, predicted, _ in runs):
        ax.plot([], [], "D", color=GREY, ms=8, mec="white", label="learned, predicted")
    _frame(ax, diagnosis, curves, ends)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure, f"Trained, {'; '.join(told)}."


def has_proof(diagnosis: Diagnosis) -> bool:
    """Whether anything was trained."""
    return diagnosis.proof is not None or any(p.proof is not None for p in diagnosis.prescriptions)


def _panel(height: float = 3.3) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, height), layout="constrained")
    ax = figure.subplots()
    tidy(ax)
    return figure, ax


def _draw_line(ax: Axes, epochs: np.ndarray, values: np.ndarray, **style: Any) -> None:
    """A predicted curve; a single point is drawn as one."""
    alone = np.count_nonzero(np.isfinite(values)) == 1
    ax.plot(epochs, finite(values), lw=2, marker="_" if alone else None, ms=14, **style)


def _draw_circles(ax: Axes, epochs: np.ndarray, values: np.ndarray, **style: Any) -> None:
    """A trained curve: circles on a thin line, evenly thinned as the logarithmic axis shows them."""
    shown = (epochs > 0) & np.isfinite(values)
    epochs, values = epochs[shown], values[shown]
    if not len(epochs):
        return
    at = np.geomspace(epochs[0], epochs[-1], MOST_MARKS)
    every = sorted(set(np.clip(np.searchsorted(epochs, at), 0, len(epochs) - 1).tolist()))
    ax.plot(epochs, values, lw=0.8, marker="o", mfc="white", ms=4.5, mew=1.2, markevery=every, **style)


def _frame(ax: Axes, diagnosis: Diagnosis, curves: list[np.ndarray], epochs: list[Any]) -> None:
    """Epochs on a logarithmic axis with plain numbers, the level, and all that is finite in sight."""
    ends = [float(e) for e in epochs if e is not None and math.isfinite(e) and e > 0]
    ax.set(xscale="log", xlabel="epochs (log)", ylabel="explained variance")
    ax.set_xlim(min(ends) / 1.25, max(ends) * 1.4)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    ax.minorticks_off()
    values = np.concatenate([[0.0], *(finite(curve) for curve in curves)])
    least = float(np.nanmin(values))
    if least < CLEAR:
        ax.set_yscale("symlog", linthresh=1)
        ax.set_ylim(3 * least, 3)
        powers = range(0, math.ceil(math.log10(-least)) + 1, max(1, math.ceil(math.log10(-least)) // 3))
        ax.set_yticks([1, 0, *(-(10.0**power) for power in powers)])
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
        ax.minorticks_off()
    else:
        ax.set_ylim(min(least - 0.08, -0.08), 1.12)
    ax.axhline(0, color=GREY, lw=0.9, ls="--")
    ax.axhline(diagnosis.level, color=GREEN, lw=1.2, ls=":")
    ax.annotate(f"counts as learned: {number(diagnosis.level)}", (0.01, diagnosis.level), (0, 4), fontsize=9,
                xycoords=("axes fraction", "data"), textcoords="offset points", color="#00664b")  # fmt: skip


def _beside(ax: Axes, text: str, x: float, y: float, between: list[float]) -> None:
    """Words beside a mark, on the side that has room."""
    left = x > math.sqrt(max(min(between), 1e-9) * max(between))
    ax.annotate(text, (x, y), (-8 if left else 8, -11), textcoords="offset points", ha="right" if left else "left",
                va="center", color=RED, weight="bold")  # fmt: skip


def _tick(value: float) -> str:
    """A plain number, or a power of ten where that would be long."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return number(value)
    return f"{'-' if value < 0 else ''}$10^{{{round(math.log10(abs(value)))}}}$"


def _learned(epochs: float) -> float | None:
    return epochs if math.isfinite(epochs) and epochs > 0 else None


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
