"""The words of the live page: facts, comparison with the settings as given, findings, and what the figures show."""

import functools
import math
from typing import Any

import numpy as np

from idjax.diagnosis.explore.view import Groups, StableRates, View
from idjax.report.comparison import training_error, verdict
from idjax.report.formatting import (
    NORMALIZERS,
    epochs_words,
    explained,
    level_words,
    number,
    percent,
    sentence,
    stopped,
    times_words,
    units,
)
from idjax.report.templates import templates
from idjax.results.curve import Band, Curve, ModeGroup
from idjax.results.diagnosis import Finding, Samples
from idjax.settings import Settings

SHOWN = {
    "learning_rate": "learning rate",
    "batch_size": "rows in a batch",
    "optimizer": "optimizer",
    "momentum": "momentum",
    "normalize": "normaliser",
    "loss_space": "units of the loss",
    "start": "start",
    "epochs": "epochs",
}
"""The settings under the hand, and what the page calls them."""
SKETCHED = "Drawn without the noise of the batches, which only adds to the loss and follows in a moment."
MEANINGS = {
    "mean": "the mean of the rows",
    "slow": "everything that varies",
    "bias": "the constant",
    "null": "what the data never move along",
}


def parts(name: str, **facts: object) -> str:
    """A piece of the page as HTML, in which everything from the data is escaped."""
    return str(getattr(_parts(), name)(**facts))


@functools.cache
def _parts() -> Any:
    """The pieces, compiled once: a page asks for a dozen at each change."""
    return templates().get_template("diagnosis/explore/parts.html.jinja").module


def pinned_html(given: View, chosen: View) -> str:
    """The settings as given beside those chosen, and what each leads to."""
    rows = [(label, *(_value(name, view.settings) for view in (given, chosen))) for name, label in SHOWN.items()]
    outcomes = [
        ("time to learn", time_to_learn),
        ("explained variance at the end", lambda view: explained(_last(view.curve), view.curve.status)),
        ("loss of the last epoch", lambda view: number(float(view.curve.train[-1]))),
        ("largest stable learning rate", lambda view: _stable(view.stable)),
    ]
    return parts("pinned", rows=rows, outcomes=[(label, show(given), show(chosen)) for label, show in outcomes])


def groups_html(given: View, chosen: View, groups: tuple[Groups, Groups]) -> str:
    """The groups of modes of both: how many, their share of the loss, and the time that each takes."""
    before, after = ({group.name: group for group in each} for each in groups)
    names = [name for name in MEANINGS if name in (before | after)]
    rows = [
        (
            name,
            MEANINGS[name],
            _modes(after.get(name)),
            _time(before.get(name), given.curve),
            _time(after.get(name), chosen.curve),
        )
        for name in names
    ]
    return parts("groups", rows=rows)


def findings_html(before: tuple[Finding, ...], now: tuple[Finding, ...]) -> str:
    """The findings; those that have come since, and in one line each those that are gone."""
    codes = [finding.code for finding in now]
    known = [finding.code for finding in before]
    gone = [finding for finding in before if finding.code not in codes]
    return parts("findings", findings=now, come=[code for code in codes if code not in known], gone=gone)


def headline(view: View) -> str:
    """One sentence on the curve, before findings are there."""
    words = time_to_learn(view)
    if math.isnan(view.curve.steps_to_learn):
        return sentence(view.curve.how)
    if view.sketched:
        return f"{SKETCHED} The mean of the weights takes {words}."
    learned = "Learned" if view.curve.epochs_to_learn <= view.settings.epochs else "Not learned"
    return f"{learned} within {epochs_words(float(view.settings.epochs))}; time to learn: {words}."


def time_to_learn(view: View) -> str:
    """The time to the level, or why there is none."""
    curve = view.curve
    if math.isnan(curve.steps_to_learn):
        return "not known"
    if math.isinf(curve.steps_to_learn) and not curve.never_learned:
        return f"not within {epochs_words(curve.known_until / curve.steps_per_epoch)}"
    return times_words(curve.epochs_to_learn)


