"""`idjax reproduce`: the published question replayed, with a table and a report."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idjax.published.experiments import Experiment, VarianceScan
    from idjax.published.outcomes import Outcome


def reproduce(
    *names: str,
    out: Path = Path("results/published"),
    full: bool = False,
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Replay the published question: predict each run, train it, and write a report.

    Parameters
    ----------
    names:
        Experiments to run; all of them if none is named.
    out:
        Folder for report.html, results.json and the figures.
    full:
        With the long trainings: the attempts for 200 epochs rather than 20, and points of the variance scan to their
        end that need up to 2 million steps rather than 100,000.
    quiet:
        Print no progress, and no results before the table.
    json:
        Print results.json on standard output, and nothing else there.
    """
    from idjax.published.reproduce import ORDER, at_length, load_experiment, outcome_object
    from idjax.results import store

    folder = store.check_folder(out)
    experiments = [at_length(load_experiment(name), full) for name in names or ORDER]
    begin = time.perf_counter()
    outcomes = _replay(experiments, quiet)
    seconds = time.perf_counter() - begin
    from idjax.published import page  # it brings Matplotlib, for which no run should wait

    provenance = store.provenance()
    html, figures = page.render(outcomes, provenance, seconds, full)
    results = store.to_json(
        {
            "provenance": provenance,
            "seconds": seconds,
            "experiments": [outcome_object(outcome) for outcome in outcomes],
        }
    )
    store.write(
        folder,
        {"report.html": html, "results.json": results, **{f"figures/{k}": v for k, v in figures.items()}},
    )
    if json:
        print(results, end="")
    else:
        _print_table(outcomes)
        print(f"\nThe report: {folder / 'report.html'}   ({seconds:.0f} s)")
    return 0 if all(outcome.holds for outcome in outcomes) else 1


def _replay(experiments: "Sequence[Experiment | VarianceScan]", quiet: bool) -> "list[Outcome]":
    """Outcomes of the experiments, with progress and each result on standard error; Ctrl-C ends the process at once."""
    from idjax.published.reproduce import replay
    from idjax.report.progress import progress_bar

    try:
        with progress_bar(quiet) as progress:
            return replay(experiments, progress, (lambda *_: None) if quiet else _print_result)
    except KeyboardInterrupt:
        # A thread in a compiled program or a prediction hears nothing: the process ends without waiting for it.
        print("\nidjax: interrupted; nothing was written", file=sys.stderr, flush=True)
        os._exit(130)


def _print_result(name: str, result: object) -> None:
    from idjax.published.outcomes import RunOutcome
    from idjax.published.tables import result_line

    if isinstance(result, RunOutcome):
        print(f"idjax: {result_line(name, result)}", file=sys.stderr, flush=True)


def _print_table(outcomes: "list[Outcome]") -> None:
    from rich.console import Console
    from rich.table import Table

    from idjax.published.tables import HEADER, summary_rows

    table = Table(*HEADER, show_lines=True)
    for row in summary_rows(outcomes):
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160, markup=False).print(table)
