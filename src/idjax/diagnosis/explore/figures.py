"""The figures of the live page, in Bokeh: made once, then told what to show."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# Bokeh's properties take lists, numbers and words that its types do not know.

import math
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, Range1d, Span  # pyright: ignore[reportMissingImports]
from bokeh.plotting import figure  # pyright: ignore[reportMissingImports]

from idjax.diagnosis.explore.view import View
from idjax.results.curve import Band, Curve
from idjax.results.diagnosis import Samples

BLUE, GREEN, RED, GREY = "#2b8fd6", "#00a077", "#dd6210", "#8a8f98"
"""Okabe and Ito's, as light as a dark page and as dark as a light one needs."""
MOST_POINTS = 400
LOWEST = -1.0
"""Explained variance below which nothing is drawn: it is far from learning."""
DECADES = 12
"""Powers of ten that a loss is followed down."""
NO_CURVE: dict[str, Any] = {"epoch": [], "loss": [], "explained": []}
"""The columns of a curve where there is none."""


class Figures:
    """The four figures and what they draw from.

    Example:
      >>> sorted(Figures().sources)
      ['answers', 'band', 'chosen', 'diagonal', 'given', 'marked', 'modes', 'trained']
    """

    def __init__(self) -> None:
        columns = {
            "given": NO_CURVE, "chosen": NO_CURVE, "trained": NO_CURVE, "band": {"epoch": [], "low": [], "high": []},
            "modes": {"rank": [], "curvature": []}, "marked": {"rank": [], "curvature": [], "color": [], "name": []},
            "answers": {"target": [], "output": []}, "diagonal": {"x": [], "y": []},
        }  # fmt: skip
        self.sources = {name: ColumnDataSource(data, name=name) for name, data in columns.items()}
        self.loss, self.explained = self._curves("loss", "log"), self._curves("explained", "linear")
        self.loss.varea("epoch", "low", "high", source=self.sources["band"], color=BLUE, alpha=0.25)
        self._level = Span(dimension="width", line_color=GREEN, line_dash="dotted", line_width=2)
        self._mean = Span(location=0, dimension="width", line_color=GREY, line_dash="dashed")
        self.explained.renderers.extend([self._level, self._mean])
        self.spectrum = _panel("rank of the direction", "curvature of the loss", "log")
        self._rank_ticks = self.spectrum.xaxis.ticker = FixedTicker()
        self.spectrum.scatter("rank", "curvature", source=self.sources["modes"], size=6, color=BLUE, alpha=0.8)
        self.spectrum.scatter("rank", "curvature", source=self.sources["marked"], size=11, color="color")
        self._limits = [
            Span(dimension="width", line_color=color, line_dash=dash, line_width=2)
            for color, dash in ((GREY, "dashed"), (RED, "solid"))
        ]
        self.spectrum.renderers.extend(self._limits)
        self.answers = _panel("what is asked for", "what the layer answers", "linear")
        self.answers.line("x", "y", source=self.sources["diagonal"], color=GREY, line_dash="dashed")
        self.answers.scatter("target", "output", source=self.sources["answers"], size=6, color=BLUE, alpha=0.6)

    def _curves(self, value: str, scale: str) -> Any:
        panel = _panel("epoch", {"loss": "loss", "explained": "explained variance"}[value], scale)
        panel.line("epoch", value, source=self.sources["given"], color=GREY, line_dash="dashed", line_width=2)
        panel.line("epoch", value, source=self.sources["chosen"], color=BLUE, line_width=3)
        panel.scatter(
            "epoch", value, source=self.sources["trained"], line_color=RED, fill_color=None, size=7, line_width=2
        )
        return panel

    def show(self, given: View, chosen: View, band: Band | None, trained: Curve | None) -> None:
        """Draws a view beside that of the settings as given."""
        self._show("given", _line(given.curve))
        self._show("chosen", _line(chosen.curve))
        self._show("trained", _line(trained, most=30) if trained is not None else NO_CURVE)
        self.show_band(chosen, band)
        self._level.location = chosen.level
        losses = [given.curve.train, chosen.curve.train, *([trained.train] if trained is not None else [])]
        _fit_log(self.loss.y_range, losses)
        shown = np.concatenate([_finite(chosen.curve.explained_variance), _finite(given.curve.explained_variance)])
        self.explained.y_range.update(start=max(LOWEST, min(0.0, shown.min(initial=0.0))) - 0.06, end=1.06)
        for panel in (self.loss, self.explained):
            panel.x_range.update(start=0.5, end=max(chosen.settings.epochs, 2) + 0.5)
        self._show_spectrum(chosen)
        self._show_answers(chosen.samples)

    def show_band(self, chosen: View, band: Band | None) -> None:
        """Draws the band around the predicted loss, or none."""
        epoch = chosen.curve.epoch
        at = _thinned(len(epoch), MOST_POINTS) if band is not None else np.zeros(0, int)
        parts = (epoch, epoch, epoch) if band is None else (epoch, _positive(band.low), _positive(band.high))
        self._show("band", dict(zip(("epoch", "low", "high"), (part[at] for part in parts), strict=True)))

    def _show(self, name: str, data: dict[str, Any]) -> None:
        """Tells a source what is new: what it has already would be sent and drawn again."""
        held = self.sources[name].data
        if not all(np.array_equal(held[column], np.asarray(values)) for column, values in data.items()):
            self.sources[name].data = data

    def _show_spectrum(self, view: View) -> None:
        curvature = view.modes.curvature
        at = np.flatnonzero(curvature > 0)
        self._show("modes", {"rank": at + 1, "curvature": curvature[at]})
        named = [(name, mode, color) for name, mode, color in
                 (("mean", view.modes.mean, RED), ("bias", view.modes.bias, GREEN)) if mode is not None]  # fmt: skip
        self._show("marked", {
            "rank": [mode + 1 for _, mode, _ in named], "curvature": [float(curvature[mode]) for _, mode, _ in named],
            "color": [color for *_, color in named], "name": [name for name, *_ in named],
        })  # fmt: skip
        limits = _limits_of(view)
        for span, limit in zip(self._limits, limits, strict=True):
            span.update(location=limit if math.isfinite(limit) else None, visible=math.isfinite(limit))
        finite = [limit for limit in limits if math.isfinite(limit) and limit > 0]
        _fit_log(self.spectrum.y_range, [curvature[at], np.array(finite)], decades=math.inf)
        self.spectrum.x_range.update(start=0.5 - 0.03 * len(curvature), end=0.5 + 1.03 * len(curvature))
        self._rank_ticks.ticks = _ranks(len(curvature))

    def _show_answers(self, samples: Samples | None) -> None:
        target, output = (np.zeros(0), np.zeros(0)) if samples is None else (samples.target, samples.output)
        self._show("answers", {"target": target.ravel(), "output": output.ravel()})
        low, high = (float(target.min()), float(target.max())) if target.size else (0.0, 1.0)
        margin = 0.08 * (high - low) or 0.5
        ends = [low - margin, high + margin]
        self._show("diagonal", {"x": ends, "y": ends})
        for span in (self.answers.x_range, self.answers.y_range):
            span.update(start=ends[0], end=ends[1])


