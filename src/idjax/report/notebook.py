"""The `Diagnosis` that `diagnose` returns, which a notebook shows as HTML."""

import dataclasses

from idjax.results.diagnosis import Diagnosis


@dataclasses.dataclass(frozen=True)
class Shown(Diagnosis):
    """A `Diagnosis` in every respect, which notebooks draw rather than print."""

    def _repr_html_(self) -> str:
        from idjax.report.diagnosis import notebook_html

        return notebook_html(self)
