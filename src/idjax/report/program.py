"""HTML of a diagnosis of a program, which needs no network and no script."""

import math
from collections.abc import Mapping

from idjax.report.program_proof import HEADER, few_rows_words, proof_rows, proof_words
from idjax.report.templates import templates
from idjax.results.program import LayerFacts, ProgramDiagnosis


def render_program(diagnosis: ProgramDiagnosis, provenance: Mapping[str, str]) -> tuple[str, dict[str, bytes]]:
    """The page and its figures: the verdict, the findings with their lines, the layers, what was trained."""
    proof, trained = diagnosis.proof, {}
    pictures: dict[str, bytes] = {}
    if proof is not None:
        trained = {"rows": proof_rows(proof), "words": proof_words(proof), "header": HEADER, "caption": ""}
        trained["few"] = few_rows_words(proof.few_rows) if proof.few_rows is not None else ""
        if proof.runs:
            from idjax.report.drawing import to_png  # figures, which only the page of a proof needs
            from idjax.report.proof_figure import proof_figure

            figure, trained["caption"] = proof_figure(proof)
            pictures["proof.png"] = to_png(figure)
    page = templates(pictures).get_template("report/program.html.jinja")
    parts = {"codes": _codes(diagnosis), "bars": _bars(diagnosis), "trained": trained}
    return page.render(diagnosis=diagnosis, provenance=provenance, **parts), pictures


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
