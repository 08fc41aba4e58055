"""The HTML page of the published question, which needs no network: figures are inside it, and there is no script."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from idjax.published import figures
from idjax.published.claims import Evidence, published_lines
from idjax.published.outcomes import ExperimentOutcome, Outcome, RunOutcome, ScanOutcome
from idjax.published.tables import summary_rows
from idjax.report import formatting
from idjax.report.drawing import to_png
from idjax.report.templates import templates


def render(
    outcomes: Sequence[Outcome], provenance: Mapping[str, str], seconds: float, full: bool = False
) -> tuple[str, dict[str, bytes]]:
    """The page, and its figures as named PNG files; full says that nothing long was left out."""
    pictures: dict[str, bytes] = {}
    sections = [_section(outcome, pictures) for outcome in outcomes]
    runs = {outcome.experiment.name: outcome.runs for outcome in outcomes if isinstance(outcome, ExperimentOutcome)}
    page = templates(pictures).get_template("published/page.html.jinja")
    return page.render(
        sections=sections,
        outcomes=outcomes,
        runs=runs,
        provenance=provenance,
        seconds=seconds,
        full=full,
        shortened=[] if full else [words for outcome in outcomes if (words := _left_to_full(outcome))],
    ), pictures


def _section(outcome: Outcome, pictures: dict[str, bytes]) -> dict[str, Any]:
    """One experiment as the template takes it; its figures are added to `pictures`."""

    def picture(name: str, figure: Figure, caption: str) -> dict[str, str]:
        pictures[f"{name}.png"] = to_png(figure)
        return {"name": f"{name}.png", "caption": caption}

    cells = [row[1:-1] for row in summary_rows([outcome])]
    if isinstance(outcome, ScanOutcome):
        scan = outcome.scan
        shown = [picture(scan.name, figures.variance_figure(outcome), SCAN_CAPTION)]
        rows = [("all points", *cells[0], outcome.holds)]
        return {"kind": "scan", "about": scan, "outcome": outcome, "rows": rows, "pictures": shown}
    experiment, many, first = outcome.experiment, outcome.experiment.many, outcome.runs[0]
    return {
        "kind": "many" if many else "few",
        "about": experiment,
        "outcome": outcome,
        "finding": experiment.answer if outcome.holds else "",
        "rows": [(run.run.label, *found, run.holds) for run, found in zip(outcome.runs, cells, strict=True)],
        "pictures": [picture(experiment.name, figures.attempts_figure(outcome), ATTEMPTS_CAPTION)] if many else [],
        "runs": [] if many else [
            {"outcome": run, "pictures": [picture(*drawn) for drawn in _draw(outcome, index)]}
            for index, run in enumerate(outcome.runs)
        ],
        "kernel": _kernel_lines(outcome),
        "lines": published_lines(Evidence(first.trained, first.predicted, experiment.published)),
        "shared": _shared(outcome),
        "foretold": any(run.long_run is not None for run in outcome.runs),
    }  # fmt: skip


def _left_to_full(outcome: Outcome) -> str:
    """Words for the part of an experiment that `--full` trains longer."""
    if isinstance(outcome, ScanOutcome):
        scan = outcome.scan
        longer = f"more than {scan.most_steps:,.0f} and up to {scan.full_steps:,.0f} steps"
        return f"{scan.name}, points of {longer} trained to the end, not extrapolated"
    epochs = outcome.experiment.full_epochs
    return f"{outcome.experiment.name}, {epochs} epochs of each" if epochs else ""


def _shared(outcome: ExperimentOutcome) -> list[str]:
    """The settings that all runs of an experiment have in common, in words."""
    first, *others = [formatting.settings_parts(run.settings) for run in outcome.runs]
    return [part for part in first if all(part in parts for parts in others)]


def _draw(outcome: ExperimentOutcome, index: int) -> list[tuple[str, Figure, str]]:
    """Name, figure and caption of each figure of a run. Losses of exactly 0 are said in words, not drawn."""
    run, experiment = outcome.runs[index], outcome.experiment
    name = experiment.name if len(outcome.runs) == 1 else f"{experiment.name}-{index + 1}"
    drawn = []
    if run.samples is not None:
        drawn.append((f"{name}-samples", figures.samples_figure(run), _samples_caption(run)))
    if run.trained.train.any():
        drawn.append((f"{name}-loss", figures.loss_figure(run, experiment.published), _loss_caption(outcome, run)))
    return drawn


SCAN_CAPTION = (
    "How many steps gradient descent needs, against how much the inputs vary. Raw and centred inputs need a hundred "
    "times more steps for every tenfold smaller deviation: at the published data far more than were tried. "
    "Standardised per feature or per sample, with the loss in the same units, they need the same number whatever "
    "the deviation. Thin dashed lines lie on broad pale ones where two of them agree."
)
ATTEMPTS_CAPTION = (
    "Each attempt against the answer that knows only the mean. Right of the dashed line it is worse than that answer; "
    "in the shaded strip it would count as learned. The scale is logarithmic."
)


def _samples_caption(run: RunOutcome) -> str:
    if run.learned:
        return "Rows that training never saw. The output lies on the input."
    if run.trained.explained_variance[-1] > 0.5:
        return "Rows that training never saw. The output follows the input, not yet closely."
    return (
        "Rows that training never saw. The output stays near the mean, so its error is small, but its ups and "
        "downs have nothing to do with those of the input."
    )


def _loss_caption(outcome: ExperimentOutcome, run: RunOutcome) -> str:
    trained, predicted = run.trained, run.predicted
    told = ["The line was predicted before training, the circles are the training."]
    if predicted.train_band is not None:
        told.append("The shade holds 95% of random starts; where it is not seen, it is as narrow as the line.")
    if outcome.experiment.published:
        told.append("Crosses are the published log, which began at another random start.")
    if trained.explained_variance[-1] < 0 and figures.loss_of_mean(run) is not None:
        told.append("The loss stays above the dashed line: always answering the mean would do better.")
    if formatting.final_loss(trained) > 10 * formatting.final_loss(predicted):
        told.append(f"The circles leave the line where {run.settings.dtype} rounds: exact arithmetic would go on.")
    return " ".join(told)


def _kernel_lines(outcome: ExperimentOutcome) -> list[str]:
    """A single run's kernel as it prints, if it is small enough to be read."""
    kernel = outcome.runs[0].trained.weights.kernel
    if len(outcome.runs) > 1 or max(kernel.shape) > 8:
        return []
    return ["  ".join(f"{value:6.3f}" for value in row) for row in np.round(kernel, 3) + 0.0]
