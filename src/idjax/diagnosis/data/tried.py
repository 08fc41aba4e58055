"""Diagnosis of what is no descent on a quadratic form, classes and hidden layers: by a table of runs that are followed.

The given optimizer, and Adam, on the inputs as they are and under each normaliser that does more, at rates half a
decade apart: a cause is what a single change takes away, and a prescription is a run of the table.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from idjax.diagnosis.data.context import LADDER, Context
from idjax.diagnosis.data.counterfactual import CLEARLY, MUCH, ORDER, USUAL, times_slower
from idjax.diagnosis.data.findings import (
    bottleneck,
    collinear,
    mean_dominated,
    over_budget,
    step_too_large,
    step_too_small,
    unequal_scales,
)
from idjax.diagnosis.explanation import Explanation, Fix
from idjax.prediction.dynamics.fastest_rate import followed_rates
from idjax.prediction.learning_rates import two_digits
from idjax.report.formatting import count, explained, number, settings_parts
from idjax.results.diagnosis import Finding, Prescription
from idjax.settings import Settings
from idjax.types import OnProgress, Progress

CURED_BY = {
    "center": (mean_dominated.EXPLANATION, "the inputs are far from 0 for how much they vary"),
    "feature": (unequal_scales.EXPLANATION, "the inputs differ in scale"),
    "pca": (collinear.EXPLANATION, "the inputs nearly depend on each other"),
}
"""Causes by the normaliser that takes them away."""
ALIKE = 3.0
"""Times the smallest deviation of a column that the largest may be, of inputs that are told to be of one scale."""
HALF = 0.5
"""Share of what was left unexplained that a change has to leave at most to count, where the level is not reached."""


class Tried(NamedTuple):
    """A run of the table: its epochs to the level, inf if it does not stay there, and what it leaves unexplained."""

    settings: Settings
    epochs: float
    left: float

    def beats(self, other: "Tried", budget: float) -> bool:
        """Whether this is clearly better: in time where the other is not, much faster, or with half of it left."""
        if min(self.epochs, other.epochs) <= budget:
            return self.epochs * (CLEARLY if other.epochs > budget else MUCH) <= other.epochs
        return self.left <= HALF * min(other.left, 2.0)


Table = dict[tuple[str, str], Tried]
"""The best rate of each optimizer and normaliser."""


def table_of(context: Context, progress: OnProgress) -> Table:
    """All runs of the table, the rates of a normaliser side by side."""
    settings, given = context.settings, context.settings.normalize
    normalizers = [given, *(ORDER[ORDER.index(given) + 1 :] if given in ORDER else ())]
    optimizers = dict.fromkeys((settings.optimizer, "adam"))
    pairs = [(optimizer, normalize) for optimizer in optimizers for normalize in normalizers]
    found: Table = {}
    for done, (optimizer, normalize) in enumerate(pairs):
        progress(Progress(done, len(pairs), f"following {optimizer} on the rows, {normalize} inputs"))
        found[optimizer, normalize] = min(_at_rates(context, optimizer, normalize), key=lambda run: run[1:])
    return found


def _at_rates(context: Context, optimizer: str, normalize: str) -> Iterator[Tried]:
    given = context.settings
    own = {} if optimizer == given.optimizer else {"optimizer": optimizer, "learning_rate": None, **USUAL}
    base = dataclasses.replace(given, **own, normalize=normalize, loss_space="normalized", solver="auto")
    runs = [dataclasses.replace(base, learning_rate=two_digits(base.step_size * 10**power)) for power in LADDER]
    left, steps = followed_rates(context.run_of(base, follow=True), runs)
    left = np.nan_to_num(left, nan=math.inf, posinf=math.inf)
    for run, over, step in zip(runs, left, steps, strict=True):
        yield Tried(run, float(step) / context.steps_per_epoch if over <= 1 - context.level else math.inf, float(over))


def findings_of(context: Context, table: Table, known: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The causes that single changes take away, the simplest first, and then those known before."""
    floor = bottleneck.find(context, ())
    found = [] if floor is None else [floor]
    if context.learned:
        return (*found, *known)
    given = _as_given(context)
    best, optimizer = given, context.settings.optimizer
    for (kind, normalize), run in table.items():
        if kind != optimizer or not run.beats(best, context.budget):
            continue
        if normalize == context.settings.normalize:
            larger = run.settings.step_size > given.settings.step_size
            explanation = (step_too_small if larger else step_too_large).EXPLANATION
            words = f"the learning rate {given.settings.step_size:g} is too {'small' if larger else 'large'}"
        else:
            explanation, words = _cured_by(context, normalize)
        found.append(_finding(context, explanation, words, best, run))
        best = run
    if not any(each.kind == "cause" for each in (*found, *known)):
        message = f"not learned within the {count(context.budget)} epochs that were followed: explained variance "
        message += f"{explained(1 - given.left)}, and {explained(1 - min(run.left for run in table.values()))} in the "
        message += f"best of {len(table) * len(LADDER)} runs, under {len(table)} optimizers and normalisers"
        known = (over_budget.EXPLANATION.finding(message, {}, math.inf, None, kind="cause"),)
    named = {each.code for each in found}
    return (*found, *(each for each in known if each.code not in named))


