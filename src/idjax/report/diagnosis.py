"""A diagnosis → one HTML page that needs no network and no script, or a fragment of one for a notebook."""

from collections.abc import Mapping
from typing import Any

import jinja2
import markupsafe

from idjax.report import diagnosis_figures as figures
from idjax.report import formatting as words
from idjax.report.drawing import to_png
from idjax.report.probe import HEADER, probe_rows, probe_words
from idjax.report.templates import templates
from idjax.results.outcomes import Diagnosis


def render(diagnosis: Diagnosis, provenance: Mapping[str, str]) -> tuple[str, dict[str, bytes]]:
    """The page, and its figures as named PNG files."""
    drawn = {"spectrum": figures.spectrum_figure(diagnosis)}
    if diagnosis.before is not None:
        drawn["budget"] = figures.budget_figure(diagnosis)
    if diagnosis.samples is not None and diagnosis.samples.target.size:
        drawn["samples"] = figures.samples_figure(diagnosis.samples)
    if figures.has_proof(diagnosis):
        drawn["proof"] = figures.proof_figure(diagnosis)
    pictures = {f"{name}.png": to_png(figure) for name, (figure, _) in drawn.items()}
    captions = {name: caption for name, (_, caption) in drawn.items()}
    page = _environment(pictures).get_template("diagnosis.html.jinja")
    return page.render(**_facts(diagnosis), captions=captions, provenance=provenance), pictures


def notebook_html(diagnosis: Diagnosis) -> str:
    """A fragment with styles of its own: the verdict, the findings, the prescriptions and the best one's code."""
    return _environment({}).get_template("notebook.html.jinja").render(**_facts(diagnosis))


def _facts(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "diagnosis": diagnosis,
        "findings": words.ordered(diagnosis.findings),
        "nothing": words.nothing_words(diagnosis),
        "probe_words": probe_words(diagnosis.probe) if diagnosis.probe else [],
        "probe_header": HEADER,
        "probe_rows": probe_rows(diagnosis.probe) if diagnosis.probe else [],
    }


def _environment(pictures: Mapping[str, bytes]) -> jinja2.Environment:
    environment = templates(pictures)
    # Names of the data are in messages, evidence and fixes: whatever is put in shows itself and does nothing else.
    environment.finalize = lambda value: words.visible(value) if type(value) is str else value
    environment.filters.update(
        prescription=words.prescription_words,
        measured=words.measured_words,
        predicted=words.predicted_words,
        evidence=words.evidence_words,
        cost=words.cost_words,
        factor=words.factor_words,
        epochs=words.epochs_words,
        program=markupsafe.escape,
    )
    return environment
