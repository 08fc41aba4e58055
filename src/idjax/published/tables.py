"""The summary table: one row for each run, as the terminal and the page show it."""

from collections.abc import Sequence

from idjax.published.outcomes import Outcome, RunOutcome, ScanOutcome
from idjax.report.formatting import ending

HEADER = ("experiment", "predicted", "trained", "published", "verdict", "")


def summary_rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Experiment and run, predicted, trained, published, verdict, and whether the claims hold."""
    rows: list[tuple[str, ...]] = []
    for outcome in outcomes:
        if isinstance(outcome, ScanOutcome):
            rows.append(_scan_row(outcome))
            continue
        name = outcome.experiment.name
        for index, run in enumerate(outcome.runs):
            title = name if len(outcome.runs) == 1 else f"{name}: {run.run.label}"
            published = outcome.experiment.published_words if index == 0 else ""
            rows.append((title, ending(run.predicted), ending(run.trained), published, run.verdict, _mark(run.holds)))
    return rows


def result_line(name: str, run: RunOutcome) -> str:
    """One run in one line, for those who wait for the table."""
    return f"{name}: predicted {ending(run.predicted)}; trained {ending(run.trained)}; {_mark(run.holds)}"


def _scan_row(outcome: ScanOutcome) -> tuple[str, ...]:
    measured = [point for point in outcome.points if point.kind != "beyond float64"]
    trained = sum(point.kind == "trained" for point in measured)
    return (
        outcome.scan.name,
        f"{len(outcome.points)} points",
        f"{trained} trained, {len(measured) - trained} extrapolated",
        "",
        f"predicted and measured steps to learn agree within {outcome.worst:.2g} (relative) at every measured point",
        _mark(outcome.holds),
    )


def _mark(holds: bool) -> str:
    return "as claimed" if holds else "NOT as claimed"
