"""The diagnosis of a program with the program itself: cures that are made and measured, and the right learning rate."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from idjax.diagnosis.program.cured import CuredLoss
from idjax.diagnosis.program.curvature import curvature
from idjax.diagnosis.program.descents import Batches, Descents, width_for
from idjax.diagnosis.program.loss_context import LossContext
from idjax.diagnosis.program.race import race, rate_by_curvature, reached_now
from idjax.diagnosis.program.rewriting import CURABLE, RATES, Rewriting, rewriting
from idjax.diagnosis.program.walk import Edits
from idjax.report.formatting import number
from idjax.report.notebook import ShownProgram
from idjax.results.program import RateRace
from idjax.types import IdjaxError, OnProgress, silent

CURE_STEPS = 128
"""Steps that a cure is measured over."""


class MeasuredCure(NamedTuple):
    """A cured loss, whether it is a gain, and the loss that it ends at."""

    cured: CuredLoss
    gains: bool
    end: float


class CurableProgram(ShownProgram):
    """A `ProgramDiagnosis` that holds its program: what it cures is a loss to train on. It is written without it."""

    @classmethod
    def of(cls, context: LossContext, batches: Any = None, progress: OnProgress = silent, **fields: Any) -> Any:
        """The diagnosis of a context, with the batches that training sees."""
        made = cls(**fields)
        vars(made)["_workshop"] = Workshop(context, Batches(context.traced, batches), progress)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name in self.__dataclass_fields__}

    @property
    def workshop(self) -> "Workshop":
        """The maker of cures and races of this program.

        Raises:
          IdjaxError: for a diagnosis that was copied or read without its program.
        """
        if "_workshop" not in vars(self):
            raise IdjaxError("this diagnosis is without its program: use the one that diagnose_loss returned")
        return vars(self)["_workshop"]

    @functools.cached_property
    def _tried(self) -> Mapping[tuple[str, ...], MeasuredCure]:
        """All causes that can be cured alone, and together where there are several."""
        codes = tuple(dict.fromkeys(finding.code for finding in self.causes if finding.code in CURABLE))
        found = {(code,): self._measured((code,)) for code in codes}
        gains = tuple(code for code in codes if found[(code,)].gains)
        return found | {several: self._measured(several) for several in (gains, codes) if len(several) > 1}

    @functools.cached_property
    def cures(self) -> Mapping[str, CuredLoss]:
        """The causes that can be cured and are worth it, by code: losses that train faster, as measured."""
        return {codes[0]: each.cured for codes, each in self._tried.items() if len(codes) == 1 and each.gains}

    @functools.cached_property
    def cured(self) -> CuredLoss:
        """The loss with the cures that lower it most, fitted from front to back, all where that is best.

        Raises:
          IdjaxError: where no cure is a gain.
        """
        gains = [each for each in self._tried.values() if each.gains]
        if not gains:
            raise IdjaxError("no cure that can be built in is a gain: see the findings for what to change")
        return min(reversed(gains), key=lambda each: each.end).cured

    def cure(self, code: str) -> CuredLoss:
        """The loss with the cure of one finding built in, to be called and differentiated as the user's own.

        Raises:
          IdjaxError: where nothing was found under this code, it has no cure that can be built in, or it is no gain.

        Example:
          >>> import jax, numpy as np
          >>> from idjax import diagnose_loss
          >>> x = np.random.default_rng(0).normal(100, 1, (50, 3)).astype(np.float32)
          >>> def loss(params, x, y):
          ...     return ((x @ params["w"] + params["b"] - y) ** 2).mean()
          >>> params = {"w": np.ones((3, 1), np.float32), "b": np.zeros(1, np.float32)}
          >>> cured = diagnose_loss(loss, params, x, x[:, :1]).cure("layer-mean")
          >>> bool(cured(cured.params, x, x[:, :1]) < loss(params, x, x[:, :1]))
          True
        """
        if code not in CURABLE:
            raise IdjaxError(f"{code}: no cure of it can be built in; there are ones of {', '.join(sorted(CURABLE))}")
        if not any(finding.code == code for finding in self.findings):
            there = ", ".join(dict.fromkeys(finding.code for finding in self.findings)) or "nothing"
            raise IdjaxError(f"{code}: not found here, where there is {there}")
        measured = self._measured((code,))
        if not measured.gains:
            raise IdjaxError(f"the cure of {code} was measured and alone is no gain: {measured.cured.text}")
        return measured.cured

    @property
    def learning_rate(self) -> float:
        """The rate at which the loss as it was given falls fastest, by a race."""
        return self.race.rate

    @functools.cached_property
    def race(self) -> RateRace:
        """The race of rates for the loss as it was given, with the steps that it took."""
        return self.workshop.raced(self.workshop.as_given)

    def _measured(self, codes: tuple[str, ...]) -> MeasuredCure:
        known = self.workshop.known
        if codes not in known:
            findings = [finding for finding in self.findings if finding.code in codes]
            known[codes] = self.workshop.measured(self.workshop.with_cures(findings))
        return known[codes]


class Workshop:
    """Makes cures of one program, races rates and measures what is gained."""

    def __init__(self, context: LossContext, batches: Batches, progress: OnProgress):
        self.context, self.batches, self._progress = context, batches, progress
        nothing = Edits({}, {})
        self.as_given = CuredLoss(context.traced, Rewriting(nothing, nothing, context.given.params), ())
        self._races: dict[tuple[CuredLoss, int], RateRace] = {}
        self.known: dict[tuple[str, ...], MeasuredCure] = {}

    def with_cures(self, findings: Iterable[Any]) -> CuredLoss:
        """The loss with the cures of some findings."""
        findings = list(findings)
        codes = tuple(dict.fromkeys(finding.code for finding in findings))
        return CuredLoss(self.context.traced, rewriting(self.context, findings), codes)

    def descents(self, program: CuredLoss) -> Descents:
        """Its descents, whose losses are in the units of the program as given."""
        judged = program.flat(judged=True) if program.has_own_units else None
        width = width_for(self.context.graph, program.start)
        return Descents(program.flat(), program.start, self.context.rule, self.batches, width, judged)

    def raced(self, program: CuredLoss, horizon: int = 256) -> RateRace:
        """The race of rates for a program; each is run once."""
        key = program, horizon
        if key not in self._races:
            first = rate_by_curvature(program.flat(), program.start, self.batches.one, self.context.rule)
            self._races[key] = race(self.descents(program), first, horizon, self._progress)
        return self._races[key]

    def measured(self, cured: CuredLoss) -> MeasuredCure:
        """Measures a cured loss, and whether that is a gain: fewer steps to one loss."""
        own = set(cured.codes) <= RATES
        before = self._at_own_rate() if own else self.raced(self.as_given, CURE_STEPS).losses
        after = self.raced(cured, CURE_STEPS)
        steps = min(len(before), len(after.losses))
        ends = [float(reached_now(losses[None, :steps])[0]) for losses in (before, after.losses)]
        there = np.flatnonzero(after.losses[:steps] <= ends[0])
        sooner = int(there[0]) if len(there) else steps
        cured.learning_rate = after.rate
        told = "" if own else f"{self._curvature(cured)}, "
        at = "at the rate given and at the best" if own else "each at its best rate"
        cured.text = f"{told}loss after {steps} steps {at}: {number(ends[0])} before, {number(ends[1])} after" + (
            f", which is at {number(ends[0])} after {sooner} steps" if ends[1] < ends[0] else ""
        )
        return MeasuredCure(cured, ends[1] < ends[0], ends[1])

    def _at_own_rate(self) -> Any:
        descents = self.descents(self.as_given)
        return descents.advance(descents.start([self.context.rule.rate or 1.0]), CURE_STEPS).losses[0]

    def _curvature(self, cured: CuredLoss) -> str:
        """The largest curvature before and after, on the rows that all is measured on."""
        tops = [curvature(each.flat())(each.start, self.context.args) for each in (self.as_given, cured)]
        return f"largest curvature {tops[0]:.4g} before, {tops[1]:.4g} after"
