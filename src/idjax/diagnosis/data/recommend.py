"""Recommended settings: every sensible combination, ranked by predicted epochs.

By the expected loss of Gaussian rows first; then runs of the best are drawn on rows of the data, tails and all.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import get_args

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import FULL, LINEAR, Candidate, at_every_batch, fastest_in_time, tuned
from idjax.diagnosis.data.drawn_cost import affordable_runs, products_of
from idjax.diagnosis.data.findings import causes_of_settings
from idjax.diagnosis.data.outcome import explained_outputs
from idjax.diagnosis.data.recipes import flax_code, keras_code
from idjax.prediction import budget
from idjax.prediction.learning_rates import two_digits
from idjax.results.diagnosis import Prescription, Role
from idjax.settings import Normalize, Settings
from idjax.types import OnProgress, Progress, silent

MOST_OUTPUT_GROUPS = 64
"""Outputs that may learn at rates of their own before a loss in original units is left out: each is a problem."""
MOST_COUPLED = 512
"""Modes that the mean of the inputs may couple, in pairs, before momentum is left out: its pairs have no short sums."""
MOMENTUM = 0.9
RECIPES = ("sgd", "adam")
"""Optimizers of which prescriptions have code."""
WELL = 0.5
"""Share of the budget that is well inside it."""
LONGER = 1.25
"""Times the predicted epochs that a prescription has where the budget is too short for it."""
KEPT = 12
"""Prescriptions that are listed."""
BEST = 3
"""Prescriptions of which runs are drawn, and that are proven where a proof is asked for."""
SAME = 1.05
"""Within this factor of the fastest the simpler of two prescriptions comes first."""


def recommend(context: Context, progress: OnProgress = silent) -> tuple[Prescription, ...]:
    """The prescriptions that reach the level within the budget, or if none does those that need more epochs.

    The simplest change that is well inside the budget comes first, the fastest second; diagnosed again, neither has a
    cause that settings could cure.
    """
    tried = {each.settings: each for each in _candidates(context, progress) if math.isfinite(each.epochs)}
    tried.pop(context.settings, None)
    gains = [each for each in tried.values() if context.learned or each.epochs < context.takes]
    in_time = [each for each in gains if each.epochs <= context.budget]
    ranked = _cured(_followed(in_time or gains, context, progress), context)
    raw = context.moments.raw
    shape = raw.inputs, raw.outputs, context.autoencoder
    return tuple(
        Prescription(
            settings=_long_enough(candidate, context),
            predicted_epochs=candidate.epochs,
            predicted_steps=candidate.steps(context.rows),
            runs=candidate.runs,
            role=_role(index, candidate, ranked, context),
            flax_code=flax_code(candidate.settings, *shape),
            keras_code=keras_code(candidate.settings, *shape),
        )
        for index, candidate in enumerate(ranked[:KEPT])
    )


def _cured(ranked: list[Candidate], context: Context) -> list[Candidate]:
    """Without those that, diagnosed again, have a cause which settings could cure: all of them where the run is learned
    in total and some outputs are not, else the first ones.
    """

    def again(candidate: Candidate) -> Context:
        settings = dataclasses.replace(candidate.settings, epochs=context.settings.epochs)
        return dataclasses.replace(context, settings=settings)

    if context.learned:
        subjects = ((each, again(each)) for each in ranked)
        known = ((each, sub) for each, sub in subjects if explained_outputs(sub, sub.settings) is not None)
        return _ranked([each for each, sub in known if not causes_of_settings(sub)], context)
    failed = set[Settings]()
    for candidate in ranked:
        if candidate.epochs <= context.budget and not causes_of_settings(again(candidate)):
            return [each for each in ranked if each.settings not in failed]
        failed.add(candidate.settings)
    return [each._replace(enough=_surely(each, context)) for each in ranked]


def _surely(candidate: Candidate, context: Context) -> float:
    """Epochs that are enough by the expected loss, and from the slowest of the random starts: more than on the mean."""
    starts = dataclasses.replace(context, settings=candidate.settings).epochs_of_starts
    expected = [context.epochs_of(candidate.settings), *starts]
    return max(candidate.epochs, *(float(each) for each in expected if math.isfinite(each)))


def _long_enough(candidate: Candidate, context: Context) -> Settings:
    """Its settings, with more epochs where those of the budget are too few."""
    if candidate.needed <= context.budget:
        return candidate.settings
    return dataclasses.replace(candidate.settings, epochs=min(1_000_000, math.ceil(LONGER * candidate.needed)))


def _role(index: int, candidate: Candidate, ranked: list[Candidate], context: Context) -> Role:
    if candidate.needed > context.budget:
        return "longer"
    if index == 0 and candidate.epochs <= WELL * context.budget:
        return "simplest"
    least = min(other.epochs for other in ranked)
    return "fastest" if index <= 1 and candidate.epochs <= SAME * least else ""


def _candidates(context: Context, progress: OnProgress) -> Iterator[Candidate]:
    """The optimizer as given at another rate; plain SGD with every normaliser, unit and batch; with momentum at the
    given batch; Adam on other inputs where it is quick.
    """
    given = context.settings
    # Weights of 16 bits would stall: the recipes have float32 ones.
    full = FULL if given.half else {}
    if given.optimizer in RECIPES and (faster := _other_rate(context)):
        yield faster
    places = _places(context)
    for index, (normalize, space) in enumerate(places):
        progress(Progress(index, len(places), "prescriptions: normalisers and units"))
        yield from at_every_batch(context, normalize, space, **full)
        if space == "normalized" and normalize in (given.normalize, "feature") and not _coupled(context, normalize):
            yield tuned(context, normalize=normalize, loss_space=space, momentum=MOMENTUM, **full)
    if given.optimizer == "adam":
        from idjax.theory.adam.forecast import products_a_step  # which imports JAX

        # What the user has, on better inputs.
        for normalize, space in places:
            for rate in (given.step_size, two_digits(10 * given.step_size)):
                settings = dataclasses.replace(
                    given, **LINEAR, **full, normalize=normalize, loss_space=space, learning_rate=rate
                )
                steps = context.budget * context.steps_per_epoch
                raw = context.moments.raw
                if steps * products_a_step(raw.inputs + 1, raw.outputs) <= budget.ADAM_TRIED:
                    yield Candidate(settings, context.epochs_of(settings))


def _other_rate(context: Context) -> Candidate | None:
    """The settings as given at a well-chosen rate."""
    given = context.settings
    if given.optimizer == "sgd" and not context.followed:
        found = tuned(context, momentum=given.momentum, nesterov=given.nesterov)
        return found._replace(settings=dataclasses.replace(found.settings, activation=given.activation))
    faster = fastest_in_time(context)
    return faster and Candidate(context.changed(faster[1].changes or {}), faster[1].epochs)


def _coupled(context: Context, normalize: str) -> bool:
    """Whether the mean of the inputs couples so many pairs of modes that momentum is too dear to be tried."""
    mean = context.problem_of(dataclasses.replace(context.settings, normalize=normalize)).mean
    return int(np.count_nonzero(mean)) > MOST_COUPLED


def left_out(context: Context, prescriptions: tuple[Prescription, ...]) -> str:
    """A sentence on what was not looked at because the data are wide; empty if nothing was left out."""
    raw, parts = context.moments.raw, []
    wide = raw.inputs > MOST_COUPLED
    if not prescriptions:
        return ""
    if wide and _coupled(context, context.settings.normalize):
        parts.append("momentum without centring the inputs")
    if raw.outputs > MOST_OUTPUT_GROUPS:
        parts.append("losses in original units of standardised features")
    if wide and not any(each.runs for each in prescriptions):
        parts.append("runs drawn on the rows, so that epochs are those of the expected loss")
    what = f"{raw.inputs:,} columns" if wide else f"{raw.outputs:,} outputs"
    return f"left out for their cost on {what}: {'; '.join(parts)}" if parts else ""


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


def _followed(tried: list[Candidate], context: Context, progress: OnProgress) -> list[Candidate]:
    """Ranked, the first BEST by runs that are drawn, where there is time; what a run fails with is left out."""
    left_over, known, ranked = budget.DRAWN, set[Settings](), _ranked(tried, context)
    while left := [candidate for candidate in ranked[:BEST] if candidate.settings not in known]:
        candidate = left[0]
        known.add(candidate.settings)
        runs = affordable_runs(context, candidate, left_over)
        if runs:
            progress(Progress(0, 1, f"prescriptions: {runs} runs of each of the best, {len(known)} so far"))
            left_over -= runs * products_of(context, candidate)
            from idjax.diagnosis.data.drawn_runs import mean_epochs  # which imports JAX

            epochs = mean_epochs(context, candidate, runs)
            tried.remove(candidate)
            if math.isfinite(epochs):
                tried.append(candidate._replace(epochs=epochs, runs=runs))
            ranked = _ranked(tried, context)
    return ranked


def _ranked(tried: list[Candidate], context: Context) -> list[Candidate]:
    """The simplest that is well inside the budget, then by epochs; of those within SAME of the fastest the simplest."""
    left = sorted(tried, key=lambda candidate: candidate.epochs)
    ranked = []

    def simplest(candidates: list[Candidate]) -> Candidate:
        return min(candidates, key=lambda candidate: _complexity(candidate.settings, context))

    if well := [each for each in left if each.epochs <= WELL * context.budget]:
        ranked.append(simplest(well))
        left.remove(ranked[0])
    while left:
        ranked.append(simplest([each for each in left if each.epochs <= SAME * left[0].epochs]))
        left.remove(ranked[-1])
    return ranked


def _complexity(settings: Settings, context: Context) -> tuple[int, ...]:
    """Sort key of how much is changed, what a person would least like to change first."""
    given = context.settings
    kept = settings.normalize == given.normalize
    return (
        0 if kept else 1 + get_args(Normalize).index(settings.normalize),
        int(settings.optimizer != given.optimizer),
        int(settings.loss_space == "original" and not kept),
        int(settings.momentum != given.momentum),
        int(settings.batch_size != given.batch_size),
    )
