"""Outcomes → one HTML page that needs no network: figures are inside it, and there is no script."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from idjax.published import figures
from idjax.published.outcomes import ExperimentOutcome, Outcome, RunOutcome, ScanOutcome
from idjax.published.tables import summary_rows
from idjax.report import formatting
from idjax.report.drawing import to_png
from idjax.report.templates import templates

MANY = 6
"""Experiments of more runs than this share one figure and one table."""

FINDINGS = {
    "identity_start": "Put at the identity, the layer makes no error at all, so the answer is within its reach. What "
    "follows is about finding it.",
    "narrow_normal": "The loss falls to a few millionths because the numbers themselves vary by little more than a "
    "thousandth. The layer has learned their mean; for the rest it answers each row with a random mixture of its "
    "features, which is worse than no mixture at all.",
    "attempts": "None of the changes touches the cause, which is in the data.",
    "adam": "Adam divides each gradient by its usual size. Here nearly all of a gradient is that of the mean, and is "
    "the same for all weights into an output. So Adam moves these weights together, by steps that do not get smaller "
    "as their common error does: they overshoot the mean, and the loss stalls where the gradients of the overshoot "
    "hold it. In the long run this is at (η |μ|₁ (1 - β₁) ⁄ (2 (1 + β₁)))², η the learning rate, |μ|₁ the sum of the "
    "means: neither how little the data vary nor the batch size is in it. All other directions learn at a speed of "
    "2 (1 + β₁) ⁄ ((1 - β₁) |μ|₁) times the variance along them: the learning rate is not in it. So a smaller rate "
    "lowers the stall and speeds nothing up; a rate that decays to 0 takes the stall away at its end; a β₁ nearer to 1 "
    "lowers it and learns faster as well.",
    "unit_uniform": "Numbers from 0 to 1 vary by 0.29 around a mean of 0.5, not by 0.001 around 1.1: their slow "
    "directions are learned 54,000 times faster. Even so the published run was not finished after its 100 epochs.",
    "unit_uniform_5": "Keras divides the loss by the number of outputs, so at one learning rate 84 of them learn 84 "
    "times more slowly than one. With 5 the same rate is enough to finish.",
    "fixed": "Standardising gives every direction the same size, so one learning rate suits all. It must fit the units "
    "in which the loss is measured: in original units gradients are 650,000 times smaller.",
}
"""What each experiment shows where its claims hold; the numbers that vary are beside it, from the outcomes."""


def render(outcomes: Sequence[Outcome], provenance: Mapping[str, str], seconds: float) -> tuple[str, dict[str, bytes]]:
    """The page, and its figures as named PNG files."""
    pictures: dict[str, bytes] = {}
    sections = [_section(outcome, pictures) for outcome in outcomes]
    environment = templates(pictures)
    environment.filters["final_loss"] = formatting.final_loss
    page = environment.get_template("report.html.jinja").render(
        sections=sections, summary=_summary(outcomes), provenance=provenance, seconds=seconds
    )
    return page, pictures


def _section(outcome: Outcome, pictures: dict[str, bytes]) -> dict[str, Any]:
    """What the template needs of an experiment; its figures are added to `pictures`."""

    def picture(name: str, figure: Figure, caption: str) -> dict[str, str]:
        pictures[f"{name}.png"] = to_png(figure)
        return {"name": f"{name}.png", "caption": caption}

    cells = [row[1:-1] for row in summary_rows([outcome])]
    if isinstance(outcome, ScanOutcome):
        scan = outcome.scan
        shown = [picture(scan.name, figures.variance_figure(outcome), SCAN_CAPTION)]
        rows = [("all points", *cells[0], outcome.holds)]
        return {"kind": "scan", "about": scan, "outcome": outcome, "rows": rows, "pictures": shown}
    experiment, many = outcome.experiment, len(outcome.runs) > MANY
    return {
        "kind": "many" if many else "few",
        "about": experiment,
        "outcome": outcome,
        "finding": FINDINGS.get(experiment.name, "") if outcome.holds else "",
        "rows": [(run.run.label, *found, run.holds) for run, found in zip(outcome.runs, cells, strict=True)],
        "pictures": [picture(experiment.name, figures.attempts_figure(outcome), ATTEMPTS_CAPTION)] if many else [],
        "runs": [] if many else [
            {"outcome": run, "pictures": [picture(*drawn) for drawn in _draw(outcome, index)]}
            for index, run in enumerate(outcome.runs)
        ],
        "kernel": _kernel_lines(outcome),
        "lines": _published_lines(outcome),
        "shared": _shared(outcome),
        "foretold": _foretold(outcome),
        "reasons": sorted({run.no_prediction for run in outcome.runs if run.predicted is None and run.no_prediction}),
    }  # fmt: skip


def _shared(outcome: ExperimentOutcome) -> list[str]:
    """What all runs of an experiment have in common, in words."""
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
    if run.trained.explained_variance[-1] >= run.settings.learned_at:
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
    if predicted is None:
        told = ["The circles are the training; there is no theory for this run yet."]
    if predicted is not None and predicted.train_band is not None:
        told.append("The shade holds 95% of random starts; where it is not seen, it is as narrow as the line.")
    if outcome.experiment.published:
        told.append("Crosses are the published log, which began at another random start.")
    if trained.explained_variance[-1] < 0 and figures.loss_of_mean(run) is not None:
        told.append("The loss stays above the dashed line: always answering the mean would do better.")
    if predicted is not None and formatting.final_loss(trained) > 10 * formatting.final_loss(predicted):
        told.append(f"The circles leave the line where {run.settings.dtype} rounds: exact arithmetic would go on.")
    return " ".join(told)


def _kernel_lines(outcome: ExperimentOutcome) -> list[str]:
    """A single run's kernel as it prints, if it is small enough to be read."""
    kernel = outcome.runs[0].trained.weights.kernel
    if len(outcome.runs) > 1 or max(kernel.shape) > 8:
        return []
    return ["  ".join(f"{value:6.3f}" for value in row) for row in np.round(kernel, 3) + 0.0]


