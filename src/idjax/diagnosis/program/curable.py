"""The diagnosis of a program with the program itself: cures that are made and measured, and the right learning rate."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from idjax.diagnosis.cures.cured import CuredLoss
from idjax.diagnosis.cures.descents import Batches
from idjax.diagnosis.cures.proving import BUDGET, few_rows, proof
from idjax.diagnosis.cures.rewriting import CURABLE
from idjax.diagnosis.cures.workshop import MeasuredCure, Workshop
from idjax.diagnosis.program.findings import cannot_overfit
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.report.notebook import ShownProgram
from idjax.results.program import FewRows, RateRace
from idjax.types import IdjaxError, OnProgress


class CurableProgram(ShownProgram):
    """A `ProgramDiagnosis` that holds its program: what it cures is a loss to train on. It is written without it."""

    @classmethod
    def of(cls, context: LossContext, batches: Any, progress: OnProgress, **fields: Any) -> Any:
        """The diagnosis of a context, with the batches that training sees."""
        made = cls(**fields)
        codes = (finding.code for finding in made.findings)
        vars(made)["_workshop"] = Workshop(context, Batches(context.traced, batches), progress, codes)
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

    @property
    def _curable(self) -> list[tuple[str, ...]]:
        """The causes that can be cured, alone, and together where there are several."""
        codes = tuple(dict.fromkeys(finding.code for finding in self.causes if finding.code in self.workshop.codes))
        return [*((code,) for code in codes), *([codes] if len(codes) > 1 else [])]

    @functools.cached_property
    def _tried(self) -> Mapping[tuple[str, ...], MeasuredCure]:
        """Each cure alone, all together, and together those that alone are a gain."""
        found = {codes: self._measured(codes) for codes in self._curable}
        gains = tuple(codes[0] for codes, each in found.items() if len(codes) == 1 and each.gains)
        return found | ({gains: self._measured(gains)} if len(gains) > 1 else {})

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
        if code not in self.workshop.codes:
            raise IdjaxError(f"{code}: what this loss was meant to be is not known: see the finding")
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

    @functools.cached_property
    def few_rows(self) -> FewRows | None:
        """The training on eight rows alone; None where there are fewer, or the loss is not finite."""
        return few_rows(self.workshop)

    def proven(self, steps: int = BUDGET) -> "CurableProgram":
        """This diagnosis with a proof: the program as given and its cures, alone and together, trained so many steps.

        What can be trained only is found too: `cannot-overfit`. Interrupted, it tells what is known by then.
        """
        shop = self.workshop
        cured = {codes[0] if len(codes) == 1 else "all of " + ", ".join(codes): codes for codes in self._curable}
        trained = proof(shop, lambda name: self._measured(cured[name]).cured, tuple(cured), steps)
        few = trained.few_rows
        more = cannot_overfit.find(few) if few is not None and not self.causes else []
        changed = dataclasses.replace(
            self,
            proof=trained,
            findings=(*self.findings, *more),
            verdict=more[0].message if more else self.verdict,
        )
        vars(changed)["_workshop"] = shop
        return changed

    def _measured(self, codes: tuple[str, ...]) -> MeasuredCure:
        known = self.workshop.known
        if codes not in known:
            findings = [finding for finding in self.findings if finding.code in codes]
            known[codes] = self.workshop.measured(self.workshop.with_cures(findings))
        return known[codes]
