"""The results of `diagnose` and `diagnose_loss`, which a notebook shows as HTML."""

import dataclasses

from idjax.results.diagnosis import Diagnosis
from idjax.results.program import ProgramDiagnosis


@dataclasses.dataclass(frozen=True)
class Shown(Diagnosis):
    """A `Diagnosis` in every respect, which notebooks draw rather than print."""

    def _repr_html_(self) -> str:
        from idjax.report.pages import notebook_html

        return notebook_html(self)


@dataclasses.dataclass(frozen=True)
class ShownProgram(ProgramDiagnosis):
    """A `ProgramDiagnosis` in every respect, which notebooks draw rather than print."""

    def _repr_html_(self) -> str:
        from idjax.report.pages import notebook_program

        return notebook_program(self)
