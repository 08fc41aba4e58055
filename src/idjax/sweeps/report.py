"""A sweep → its table and figures: what theory and training left unexplained, epochs to learn, errors in bounds."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from idjax.report.drawing import GREEN, GREY, RED, finite, marks, plain, say, tidy, to_png, whole_epochs
from idjax.report.formatting import explained, number
from idjax.sweeps.outcome import SweepOutcome, SweepPoint
from idjax.types import Value

MOST_PANELS = 12
COLUMNS = 3
LEAST, MOST = 1e-6, 1e9
"""Bounds between which 1 - EV is drawn: less is learned for good, more has diverged."""
TWINS = (
    Line2D([], [], color="black", lw=1.4, label="predicted"),
    Line2D([], [], color="black", label="trained", **marks(None)),
)
_PLURAL = {"agrees": "agree", "differs": "differ", "diverges as predicted": "diverge as predicted"}
COLORS = {"agrees": GREEN, "differs": RED, "outside the range": GREY}


def header(outcome: SweepOutcome) -> tuple[str, ...]:
    """The names of the columns of `rows`."""
    results = ("epochs to learn\npredicted", "\ntrained", "EV at the end\npredicted", "\ntrained", "error", "bound", "")
    return (*outcome.fields, *results)


def rows(outcome: SweepOutcome) -> list[tuple[str, ...]]:
    """One line a point: where it is, epochs to learn, explained variance, the error beside its bound, the verdict."""
    return [
        (
            *(value_words(value) for value in point.at.values()),
            number(point.predicted_epochs),
            number(point.trained_epochs) if math.isfinite(point.trained_epochs) else f"> {point.epochs}",
            explained(float(point.predicted_explained[-1]), point.predicted_status),
            explained(float(point.trained_explained[-1]), point.trained_status),
            number(point.error, 2),
            number(point.bound, 2),
            point.agreement,
        )
        for point in outcome.points
    ]


def summary(outcome: SweepOutcome) -> str:
    """The outcome of the sweep in a sentence."""
    counts = ", ".join(f"{n} {_PLURAL.get(kind, kind) if n > 1 else kind}" for kind, n in outcome.counts.items())
    errors = [point.error for point in outcome.points if point.agreement in ("agrees", "differs")]
    worst = max(errors, default=math.nan)
    closing = f"; the largest error is {number(worst, 2)}" if errors else ""
    return f"{outcome.name}: {len(outcome.points)} points: {counts}{closing}"


def value_words(value: Value) -> str:
    """A value of an axis in a few letters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def figures(outcome: SweepOutcome) -> dict[str, bytes]:
    """The figures as named PNG files; the same outcome gives the same bytes."""
    return {
        "curves.png": to_png(curves_figure(outcome)),
        "epochs.png": to_png(epochs_figure(outcome)),
        "errors.png": to_png(errors_figure(outcome)),
    }


def curves_figure(outcome: SweepOutcome) -> Figure:
    """1 - explained variance against epochs, a panel for every setting but one, a colour for every value of that."""
    layout = _layout(outcome)

    def draw(ax: Axes, points: Sequence[SweepPoint]) -> None:
        for point in points:
            if point.agreement == "diverges as predicted":
                continue
            color, epoch = layout.shade(point.at.get(layout.x)), np.arange(1, point.epochs + 1)
            style = {**marks(None), "ms": 3.5, "markevery": _thinned(point.epochs)}
            ax.plot(epoch, _shown(1 - point.predicted_explained), color=color, lw=1.4)
            ax.plot(epoch, _shown(1 - point.trained_explained), color=color, **style)
        ax.set_yscale("log")
        whole_epochs(ax)

    figure = _figure(layout, draw, "epoch", "1 - explained variance")
    handles = [Line2D([], [], color=layout.shade(value), lw=3, label=value_words(value)) for value in layout.xs]
    figure.legend(handles=[*handles, *TWINS], loc="outside right upper", frameon=False, fontsize=8, title=layout.x)
    return figure


def epochs_figure(outcome: SweepOutcome) -> Figure:
    """Epochs to learn, predicted and trained, against one setting; a panel for the rest."""
    layout = _layout(outcome)

    def draw(ax: Axes, points: Sequence[SweepPoint]) -> None:
        at = [layout.position(point) for point in points]
        predicted = finite(np.array([point.predicted_epochs for point in points]))
        trained = finite(np.array([point.trained_epochs for point in points]))
        ax.plot(at, predicted, color="black", lw=1.4)
        ax.plot(at, trained, color="black", **marks(None))
        if np.isnan(predicted).all() and np.isnan(trained).all():
            say(ax, "never learned")
            return
        ax.axhline(points[0].epochs, color=GREY, ls="--", lw=1)
        ax.set_yscale("log")
        layout.scale(ax)

    figure = _figure(layout, draw, layout.x, "epochs to learn")
    twins = [*TWINS, Line2D([], [], color=GREY, ls="--", lw=1, label="epochs trained")]
    figure.legend(handles=twins, loc="outside upper right", ncols=3, frameon=False, fontsize=8)
    return figure


