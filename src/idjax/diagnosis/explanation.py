"""The explanation of a finding, read from its module's docstring, and the findings made from it."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from idjax.results.diagnosis import Finding, Kind
from idjax.results.program import LayerFinding, ProgramFinding
from idjax.types import IdjaxError, Value


class Fix(NamedTuple):
    """A cure in words, the settings it changes by name, and the epochs that are predicted with these."""

    words: str
    changes: dict[str, Value] | None
    epochs: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A finding in general: what `idjax explain`, the reports and the table in the docs tell of it.

    code:     the module's name, with hyphens.
    kind:     what it usually is.
    title:    one sentence.
    means:    what is wrong and why that is bad, in a few sentences.
    formula:  the number that decides it, and its section in docs/theory.md.
    source:   who found it first.
    example:  a command that shows it.
    fix:      what to change.
    apart:    what tells it from its neighbours.
    """

    code: str
    kind: Kind
    title: str
    means: str
    formula: str = ""
    source: str = ""
    example: str = ""
    fix: str = ""
    apart: str = ""

    @classmethod
    def of(cls, module: str, docstring: str | None, kind: Kind) -> "Explanation":
        """The explanation that a module's docstring holds: the title, a paragraph, and the other fields by name.

        Example:
          >>> doc = "The rate is too small.\\n\\nA step moves little.\\n\\nFix: a larger rate.\\nSource: Cauchy 1847"
          >>> found = Explanation.of("findings.step_too_small", doc, "cause")
          >>> found.code, found.title, found.fix
          ('step-too-small', 'The rate is too small', 'a larger rate.')
        """
        title, means, facts, *_ = *(docstring or "").strip().split("\n\n"), "", "", ""
        fields = {name.lower(): _joined(text) for name, text in re.findall(r"^(\w+): (.+(?:\n .+)*)", facts, re.M)}
        code = module.rsplit(".", 1)[-1].replace("_", "-")
        return cls(code, kind, _joined(title).removesuffix("."), _joined(means), **fields)

    def finding(
        self,
        message: str,
        evidence: dict[str, float | int | str | list[str]],
        cost: float,
        fix: str | Fix | None,
        causes: tuple[str, ...] = (),
        kind: Kind | None = None,
    ) -> Finding:
        """A finding of this code, and of its usual kind unless another is given; its fix predicted, or in words."""
        predicted = fix if isinstance(fix, Fix) else Fix("" if fix is None else fix, None, math.nan)
        return Finding(self.code, kind or self.kind, message, evidence, cost, predicted.words, causes, *predicted[1:])

    def program_finding(self, *, cost: float = math.inf, **fields: Any) -> ProgramFinding:
        """A finding of this code in a program, which learns nothing at all unless another cost is given."""
        return ProgramFinding(code=self.code, kind=self.kind, cost=cost, **fields)

    def layer_finding(self, **fields: Any) -> LayerFinding:
        """A finding of this code in layers of a model."""
        return LayerFinding(code=self.code, kind=self.kind, **fields)


def slowing(found: Iterable[Finding]) -> tuple[str, ...]:
    """Codes of the causes that lengthen training."""
    return tuple(finding.code for finding in found if finding.kind == "cause" and finding.cost > 1)


def known_codes(codes: Iterable[str] | None, known: Mapping[str, Explanation], unknown: str) -> frozenset[str]:
    """The codes of the findings to look for: all that are known if none are given.

    Raises:
      IdjaxError: a code that is not known, which says so in these words.
    """
    wanted = frozenset(known if codes is None else codes)
    for code in wanted - known.keys():
        raise IdjaxError(f"{code}: {unknown}; the codes are {', '.join(known)}")
    return wanted


def _joined(lines: str) -> str:
    return " ".join(lines.split())