def _limits_of(view: View) -> tuple[float, float]:
    """The largest curvature that this learning rate leaves stable: on all rows at once, and in these batches; inf
    without a limit.
    """
    rates, curvature = view.stable, view.modes.curvature
    if rates is None:
        return math.inf, math.inf
    top, step = float(curvature.max(initial=0.0)), view.settings.step_size
    return top * rates.full_batch / step, top * rates.batches / step


def _panel(x: str, y: str, scale: str) -> Any:
    panel = figure(
        height=260, sizing_mode="stretch_width", y_axis_type=scale, x_axis_label=x, y_axis_label=y,
        x_range=Range1d(0, 1), y_range=Range1d(0.1, 1), toolbar_location=None, tools="",
        outline_line_alpha=0, min_border_right=12,
    )  # fmt: skip
    panel.xgrid.visible = False
    panel.toolbar.logo = None
    return panel


def _line(curve: Curve, most: int = MOST_POINTS) -> dict[str, np.ndarray]:
    at = _thinned(len(curve.epoch), most)
    return {
        "epoch": curve.epoch[at],
        "loss": _positive(curve.train[at]),
        "explained": np.where(np.isfinite(curve.explained_variance[at]), curve.explained_variance[at], np.nan),
    }


def _thinned(count: int, most: int) -> np.ndarray:
    """Indices of at most so many of `count`, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _ranks(count: int) -> list[int]:
    """Round ranks to label, the first and a few more."""
    step = max(1, 10 * round(count / 50) if count > 50 else math.ceil(count / 5))
    return sorted({1, *range(step, count + 1, step)})


def _positive(values: np.ndarray) -> np.ndarray:
    """NaN, a gap, for what a logarithmic axis does not have."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _fit_log(axis: Any, values: list[np.ndarray], decades: float = DECADES) -> None:
    """A range that shows all that is positive and finite, down to so many powers of ten below the largest."""
    shown = np.concatenate([_finite(_positive(np.asarray(each, float))) for each in values])
    if not len(shown):
        axis.update(start=0.1, end=1.0)
        return
    high = float(shown.max())
    low = max(float(shown.min()), high * 10.0**-decades)
    margin = max(high / low, 10.0) ** 0.08
    axis.update(start=low / margin, end=high * margin)
