"""Makes cures of one program, races rates, and measures what is gained."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from idjax.diagnosis.cures.cured import CuredLoss
from idjax.diagnosis.cures.descents import Batches, Descents, width_for
from idjax.diagnosis.cures.ends import minimum_of
from idjax.diagnosis.cures.race import HORIZON, is_still, race, rate_by_curvature, reached_now, steps_to
from idjax.diagnosis.cures.rewriting import CURABLE, RATES, rewriting
from idjax.diagnosis.trace.curvature import curvature
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.report.formatting import number
from idjax.results.program import RateRace
from idjax.types import OnProgress

CURE_STEPS = 128
"""Steps that a cure is measured over."""
MOST_NEEDED = 0.8
"""Share of the steps as given that a cure may need; of one that needed 110 in place of 115 no gain was left later."""
LOWER = 0.5
"""Share of the loss as given at which one counts as much lower."""
LOWER_THAN_STILL = 0.8
"""The same where the program as given never leaves its first loss, so that steps to there say nothing."""
COMMON = 1.01
"""Times the higher of both losses at the end that both are asked for."""
TOLD_PRODUCTS = 32
"""Products of Lanczos's method for curvatures that are told; with 12 one of 11 was 6% off."""


class MeasuredCure(NamedTuple):
    """A cured loss, whether it is a gain, its steps to the loss of the program as given, and the loss it ends at."""

    cured: CuredLoss
    gains: bool
    steps: float
    end: float


class Workshop:
    """A program to cure and to train; `spent` counts the steps of trainings and races.

    `codes` are those of its findings that a cure can be built in for.
    """

    def __init__(self, context: LossContext, batches: Batches, progress: OnProgress, codes: Iterable[str]):
        self.context, self.batches, self.progress = context, batches, progress
        self.spent = 0
        found = CURABLE.intersection(codes)
        self._minimum = minimum_of(context) if "unbounded-loss" in found else None
        self.codes = found if self._minimum is not None else found - {"unbounded-loss"}
        self.as_given = self.with_cures(())
        self._races: dict[tuple[CuredLoss, int], RateRace] = {}
        self.known: dict[tuple[str, ...], MeasuredCure] = {}

    def with_cures(self, findings: Iterable[Any]) -> CuredLoss:
        """The loss with the cures of some findings."""
        findings = list(findings)
        codes = tuple(dict.fromkeys(finding.code for finding in findings))
        return CuredLoss(self.context.traced, rewriting(self.context, findings, self._minimum), codes)

    def descents(self, program: CuredLoss, width: int = 0) -> Descents:
        """Its descents, so many together, whose losses are in the units in which all are compared."""
        judged = program.flat(judged=True) if program.has_own_units else None
        width = width or width_for(self.context.graph, program.start)
        return Descents(program.flat(), program.start, self.context.rule, self.batches, width, judged)

    def factor(self, rate: float) -> float:
        """The multiple of the updates that a learning rate is, as the user has it."""
        return rate / self.context.rule.told(1.0)

    def raced(self, program: CuredLoss, horizon: int = HORIZON) -> RateRace:
        """The race of rates for a program; each is run once."""
        key = program, horizon
        if key not in self._races:
            first = rate_by_curvature(program.flat(), program.start, self.batches.one, self.context.rule)
            self._races[key] = race(self.descents(program), first, horizon, self.progress)
            self.spent += self._races[key].spent
        return self._races[key]

    def measured(self, cured: CuredLoss) -> MeasuredCure:
        """Measures a cured loss, and whether that is a gain: fewer steps to one loss, or a much lower one."""
        own = set(cured.codes) <= RATES
        before = self.at_own_rate() if own else self.raced(self.as_given, CURE_STEPS).losses
        after = self.raced(cured, CURE_STEPS)
        steps = min(len(before), len(after.losses))
        ends = [float(reached_now(losses[None, :steps])[0]) for losses in (before, after.losses)]
        # Not a share of the first loss: a mean of the inputs makes that as large as it likes.
        level = COMMON * max(ends[0] if math.isfinite(ends[0]) else float(before[0]), ends[1])
        needed = [steps_to(losses[:steps], level) for losses in (before, after.losses)]
        cured.learning_rate = after.rate
        told = "" if own else f"{self._curvature(cured)}, "
        at = "at the rate given and at the best" if own else "each at its best rate"
        cured.text = (
            f"{told}loss after {steps} steps {at}: {number(ends[0])} before, {number(ends[1])} after; "
            f"steps to {number(level)}: {number(needed[0])} before, {number(needed[1])} after"
        )
        # A program as given may be quick to where it stays: to end much lower, no later there, is a gain too.
        lower = LOWER_THAN_STILL if is_still(before) else LOWER
        further = needed[1] <= needed[0] and ends[1] <= lower * ends[0]
        gains = math.isfinite(needed[1]) and (needed[1] <= MOST_NEEDED * needed[0] or further)
        return MeasuredCure(cured, gains, needed[1], ends[1])

    def at_own_rate(self) -> Any:
        """The losses of the program as given at the rate that was given."""
        descents = self.descents(self.as_given)
        return descents.advance(descents.start([self.context.rule.rate or 1.0]), CURE_STEPS).losses[0]

    def _curvature(self, cured: CuredLoss) -> str:
        """The largest curvature before and after, on the rows that all is measured on."""
        tops = [curvature(each.flat(), TOLD_PRODUCTS)(each.start, self.context.args) for each in (self.as_given, cured)]
        return f"largest curvature {tops[0]:.4g} before, {tops[1]:.4g} after"