def loss_words(view: View, band: Band | None) -> str:
    """Words for what the figure of the loss shows."""
    losses = view.curve.train
    if not np.isfinite(losses).any():
        return f"No loss to draw: {stopped(view.curve.how)}"
    last = np.flatnonzero(np.isfinite(losses))[-1]
    text = (
        f"Predicted loss: {number(float(losses[0]))} in epoch 1, {number(float(losses[last]))} in epoch {last + 1:,}."
    )
    if last + 1 < len(losses):
        text += " After that it is not a finite number."
    if view.sketched:
        text += f" {SKETCHED}"
    if band is not None:
        low, high = number(float(band.low[last])), number(float(band.high[last]))
        text += f" 95% of runs end between {low} and {high}, over {band.over}."
    return text


def explained_words(view: View) -> str:
    """Words for what the figure of the explained variance shows."""
    end = explained(_last(view.curve), view.curve.status)
    level = level_words(view.settings.learned_at, view.curve.reachable)
    text = f"Predicted explained variance at the end: {end}. What counts as learned: {level}."
    return f"{text} 0 is always answering the mean."


def spectrum_words(view: View) -> str:
    """Words for what the figure of the spectrum shows."""
    modes, settings, rates = view.modes, view.settings, view.stable
    moving = modes.curvature[modes.curvature > 0]
    if not len(moving):
        return "No direction of the data has any curvature."
    text = (
        f"{len(moving):,} directions, curvature {number(float(moving[0]), 3)} down to {number(float(moving[-1]), 3)}: "
    )
    text += f"condition number {number(float(moving[0] / moving[-1]))}."
    for name, mode in (("mean", modes.mean), ("bias", modes.bias)):
        if mode is not None:
            text += f" The {name}'s is {number(float(modes.curvature[mode]), 3)} (rank {mode + 1})."
    if rates is None:
        return f"{text} {settings.optimizer.capitalize()} has no fixed limit: it divides by the size of the gradients."
    side = "stable" if settings.step_size < rates.batches else "not stable"
    return (
        f"{text} Learning rate {number(settings.step_size)} is {side}: the largest stable one is "
        f"{number(rates.batches)} in these batches, {number(rates.full_batch)} on all rows at once."
    )


def samples_words(samples: Samples | None) -> str:
    """Words for what the figure of the answers shows: how far they follow what is asked of them."""
    if samples is None:
        return "The answers of the layer are not known for these settings."
    target, output = samples.target - samples.mean, samples.output - samples.mean
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1 - float(np.mean((output - target) ** 2)) / float(np.mean(target**2))
    spread = float(output.std() / target.std()) if target.std() > 0 else math.nan
    return (
        f"{len(target):,} rows: their explained variance is {explained(share)}; the answers vary "
        f"{number(spread, 2)} times as much as what is asked for. On the diagonal an answer is right."
    )


def trained_words(trained: Curve, predicted: Curve, settings: Settings) -> str:
    """The outcome of a training, beside its prediction."""
    text = sentence(verdict(trained, predicted, settings.learned_at))
    error = training_error(trained, predicted)
    return (
        f"{text} Trained against predicted loss: within {error:.2%} at every epoch." if math.isfinite(error) else text
    )


def _last(curve: Curve) -> float:
    return float(curve.explained_variance[-1])


def _stable(rates: StableRates | None) -> str:
    return "–" if rates is None else number(rates.batches)


def _value(name: str, settings: Settings) -> str:
    if name == "learning_rate":
        return number(settings.step_size)
    value = getattr(settings, name)
    if name == "normalize":
        return NORMALIZERS[value]
    if name == "loss_space":
        return units(settings).removesuffix(" units")
    return value if isinstance(value, str) else number(float(value))


def _modes(group: ModeGroup | None) -> str:
    return "–" if group is None else f"{group.modes:,} ({percent(group.share, 3)})"


def _time(group: ModeGroup | None, curve: Curve) -> str:
    return "–" if group is None else times_words(group.steps / curve.steps_per_epoch)
