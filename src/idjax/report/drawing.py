"""The pieces that figures are made of: a palette, loss curves on a logarithmic axis, marks, frames."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from idjax.results.curve import Curve

# Okabe and Ito's palette: told apart by every kind of colour vision.
BLUE, GREEN, RED, GREY = "#0072B2", "#009E73", "#D55E00", "#5f5f5f"
MOST_MARKS = 24


def draw_losses(ax: Axes, predicted: Curve, trained: Curve | None, name: str, color: str) -> bool:
    """Adds one loss of both curves on a logarithmic axis; says so and returns False where none is above 0."""
    tidy(ax)
    whole_epochs(ax)
    curves = [predicted] if trained is None else [predicted, trained]
    values = np.concatenate([finite(getattr(curve, name)) for curve in curves])
    if not np.nanmax(values, initial=0) > 0:
        say(ax, "exactly 0 at every epoch" if np.isfinite(values).any() else "no finite loss")
        ax.set_xlim(0, max(len(curve.epoch) for curve in curves) + 1)
        ax.tick_params(left=False, labelleft=False)
        return False
    ax.set_yscale("log")
    band = getattr(predicted, f"{name}_band")
    if band is not None:
        ax.fill_between(predicted.epoch, band.low, band.high, color=color, alpha=0.2, lw=0,
                        label="95% of random starts")  # fmt: skip
    ax.plot(predicted.epoch, finite(getattr(predicted, name)), color=color, lw=1.6, label="predicted",
            marker="_" if len(predicted.epoch) == 1 else None)  # fmt: skip
    if trained is not None:
        ax.plot(trained.epoch, finite(getattr(trained, name)), color=color, label="trained", **marks(trained))
    return True


def frame_losses(panels: Sequence[Axes], trained: Curve | None) -> None:
    """Keeps what was trained in sight: exact arithmetic goes on for decades where training's rounding stops."""
    panels = [ax for ax in panels if ax.get_yscale() == "log" and ax.has_data()]
    if trained is None or not panels:
        return
    losses = np.concatenate([trained.train, trained.validation])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    highest = max(ax.dataLim.ymax for ax in panels)
    if len(losses) and np.isfinite(highest):
        bottom = max(panels[0].get_ylim()[0], losses.min() / 30)
        panels[0].set_ylim(bottom, highest * 2)


def marks(curve: Curve | None) -> dict[str, Any]:
    """Circles for a trained curve, thinned evenly, the first epochs kept; without a curve, for a legend."""
    style: dict[str, Any] = {"ls": "", "marker": "o", "mfc": "white", "ms": 5, "mew": 1.3}
    if curve is None:
        return style
    last = len(curve.epoch) - 1
    keep = sorted({*range(min(4, last + 1)), *np.linspace(0, last, MOST_MARKS).round().astype(int).tolist()})
    return {**style, "markevery": keep}


def finite(values: np.ndarray) -> np.ndarray:
    """NaN, which leaves a gap in a line, for every value that is not finite."""
    return np.where(np.isfinite(values), values, np.nan)


def plain(text: str) -> str:
    """Text that matplotlib does not read as mathematics."""
    return text.replace("$", r"\$")


def say(ax: Axes, text: str) -> None:
    """Words in the middle of a panel that has nothing to draw."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=12)


def whole_epochs(ax: Axes) -> None:
    """Ticks at whole, round epochs."""
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))


def tidy(ax: Axes) -> None:
    """No box, a faint grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.2, lw=0.6)
    ax.set_axisbelow(True)


def to_png(figure: Figure) -> bytes:
    """The figure as PNG, without dates or versions, so that the bytes repeat."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
