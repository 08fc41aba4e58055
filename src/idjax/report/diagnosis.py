"""The HTML page of a diagnosis of data, which needs no network and no script, and its fragment for a notebook."""

from collections.abc import Mapping
from typing import Any

from idjax.report import diagnosis_figures, formatting
from idjax.report.drawing import to_png
from idjax.report.probe import HEADER, probe_rows, probe_words
from idjax.report.templates import templates
from idjax.results.diagnosis import Diagnosis


def render(diagnosis: Diagnosis, provenance: Mapping[str, str]) -> tuple[str, dict[str, bytes]]:
    """The page, and its figures as named PNG files."""
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
    return page.render(**_facts(diagnosis), captions=captions, provenance=provenance), pictures


def notebook_html(diagnosis: Diagnosis) -> str:
    """A fragment with styles of its own: the verdict, the findings, the prescriptions and the best one's code."""
    return templates().get_template("report/notebook.html.jinja").render(**_facts(diagnosis))


def _facts(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "diagnosis": diagnosis,
        "findings": formatting.ordered(diagnosis.findings),
        "nothing": formatting.nothing_words(diagnosis),
        "probe_words": probe_words(diagnosis.probe) if diagnosis.probe else [],
        "probe_header": HEADER,
        "probe_rows": probe_rows(diagnosis.probe) if diagnosis.probe else [],
    }
