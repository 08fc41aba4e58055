"""Recommended settings: every sensible combination, ranked by predicted epochs.

By the expected loss of Gaussian rows first; then runs of the best are drawn on rows of the data, tails and all.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from idjax.diagnosis.data.context import Context, two_digits
from idjax.diagnosis.data.drawn_runs import affordable_runs, mean_steps, products_of
from idjax.diagnosis.data.recipes import flax_code, keras_code
from idjax.prediction import budget
from idjax.results.diagnosis import Prescription
from idjax.settings import Schedule, Settings
from idjax.theory.adam import forecast
from idjax.types import OnProgress, Progress, silent

BATCHES = (8, 32, 256, 2048)
"""Batch sizes that are tried beside the one given."""
MOST_OUTPUT_GROUPS = 64
"""Outputs that may learn at rates of their own before a loss in original units is left out: each is a problem."""
MOST_COUPLED = 512
"""Modes that the mean of the inputs may couple, in pairs, before momentum is left out: its pairs have no short sums."""
MOMENTUM = 0.9
KEPT = 12
"""Prescriptions that are listed."""
BEST = 3
"""Prescriptions of which runs are drawn, and that are proven where a proof is asked for."""
SAME = 1.05
"""Within this factor of the fastest the simpler of two prescriptions comes first."""


class _Candidate(NamedTuple):
    settings: Settings
    epochs: float
    steps: float
    runs: int = 0
    """Drawn, that epochs and steps are the mean of; 0 if they are those of the expected loss."""


def recommend(context: Context, progress: OnProgress = silent) -> tuple[Prescription, ...]:
    """The prescriptions that reach the level within the budget, or the fastest if none does, best first."""
    tried = [
        found
        for settings in _candidates(context, progress)
        if (found := _Candidate(settings, *_epochs_and_steps(context, settings))) and math.isfinite(found.epochs)
    ]
    ranked = _followed(tried, context, progress)
    if not context.learned:
        ranked = [candidate for candidate in ranked if candidate.epochs < context.takes or math.isnan(context.takes)]
    raw = context.moments.raw
    shape = raw.inputs, raw.outputs, context.autoencoder
    return tuple(
        Prescription(
            settings=candidate.settings,
            predicted_epochs=candidate.epochs,
            predicted_steps=candidate.steps,
            runs=candidate.runs,
            flax_code=flax_code(candidate.settings, *shape),
            keras_code=keras_code(candidate.settings, *shape),
        )
        for candidate in ranked[:KEPT]
    )


def _epochs_and_steps(context: Context, settings: Settings) -> tuple[float, float]:
    epochs = context.epochs_of(settings)
    return epochs, epochs * -(-context.rows // settings.batch_size)


def _candidates(context: Context, progress: OnProgress) -> Iterator[Settings]:
    """Plain SGD with every normaliser, unit and batch; with momentum at the given batch; Adam where it is quick."""
    given = context.settings
    linear = {"activation": "linear", "loss": "mse", "activity_l1": 0.0, "activity_l2": 0.0, "schedule": Schedule()}
    # Weights in bfloat16 would stall: the recipes have float32 ones.
    full = {"dtype": "float32", "rounding": "nearest"} if given.dtype == "bfloat16" else {}
    base = dataclasses.replace(given, **linear, **full, solver="auto")
    batches = sorted({min(batch, context.rows) for batch in (*BATCHES, given.batch_size)})
    places = _places(context)
    for index, (normalize, space) in enumerate(places):
        progress(Progress(index, len(places), "prescriptions: normalisers and units"))
        for batch in batches:
            changes = {"normalize": normalize, "loss_space": space, "batch_size": batch}
            yield dataclasses.replace(base, **context.tuned(**changes))
        if space == "normalized" and normalize in (given.normalize, "feature") and not _coupled(context, normalize):
            changes = {"normalize": normalize, "loss_space": space, "momentum": MOMENTUM}
            yield dataclasses.replace(base, **context.tuned(**changes))
    if given.optimizer == "adam":
        # What the user has, on better inputs.
        for normalize, space in places:
            for rate in (given.step_size, two_digits(10 * given.step_size)):
                settings = dataclasses.replace(base, normalize=normalize, loss_space=space, learning_rate=rate)
                steps = context.budget * context.steps_per_epoch
                raw = context.moments.raw
                if steps * forecast.products_a_step(raw.inputs + 1, raw.outputs) <= budget.ADAM_TRIED:
                    yield dataclasses.replace(settings, epochs=max(1, math.ceil(context.budget)))


def _coupled(context: Context, normalize: str) -> bool:
    """Whether the mean of the inputs couples so many pairs of modes that momentum is too dear to be tried."""
    mean = context.problem_of(dataclasses.replace(context.settings, normalize=normalize)).mean
    return int(np.count_nonzero(mean)) > MOST_COUPLED


def left_out(context: Context, prescriptions: tuple[Prescription, ...]) -> str:
    """A sentence on what was not looked at because the data are wide; empty if nothing was left out."""
    raw, parts = context.moments.raw, []
    if not prescriptions or raw.inputs <= MOST_COUPLED:
        return ""
    if _coupled(context, context.settings.normalize):
        parts.append("momentum without centring the inputs")
    if raw.outputs > MOST_OUTPUT_GROUPS:
        parts.append("losses in original units")
    if not any(each.runs for each in prescriptions):
        parts.append("runs drawn on the rows, so that epochs are those of the expected loss")
    return f"left out for their cost on {raw.inputs:,} columns: {'; '.join(parts)}" if parts else ""


def _places(context: Context) -> list[tuple[str, str]]:
    """Normalisers and units of the loss that make sense for these data."""
    several = context.moments.raw.outputs <= MOST_OUTPUT_GROUPS
    places = [("none", "normalized"), ("center", "normalized"), ("feature", "normalized"), ("pca", "normalized")]
    if several:
        places.append(("feature", "original"))
    # Rows without deviations are given back by their means, whatever the layer says.
    if context.autoencoder and context.moments.samples is not None and context.moments.sample_weighted.weight > 0:
        places += [("sample", "normalized"), ("sample", "original")]
    return places


def _followed(tried: list[_Candidate], context: Context, progress: OnProgress) -> list[_Candidate]:
    """Ranked, the first BEST by runs that are drawn, where there is time; what a run fails with is left out."""
    left_over, known, ranked = budget.DRAWN, set[Settings](), _ranked(tried, context)
    while left := [candidate for candidate in ranked[:BEST] if candidate.settings not in known]:
        settings, _, steps, _ = candidate = left[0]
        known.add(settings)
        runs = affordable_runs(context, settings, steps, left_over)
        if runs:
            progress(Progress(0, 1, f"prescriptions: {runs} runs of each of the best, {len(known)} so far"))
            left_over -= runs * products_of(context, settings, steps)
            mean = mean_steps(context, settings, steps, runs)
            tried.remove(candidate)
            if math.isfinite(mean):
                tried.append(_Candidate(settings, mean / -(-context.rows // settings.batch_size), mean, runs))
            ranked = _ranked(tried, context)
    return ranked


def _ranked(tried: list[_Candidate], context: Context) -> list[_Candidate]:
    """By epochs; of those within SAME of the fastest that is left the simplest first."""
    left = sorted(tried, key=lambda candidate: candidate.epochs)
    ranked = []
    while left:
        near = [candidate for candidate in left if candidate.epochs <= SAME * left[0].epochs]
        chosen = min(near, key=lambda candidate: _complexity(candidate.settings, context))
        ranked.append(chosen)
        left.remove(chosen)
    return ranked


def _complexity(settings: Settings, context: Context) -> tuple[int, ...]:
    """Sort key of how much is changed, what a person would least like to change first."""
    normalizers = ("none", "center", "feature", "sample", "pca", "zca")
    return (
        normalizers.index(settings.normalize),
        int(settings.loss_space == "original"),
        int(settings.momentum > 0),
        int(settings.batch_size != context.settings.batch_size),
    )