def errors_figure(outcome: SweepOutcome) -> Figure:
    """The error of every point beside the bound that it is to keep."""
    layout = _layout(outcome)

    def draw(ax: Axes, points: Sequence[SweepPoint]) -> None:
        for point in points:
            if math.isfinite(point.error):
                ax.plot(layout.position(point), max(point.error, 1e-16), "o", color=COLORS[point.agreement], ms=5)
        ax.step([layout.position(point) for point in points], [point.bound for point in points], where="mid",
                color="black", lw=1, ls="--")  # fmt: skip
        ax.set_yscale("log")
        layout.scale(ax)

    figure = _figure(layout, draw, layout.x, "error of 1 - EV, relative")
    handles = [
        Line2D([], [], ls="", marker="o", color=color, label=label)
        for label, color in (("within its bound", GREEN), ("beyond its bound", RED), ("outside the range", GREY))
    ]
    handles.append(Line2D([], [], color="black", ls="--", lw=1, label="bound"))
    figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False, fontsize=8)
    return figure


class _Panels(NamedTuple):
    """The field on the horizontal axis, its values, and the points of each panel by the words of the other fields."""

    x: str
    xs: tuple[Any, ...]
    panels: dict[str, list[SweepPoint]]
    numeric: bool

    def position(self, point: SweepPoint) -> float:
        value: Any = point.at.get(self.x)
        return float(value) if self.numeric else float(self.xs.index(value))

    def shade(self, value: Value) -> Any:
        share = self.xs.index(value) / max(len(self.xs) - 1, 1)
        return matplotlib.colormaps["viridis"](0.9 * share)

    def scale(self, ax: Axes) -> None:
        """Ticks at the values where they are words, a logarithm where they span decades."""
        if not self.numeric:
            ax.set_xticks(range(len(self.xs)), [plain(value_words(value)) for value in self.xs])
        elif self.xs[0] > 0 and self.xs[-1] > 20 * self.xs[0]:
            ax.set_xscale("log")


def _layout(outcome: SweepOutcome) -> _Panels:
    count = len(outcome.points)
    values: dict[str, tuple[Any, ...]] = {
        field: tuple(dict.fromkeys(point.at[field] for point in outcome.points)) for field in outcome.fields
    }
    numeric = [field for field, found in values.items() if {*map(type, found)} <= {int, float}]
    x = max(numeric or values, key=lambda field: len(values[field]), default="")
    xs = tuple(sorted(values[x])) if x in numeric else values.get(x, (None,))
    # Fields that move with x, as those of a random search do, are no panels of their own.
    others = [field for field in values if field != x and not len(values[field]) == count > 1 == count // len(xs)]
    panels: dict[str, list[SweepPoint]] = {}
    for point in outcome.points:
        panels.setdefault(", ".join(f"{field} {value_words(point.at[field])}" for field in others), []).append(point)
    for points in panels.values():
        points.sort(key=lambda point: xs.index(point.at.get(x)))
    return _Panels(x, xs, panels, x in numeric)


def _figure(layout: _Panels, draw: Callable[[Axes, Sequence[SweepPoint]], None], across: str, upwards: str) -> Figure:
    """One panel for each group of points; of very many the first ones."""
    shown = list(layout.panels.items())[:MOST_PANELS]
    columns = min(COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(1.5 + 3.2 * columns, 0.9 + 2.5 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for ax, (title, points) in zip(grid.flat, shown, strict=False):
        draw(ax, points)
        ax.set_title(plain(title), fontsize=9, loc="left")
        tidy(ax)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    for ax in grid.flat[len(shown) :]:
        ax.remove()
    figure.supxlabel(plain(across), fontsize=10)
    more = len(layout.panels) - len(shown)
    figure.supylabel(
        upwards + (f"  (the first {len(shown)} of {len(layout.panels)} panels)" if more else ""), fontsize=10
    )
    return figure


def _thinned(epochs: int) -> list[int]:
    return sorted({*range(min(3, epochs)), *range(0, epochs, max(1, epochs // 10))})


def _shown(unexplained: np.ndarray) -> np.ndarray:
    """Values between rounding and what has left the panel for good."""
    with np.errstate(invalid="ignore"):
        return np.where((unexplained > LEAST) & (unexplained < MOST), unexplained, np.nan)
