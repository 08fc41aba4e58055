"""`idjax reproduce`: the published question replayed, with a table and a report."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        Train the attempts 200 epochs rather than 20.
    quiet:
        Print no progress.
    json:
        Print results.json on standard output, and nothing else there.
    """
    from idjax.published import page
    from idjax.published.reproduce import ORDER, load_experiment, outcome_object
    from idjax.published.reproduce import reproduce as run
    from idjax.report.progress import progress_bar
    from idjax.results import store

    folder = store.check_folder(out)
    for name in names:
        load_experiment(name)
    begin = time.perf_counter()
    with progress_bar(quiet) as progress:
        outcomes = run(names or ORDER, full=full, progress=progress)
    seconds = time.perf_counter() - begin
    provenance = store.provenance()
    html, figures = page.render(outcomes, provenance, seconds)
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


def _print_table(outcomes: "list[Outcome]") -> None:
    from rich.console import Console
    from rich.table import Table

    from idjax.published.tables import HEADER, summary_rows

    table = Table(*HEADER, show_lines=True)
    for row in summary_rows(outcomes):
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160, markup=False).print(table)