def _cured_by(context: Context, normalize: str) -> tuple[Explanation, str]:
    """The cause that a normaliser takes away. Columns of one scale are standardised for their size."""
    from idjax.diagnosis.program.findings import layer_scale

    deviations = np.sqrt(np.diagonal(context.moments.raw.covariance_xx))
    least, most = (float(end) for end in np.quantile(deviations[deviations > 0], [0, 1]))
    if normalize == "feature" and most < ALIKE * least:
        return layer_scale.EXPLANATION, f"the inputs vary by {number(most)}, far from 1"
    return CURED_BY[normalize]


def prescriptions_of(context: Context, table: Table) -> tuple[Prescription, ...]:
    """The runs of the table that are learned in time, the simplest first."""
    given = _as_given(context)
    chosen = [run for run in table.values() if run.epochs <= context.budget and run.beats(given, context.budget)]
    return tuple(
        Prescription(
            settings=dataclasses.replace(run.settings, epochs=context.settings.epochs),
            predicted_epochs=run.epochs,
            predicted_steps=run.epochs * context.steps_per_epoch,
            flax_code="",
            keras_code="",
            runs=1,
            role="simplest" if index == 0 else "",
        )
        for index, run in enumerate(chosen)
    )


def best_words(context: Context, table: Table) -> tuple[str, ...]:
    """The run of the table that comes closest, where none is learned in time."""
    if not table or min(run.epochs for run in table.values()) <= context.budget:
        return ()
    run = min(table.values(), key=lambda run: run.left)
    words = f"{settings_parts(run.settings)[0]}, {run.settings.normalize} inputs"
    return (f"of {len(table) * len(LADDER)} runs followed the closest explains {explained(1 - run.left)}: {words}",)


def _as_given(context: Context) -> Tried:
    return Tried(context.settings, context.takes, 1 - float(context.before.explained_variance[-1]))


def _finding(context: Context, explanation: Explanation, words: str, before: Tried, after: Tried) -> Finding:
    changes = {name: getattr(after.settings, name) for name in ("normalize", "learning_rate")}
    changes = {name: value for name, value in changes.items() if value != getattr(context.settings, name)}
    told = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in changes.items())

    def reached(run: Tried) -> str:
        return f"{count(run.epochs)} epochs" if run.epochs <= context.budget else f"EV {explained(1 - run.left)}"

    then = f"{count(after.epochs)} epochs followed"
    if after.epochs > context.budget:
        then = f"explained variance {explained(1 - after.left)} followed, which is not yet enough"
    return explanation.finding(
        message=f"{words}: followed on the rows, {reached(before)} at the best that is simpler, then {reached(after)}",
        evidence={"explained variance before": 1 - before.left, "explained variance after": 1 - after.left},
        cost=times_slower(context, before.epochs, after.epochs) if math.isfinite(after.epochs) else math.inf,
        fix=Fix(f"{told}: {then}", changes, after.epochs),
    )
