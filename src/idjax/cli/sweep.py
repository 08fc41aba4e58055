"""`idjax sweep`: theory against training over a grid, with a progress bar, a table and figures."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from idjax.types import IdjaxError

if TYPE_CHECKING:
    from idjax.sweeps.outcome import SweepOutcome

sweep_app = App(name="sweep", help="Hold theory against training at every point of a grid, or show what came of it.")


@sweep_app.default
def sweep(
    config: str,
    *,
    out: Path,
    cluster: str | None = None,
    part: str = "0/1",
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Predict and train every point of a sweep; go on where an earlier run of it was stopped.

    Exits 0 if every point keeps its bound, 1 if one does not, 2 on bad input.

    Parameters
    ----------
    config:
        A sweep that comes with idjax (mean_and_rate), or a Python file that ends in sweep = Sweep(...).
    out:
        Folder for the results (results.parquet) and the figures. The same folder goes on with the same sweep.
    cluster:
        Address of a dask scheduler, as tcp://10.0.0.1:8786: its workers compute.
    part:
        Which of several processes that share the folder this one is, as 0/2 and 1/2.
    quiet:
        Print no progress.
    json:
        Print the points as one JSON object on standard output, and nothing else there.
    """
    from idjax.report.progress import progress_bar
    from idjax.results import store
    from idjax.sweeps.config import load_sweep
    from idjax.sweeps.folder import Folder
    from idjax.sweeps.plan import costs
    from idjax.sweeps.run import here, run_sweep

    own = _part(part)
    folder = Folder(store.check_folder(out))
    asked, points = load_sweep(config)
    if not quiet:
        for line in costs(asked, points):
            print(line, file=sys.stderr)
    compute = here
    if cluster:
        from idjax.sweeps.cluster import on_cluster

        compute = on_cluster(cluster)
    try:
        with progress_bar(quiet) as progress:
            outcome = run_sweep(asked, points, folder, compute=compute, part=own, progress=progress)
    except KeyboardInterrupt:
        print(f"\nidjax: interrupted; finished points are kept in {out}: run it again to go on", file=sys.stderr)
        return 130
    return _show(folder.path, outcome, json)


@sweep_app.command
def show(folder: Path, *, json: bool = False) -> int:
    """Print the table of a finished sweep and draw its figures again.

    Parameters
    ----------
    folder:
        Where idjax sweep wrote its results.
    json:
        Print the points as one JSON object on standard output, and nothing else there.
    """
    from idjax.sweeps.folder import Folder

    return _show(folder, Folder(folder).read(), json)


def _part(text: str) -> tuple[int, int]:
    """Number of this process, and of all that share the folder, from "0/2"."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and int(number) < int(of)):
        raise IdjaxError(f"--part is {text}: give the number of this process from 0, and that of all, as 0/2")
    return int(number), int(of)


def _show(folder: Path, outcome: "SweepOutcome", json: bool) -> int:
    from idjax.results import store
    from idjax.sweeps import report

    store.write(folder, {f"figures/{name}": content for name, content in report.figures(outcome).items()})
    if json:
        print(store.to_json(outcome), end="")
    else:
        _print_table(outcome)
        print(f"{report.summary(outcome)}\nThe figures: {folder / 'figures'}")
    return 0 if outcome.holds else 1


def _print_table(outcome: "SweepOutcome") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from idjax.sweeps import report

    table = Table(title=outcome.title, box=box.SIMPLE_HEAD)
    for name in report.header(outcome):
        table.add_column(Text(name), justify="right", no_wrap=True)
    for row in report.rows(outcome):
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else 200, markup=False).print(table)