def _foretold(outcome: ExperimentOutcome) -> list[dict[str, Any]]:
    """Training losses predicted and trained, and predicted for the long run, where an experiment looks that far."""
    if all(run.long_run is None for run in outcome.runs):
        return []
    return [
        {
            "label": run.run.label,
            "epochs": run.settings.epochs,
            "predicted": float(run.predicted.train[-1]) if run.predicted else math.nan,
            "trained": float(run.trained.train[-1]),
            "epochs_later": len(run.long_run.epoch) if run.long_run else None,
            "later": float(run.long_run.train[-1]) if run.long_run else math.nan,
            "explained_later": float(run.long_run.explained_variance[-1]) if run.long_run else math.nan,
        }
        for run in outcome.runs
    ]


def _published_lines(outcome: ExperimentOutcome) -> list[dict[str, Any]]:
    """Published beside predicted, with the band over starts, and trained; NaN where a run was shorter."""
    run = outcome.runs[0]

    def at(values: Any, epoch: int) -> float:
        return float(values[epoch - 1]) if values is not None and epoch <= len(values) else math.nan

    lines = []
    for line in outcome.experiment.published:
        for name, field in (("training", "train"), ("validation", "validation")):
            band = run.predicted and getattr(run.predicted, f"{field}_band")
            lines.append(
                {
                    "epoch": line.epoch,
                    "name": name,
                    "published": getattr(line, field),
                    "predicted": at(run.predicted and getattr(run.predicted, field), line.epoch),
                    "low": at(band and band.low, line.epoch),
                    "high": at(band and band.high, line.epoch),
                    "trained": at(getattr(run.trained, field), line.epoch),
                }
            )
    return lines


def _summary(outcomes: Sequence[Outcome]) -> list[str]:
    """The story in a few sentences, each from an experiment that was run."""
    runs = {outcome.experiment.name: outcome.runs for outcome in outcomes if isinstance(outcome, ExperimentOutcome)}
    told = []
    if "identity_start" in runs and runs["identity_start"][0].holds:
        told.append("Started at the identity, the layer has a loss of exactly 0: it can hold the answer.")
    if "narrow_normal" in runs:
        run = runs["narrow_normal"][0]
        told.append(
            f"Started at random, it reaches a loss of {formatting.number(formatting.final_loss(run.trained), 3)} in "
            f"{run.settings.epochs:,} epochs. Held against how little the data vary, the verdict is “{run.verdict}”."
        )
        if run.predicted is not None:
            told.append(
                "The cause is known before training: the numbers vary very little around a large mean, and gradient "
                "descent learns a direction at a speed proportional to the variance along it. At this learning rate "
                f"the predicted time is {formatting.number(run.predicted.steps_to_learn)} steps, or "
                f"{formatting.number(run.predicted.epochs_to_learn)} epochs."
            )
    if "attempts" in runs:
        learned = sum(run.trained.explained_variance[-1] >= run.settings.learned_at for run in runs["attempts"])
        told.append(
            f"Of {len(runs['attempts'])} other optimizers, losses, penalties and activations, "
            f"{learned or 'none'} {'learns' if learned <= 1 else 'learn'} it."
        )
    if "adam" in runs:
        told += _adam_sentences(runs["adam"])
    if "fixed" in runs:
        does = [r for r in runs["fixed"] if r.trained.explained_variance[-1] >= r.settings.learned_at]
        told.append(
            "The cure is to standardise each sample inside the model and undo it at the output, and to take steps "
            f"that fit the units of the loss. With it, these learn: {'; '.join(r.run.label for r in does) or 'none'}."
        )
    told += [_scan_sentence(outcome) for outcome in outcomes if isinstance(outcome, ScanOutcome)]
    if all(outcome.holds for outcome in outcomes):
        told.append("Everything claimed below was checked in this run, and holds.")
    else:
        told.append("NOT everything claimed below holds in this run: see the marks in the table.")
    return told


def _adam_sentences(runs: Sequence[RunOutcome]) -> list[str]:
    """Where Adam is predicted to stall on the data, and on data that vary less; and what makes it learn."""
    first = runs[0]
    narrow = next((run for run in runs if run.run.spread < 1 and run.settings == first.settings), None)
    told = []
    if first.long_run is not None and narrow is not None and narrow.long_run is not None:
        told.append(
            f"Adam is predicted to stall at a loss of {formatting.number(first.long_run.train[-1], 2)} on these data, "
            f"and at {formatting.number(narrow.long_run.train[-1], 2)} on data that vary "
            f"{formatting.number(narrow.run.spread)} times as much (trained: "
            f"{formatting.number(narrow.trained.train[-1], 2)}): its steps overshoot the mean by as much whatever the "
            "variance of the data."
        )
    for run in runs:
        predicted, trained = run.predicted, run.trained
        if predicted is not None and math.isfinite(predicted.epochs_to_learn + trained.epochs_to_learn):
            told.append(
                f"Adam with {run.run.label} learns the data as they are: predicted within "
                f"{formatting.number(predicted.epochs_to_learn, 3)} epochs, trained within "
                f"{formatting.number(trained.epochs_to_learn, 3)}."
            )
    return told


def _scan_sentence(outcome: ScanOutcome) -> str:
    measured = sum(point.kind != "beyond float64" for point in outcome.points)
    return (
        f"Over {measured} combinations of deviation and normalisation, the predicted and the measured number of steps "
        f"differ by at most {formatting.number(100 * outcome.worst, 2)}%."
    )
