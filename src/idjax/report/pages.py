"""The HTML pages of diagnoses of data and of programs, without network or script, and their fragments for notebooks."""

import math
from collections.abc import Mapping

from idjax.report.templates import templates
from idjax.results.diagnosis import Diagnosis
from idjax.results.program import LayerFacts, ProgramDiagnosis

Page = tuple[str, dict[str, bytes]]
"""A page, and its figures as named PNG files."""


def render(diagnosis: Diagnosis, provenance: Mapping[str, str]) -> Page:
    """The page of a diagnosis of data and its figures: the verdict, the findings, the prescriptions with their code."""
    from idjax.report import diagnosis_figures  # Matplotlib, which only a page needs
    from idjax.report.drawing import to_png

    drawn = {"spectrum": diagnosis_figures.spectrum_figure(diagnosis)}
    if diagnosis.before is not None:
        drawn["budget"] = diagnosis_figures.budget_figure(diagnosis)
    if diagnosis.samples is not None and diagnosis.samples.target.size:
        drawn["samples"] = diagnosis_figures.samples_figure(diagnosis.samples)
    if diagnosis_figures.has_proof(diagnosis):
        drawn["proof"] = diagnosis_figures.proof_figure(diagnosis)
    pictures = {f"{name}.png": to_png(figure) for name, (figure, _) in drawn.items()}
    captions = {name: caption for name, (_, caption) in drawn.items()}
    page = templates(pictures).get_template("report/diagnosis.html.jinja")
    return page.render(diagnosis=diagnosis, captions=captions, provenance=provenance), pictures


def notebook_html(diagnosis: Diagnosis) -> str:
    """A fragment with styles of its own: the verdict, the findings, the prescriptions and the best one's code."""
    return templates().get_template("report/notebook.html.jinja").render(diagnosis=diagnosis)


def render_program(diagnosis: ProgramDiagnosis, provenance: Mapping[str, str]) -> Page:
    """The page of a program and its figures: the verdict, the findings with their lines, the layers, the trainings."""
    pictures, caption = {}, ""
    if diagnosis.proof is not None and diagnosis.proof.runs:
        from idjax.report.drawing import to_png
        from idjax.report.proof_figure import proof_figure

        figure, caption = proof_figure(diagnosis.proof)
        pictures["proof.png"] = to_png(figure)
    page = templates(pictures).get_template("report/program.html.jinja")
    parts = {"codes": _codes(diagnosis), "bars": _bars(diagnosis), "caption": caption}
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
