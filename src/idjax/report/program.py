"""HTML of a diagnosis of a program, which needs no network and no script."""

import math
from collections.abc import Mapping

from idjax.report.templates import templates
from idjax.results.program import LayerFacts, ProgramDiagnosis


def render_program(diagnosis: ProgramDiagnosis, provenance: Mapping[str, str]) -> str:
    """The page: the verdict, the findings with their lines, the layers from input to output."""
    page = templates().get_template("report/program.html.jinja")
    return page.render(diagnosis=diagnosis, codes=_codes(diagnosis), bars=_bars(diagnosis), provenance=provenance)


def notebook_program(diagnosis: ProgramDiagnosis) -> str:
    """A fragment with styles of its own: the verdict, the findings with their lines, what was looked at."""
    return templates().get_template("report/loss_findings.html.jinja").render(diagnosis=diagnosis)


def _codes(diagnosis: ProgramDiagnosis) -> dict[str, list[tuple[str, str]]]:
    """Codes and kinds of the findings of each layer."""
    return {
        layer.path: [(finding.code, finding.kind) for finding in diagnosis.findings if layer.path in finding.layers]
        for layer in diagnosis.layers
    }


def _bars(diagnosis: ProgramDiagnosis) -> dict[str, float]:
    """How long each layer's bar is, in percent: the logarithm of its inputs' condition number against the largest."""
    sizes = {layer.path: _decades(layer) for layer in diagnosis.layers}
    longest = max([1.0, *sizes.values()])
    return {path: 100 * size / longest for path, size in sizes.items()}


def _decades(layer: LayerFacts) -> float:
    condition = layer.condition_number
    return math.log10(condition) if math.isfinite(condition) and condition > 1 else 0.0
