"""A prediction as the lines that a terminal shows."""

import math
import textwrap
from collections.abc import Callable, Iterator

from idjax.data import Dataset, Stream
from idjax.report.formatting import explained, level_words, number
from idjax.results.curve import Curve, ModeGroup
from idjax.settings import Settings

WIDTH = 100
ROWS = 8
"""Epochs that are shown beside the first three, evenly spaced."""


def prediction_lines(rows: Dataset | Stream, settings: Settings, curve: Curve, quiet: bool) -> Iterator[str]:
    """A prediction in lines of text, one for each fact; unless quiet, losses of some epochs as a table."""
    count = len(rows.x) if isinstance(rows, Dataset) else rows.rows
    yield (
        f"data                {rows.source}: {count:,} rows of {len(rows.feature_names)} inputs and "
        f"{len(rows.target_names)} outputs"
    )
    yield f"condition number    {_condition_number(curve)}"
    yield f"learning rate       {_learning_rate(curve, settings)}"
    yield f"time to learn       {_time_to_learn(curve, settings)}"
    for group in curve.mode_groups:
        yield f"  {group.name:<18}{_time_of_group(curve, group)}"
    if stall := curve.stall:
        yield (
            f"stalls              at step {stall.steps:,.0f} with a loss of {stall.loss:.4g}: {stall.dtype} weights "
            "lose what is left of the updates"
        )
    why = (("why so", curve.no_theory),) if curve.no_theory else ()
    for head, text in (("how", curve.how), *why, *(("note", note) for note in curve.notes)):
        for index, line in enumerate(textwrap.wrap(text, WIDTH)):
            yield f"{'' if index else head:<20}{line}"
    if not quiet:
        yield ""
        yield from _table(curve)


def _table(curve: Curve) -> Iterator[str]:
    """Some epochs, one a line, under the names of the columns."""
    drift, band, accuracy = curve.kernel_drift, curve.train_band, curve.accuracy
    columns: list[tuple[str, int, Callable[[int], str]]] = [
        ("epoch", 8, lambda index: f"{curve.epoch[index]}"),
        ("loss", 13, lambda index: f"{curve.train[index]:.4g}"),
        ("val_loss", 13, lambda index: f"{curve.validation[index]:.4g}"),
        ("explained variance", 21, lambda index: explained(float(curve.explained_variance[index]), curve.status)),
    ]
    if band is not None:
        yield f"95% of losses over {band.over}:"
        columns.insert(2, ("95% band", 25, lambda index: f"{band.low[index]:.4g} to {band.high[index]:.4g}"))
    if accuracy is not None:
        columns.append(("accuracy", 11, lambda index: f"{accuracy[index]:.4f}"))
    if drift is not None:
        columns.append(("kernel drift", 15, lambda index: f"{drift[index]:.2g}"))
    yield "".join(f"{name:>{width}}" for name, width, _ in columns)
    last = len(curve.epoch) - 1
    for index in sorted({*range(min(3, last + 1)), *(round(last * k / ROWS) for k in range(ROWS + 1))}):
        yield "".join(f"{cell(index):>{width}}" for _, width, cell in columns)


def _condition_number(curve: Curve) -> str:
    known = curve.condition_number
    return "none, for nothing in the data moves the weights" if known is None or math.isnan(known) else f"{known:.4g}"


def _learning_rate(curve: Curve, settings: Settings) -> str:
    text = f"{settings.step_size:.4g}"
    if settings.schedule.changes:
        text += f", {settings.schedule}"
    if fastest := curve.fastest:
        inside = math.isfinite(fastest.steps)
        what = f"learns in {fastest.steps:,.0f} steps" if inside else "comes closest within these epochs"
        text += f" ({fastest.learning_rate:.3g} {what})"
    rates = curve.learning_rates
    if rates is None:
        return text
    if math.isinf(rates.max):
        return f"{text} (every one is stable)"
    text += f" (largest stable {rates.max:.4g}, best {rates.best:.4g}"
    if not settings.momentum and rates.momentum > 0:
        text += f"; with momentum {rates.momentum:.6g} and the full batch {rates.momentum_rate:.4g}"
    return f"{text}); batches of more than {rates.critical_batch:,.0f} hardly buy fewer steps"


def _time_of_group(curve: Curve, group: ModeGroup) -> str:
    modes = "1 mode" if group.modes == 1 else f"{group.modes} modes"
    text = f"{modes}, {group.share:.3g} of the loss at the start"
    if group.name == "null":
        return f"{modes}: nothing in the data moves them"
    if math.isinf(group.steps):
        return f"{text}: not learned"
    return f"{text}: {group.steps:,.0f} steps = {group.steps / curve.steps_per_epoch:,.4g} epochs"


def _time_to_learn(curve: Curve, settings: Settings) -> str:
    level = level_words(settings.learned_at, curve.reachable)
    if math.isnan(curve.steps_to_learn):
        return f"not known ({level})"
    if math.isinf(curve.steps_to_learn):
        known = number(curve.known_until / curve.steps_per_epoch)
        return f"never ({level})" if curve.never_learned else f"not within the {known} epochs predicted ({level})"
    return f"{curve.steps_to_learn:,.0f} steps = {curve.epochs_to_learn:,.4g} epochs ({level})"
