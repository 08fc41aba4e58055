"""The command line: reads argv, calls the library, prints. Nothing heavy is imported before a command runs."""

import contextlib
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import cyclopts
from cyclopts import App, Parameter

import idjax
from idjax.cli.diagnose import diagnose, explain
from idjax.cli.flags import Data, Json, Target, sayer
from idjax.cli.sweep import sweep_app
from idjax.settings import Settings, check
from idjax.types import IdjaxError

if TYPE_CHECKING:
    from idjax.data import Dataset
    from idjax.published.outcomes import Outcome
    from idjax.types import Curve

app = App(
    name="idjax",
    version=idjax.__version__,
    help="Predict how fast one dense layer learns your data, before training it; then train it and compare.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app.command(sweep_app)
app.command(diagnose)
app.command(explain)

Flags = Annotated[Settings, Parameter(name="*")]
DEFAULTS = Settings()


@app.command
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


@app.command
def predict(
    data: Data,
    *,
    target: Target = None,
    settings: Flags = DEFAULTS,
    out: Path | None = None,
    json: Json = False,
    quiet: bool = False,
) -> int:
    """Say what training will do, from the moments of the data alone.

    Parameters
    ----------
    out:
        Folder for prediction.json and a figure.
    quiet:
        Print the summary without the epochs, and no progress.
    """
    from idjax.report.progress import progress_bar
    from idjax.results import store

    folder, dataset = _begin(data, target, settings, out)
    with progress_bar(quiet) as progress:
        curve = idjax.predict(dataset, settings, progress=progress)
    text = store.to_json({"data": dataset.source, "settings": settings, **store.curve_object(curve)})
    _save(folder, {"prediction.json": text}, curve, None)
    if json:
        print(text, end="")
    else:
        from idjax.report.prediction import prediction_lines

        print(*prediction_lines(dataset, settings, curve, quiet), sep="\n")
    return 0


@app.command
def train(
    data: Data,
    *,
    target: Target = None,
    settings: Flags = DEFAULTS,
    out: Path | None = None,
    resume: bool = False,
    checkpoint_every: float = 30.0,
    json: Json = False,
    quiet: bool = False,
) -> int:
    """Train the layer, with the predicted losses beside the measured ones where a prediction exists.

    Parameters
    ----------
    out:
        Folder for weights.msgpack (Flax variables), training.json and a figure; and for checkpoints on the way.
    resume:
        Go on from the checkpoint in --out, if there is one: bit for bit what an undisturbed run comes to.
    checkpoint_every:
        Seconds between checkpoints; one more is made on Ctrl-C.
    quiet:
        Print no line per epoch.
    """
    from idjax.nn.model import to_bytes
    from idjax.prediction.predict import NoTheoryError
    from idjax.report.comparison import prediction_error, progress_line, verdict
    from idjax.results import store
    from idjax.training.checkpoint import Checkpoints

    if resume and out is None:
        raise IdjaxError("--resume needs --out, the folder in which the training was kept")
    if not checkpoint_every >= 0:
        raise IdjaxError(f"--checkpoint-every is {checkpoint_every}: give seconds, zero or more")
    folder, dataset = _begin(data, target, settings, out)
    say = sayer(quiet)
    predicted, reason = None, None
    try:
        # Training waits for bands that take a moment, no longer.
        predicted = idjax.predict(dataset, settings, band=settings.optimizer == "sgd" and settings.epochs <= 10_000)
    except NoTheoryError as error:
        reason = str(error)
        say(reason)
    checkpointer = Checkpoints(folder / "checkpoint", dataset, settings, checkpoint_every, resume) if folder else None
    try:
        with checkpointer or contextlib.nullcontext():
            trained = idjax.train(
                dataset,
                settings,
                on_epoch=lambda progress: say(progress_line(progress, predicted)),
                checkpointer=checkpointer,
            )
    except KeyboardInterrupt:
        if checkpointer is None:
            raise
        print(f"\nidjax: interrupted; the training is kept in {out}: add --resume to go on", file=sys.stderr)
        return 130
    outcome = verdict(trained, predicted, settings.learned_at)
    text = store.to_json(
        {
            "data": dataset.source,
            "settings": settings,
            "measured": store.curve_object(trained),
            "predicted": store.curve_object(predicted) if predicted else None,
            "no_prediction": reason,
            "verdict": outcome,
            "provenance": store.provenance(),
        }
    )
    weights = to_bytes(trained.layers or trained.weights, settings.data_dtype)
    _save(folder, {"training.json": text, "weights.msgpack": weights}, predicted, trained)
    if checkpointer:
        checkpointer.clear()
    if json:
        print(text, end="")
    else:
        print(outcome)
        if predicted and math.isfinite(error := prediction_error(trained, predicted)):
            print(f"trained against predicted loss: within {error:.2%} at every epoch ({predicted.how})")
    return 0


@app.command
def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print a completion script: eval "$(idjax completion bash)" makes the shell complete commands and flags.

    Parameters
    ----------
    shell:
        The shell to write it for.
    """
    print(app.generate_completion(shell=shell))
    return 0


def _begin(data: str, target: str | None, settings: Settings, out: Path | None) -> "tuple[Path | None, Dataset]":
    from idjax.results import store

    check(settings)
    folder = store.check_folder(out) if out else None
    return folder, idjax.load(data, target, settings.data_dtype)


def _save(folder: Path | None, files: dict[str, Any], predicted: "Curve | None", trained: "Curve | None") -> None:
    if folder is None:
        return
    from idjax.report.curves import curve_figure
    from idjax.report.drawing import to_png
    from idjax.results import store

    store.write(folder, {**files, "curve.png": to_png(curve_figure(predicted, trained))})


def _print_table(outcomes: "list[Outcome]") -> None:
    from rich.console import Console
    from rich.table import Table

    from idjax.published.tables import HEADER, summary_rows

    table = Table(*HEADER, show_lines=True)
    for row in summary_rows(outcomes):
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160, markup=False).print(table)


def main(argv: list[str] | None = None) -> None:
    """Runs a command; exits 0, 1 where a published claim does not hold, 2 on bad input, 130 on Ctrl-C."""
    try:
        status = app(
            sys.argv[1:] if argv is None else argv,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        _fail(f"{' '.join(str(error).split())} (idjax --help lists what there is)")
    except IdjaxError as error:
        _fail(str(error))
    except MemoryError:
        _fail("not enough memory for these data and settings: use fewer rows or columns")
    except BrokenPipeError:
        # The reader of our output has gone (as `head` does): no more can be said, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("\nidjax: interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> NoReturn:
    print(f"idjax: error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
