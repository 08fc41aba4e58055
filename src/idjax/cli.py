"""The command line: reads argv, calls the library, prints. Nothing heavy is imported before a command runs."""

import contextlib
import math
import os
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import cyclopts
from cyclopts import App, Parameter

import idjax
from idjax.settings import DiagnosisSettings, Settings, check
from idjax.sweep_cli import sweep_app
from idjax.types import IdjaxError

if TYPE_CHECKING:
    from idjax.data import Dataset
    from idjax.outcomes import Outcome
    from idjax.types import Curve

app = App(
    name="idjax",
    version=idjax.__version__,
    help="Predict how fast one dense layer learns your data, before training it; then train it and compare.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app.command(sweep_app)

Data = Annotated[
    str,
    Parameter(help="A built-in set (narrow-normal, unit-uniform, unit-uniform-5) or an .npy, .npz or .csv file."),
]
Target = Annotated[
    str | None,
    Parameter(
        help="What to learn, if it is not the data: a file with as many rows, or column names separated by commas."
    ),
]
Json = Annotated[bool, Parameter(help="Print one JSON object on standard output, and nothing else there.")]
Flags = Annotated[Settings, Parameter(name="*")]
DEFAULTS = Settings()
DIAGNOSED = DiagnosisSettings()


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
    from idjax import store
    from idjax.report import page
    from idjax.reproduce import ORDER, load_experiment, outcome_object
    from idjax.reproduce import reproduce as run

    folder = store.check_folder(out)
    for name in names:
        load_experiment(name)
    begin = time.perf_counter()
    outcomes = run(names or ORDER, full=full, say=_sayer(quiet))
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
    from idjax import store
    from idjax.report.terminal import progress_bar

    folder, dataset = _begin(data, target, settings, out)
    with progress_bar(quiet) as progress:
        curve = idjax.predict(dataset, settings, progress=progress)
    text = store.to_json({"data": dataset.source, "settings": settings, **store.curve_object(curve)})
    _save(folder, {"prediction.json": text}, curve, None)
    if json:
        print(text, end="")
    else:
        from idjax.prediction_text import prediction_lines

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
    from idjax import store
    from idjax.checkpoint import Checkpoints
    from idjax.compare import Pair, prediction_error, progress_line, verdict
    from idjax.model import to_bytes
    from idjax.prediction import NoTheoryError

    if resume and out is None:
        raise IdjaxError("--resume needs --out, the folder in which the training was kept")
    if not checkpoint_every >= 0:
        raise IdjaxError(f"--checkpoint-every is {checkpoint_every}: give seconds, zero or more")
    folder, dataset = _begin(data, target, settings, out)
    say = _sayer(quiet)
    predicted, reason = None, None
    try:
        # Training waits for bands that take a moment, no longer.
        predicted = idjax.predict(dataset, settings, band=settings.optimizer == "sgd" and settings.epochs <= 10_000)
    except NoTheoryError as error:
        reason = str(error)
        say(reason)
    keeper = Checkpoints(folder / "checkpoint", dataset, settings, checkpoint_every, resume) if folder else None
    try:
        with keeper or contextlib.nullcontext():
            trained = idjax.train(
                dataset, settings, on_epoch=lambda progress: say(progress_line(progress, predicted)), keeper=keeper
            )
    except KeyboardInterrupt:
        if keeper is None:
            raise
        print(f"\nidjax: interrupted; the training is kept in {out}: add --resume to go on", file=sys.stderr)
        return 130
    pair = Pair(trained, predicted)
    text = store.to_json(
        {
            "data": dataset.source,
            "settings": settings,
            "measured": store.curve_object(trained),
            "predicted": store.curve_object(predicted) if predicted else None,
            "no_prediction": reason,
            "verdict": verdict(pair, settings.learned_at),
            "provenance": store.provenance(),
        }
    )
    weights = to_bytes(trained.layers or trained.weights, settings.data_dtype)
    _save(folder, {"training.json": text, "weights.msgpack": weights}, predicted, trained)
    if keeper:
        keeper.clear()
    if json:
        print(text, end="")
    else:
        print(verdict(pair, settings.learned_at))
        if predicted and math.isfinite(prediction_error(pair)):
            print(
                f"trained against predicted loss: within {prediction_error(pair):.2%} at every epoch ({predicted.how})"
            )
    return 0


@app.command
def diagnose(
    data: Data | None = None,
    *,
    model: str | None = None,
    target: Target = None,
    columns: str | None = None,
    labels: bool = False,
    missing: Literal["refuse", "drop"] = "refuse",
    settings: Annotated[DiagnosisSettings, Parameter(name="*")] = DIAGNOSED,
    budget: float | None = None,
    prove: bool = False,
    select: str | None = None,
    ignore: str | None = None,
    out: Path | None = None,
    json: Json = False,
    quiet: bool = False,
) -> int:
    """Say why gradient descent will not learn these data, or this model, with these settings, and what would.

    Exits 0 with nothing found, 1 with findings that are causes, 2 on bad input. Codes are explained by idjax explain.

    Parameters
    ----------
    model:
        A Flax model in place of data, as package.module:factory; the factory returns (model, params, batch, loss).
    columns:
        The columns of x by name, with commas; all that are no target if not given.
    labels:
        Take the target's one column for class labels, as words always are.
    missing:
        Refuse rows with missing values, or drop them.
    budget:
        Epochs that training may take; --epochs if not given. Fractions are fine.
    prove:
        Train the settings as given and the best three prescriptions under the same budget.
    select:
        Only the findings of these codes, with commas.
    ignore:
        All findings but those of these codes, with commas.
    out:
        Folder for report.html, diagnosis.json and the figures.
    quiet:
        Print no progress.
    """
    if (data is None) == (model is None):
        raise IdjaxError("diagnose: give DATA, or --model package.module:factory")
    if model is not None:
        return _diagnose_model(model, settings, select, ignore, out, json, quiet)
    from idjax import store
    from idjax.diagnosis import EXPLANATIONS
    from idjax.diagnosis import diagnose as look

    folder = store.check_folder(out) if out else None
    chosen = _codes(select, EXPLANATIONS) if select is not None else frozenset(EXPLANATIONS)
    codes = chosen - _codes(ignore or "", EXPLANATIONS)
    found = look(
        data, settings, target=target, columns=columns, missing=missing, labels=labels, budget=budget, codes=codes,
        proven=prove, say=_sayer(quiet),
    )  # fmt: skip
    text = store.to_json(store.diagnosis_object(found))
    if folder:
        from idjax.report.diagnosis import render

        html, figures = render(found, store.provenance())
        files = {"report.html": html, "diagnosis.json": text, **{f"figures/{k}": v for k, v in figures.items()}}
        store.write(folder, files)
    if json:
        print(text, end="")
    else:
        from rich.console import Console

        from idjax.report.terminal import diagnosis_text

        Console(width=None if sys.stdout.isatty() else 100, markup=False, highlight=False).print(diagnosis_text(found))
        if folder:
            print(f"\nThe report: {folder / 'report.html'}")
    return 1 if found.causes else 0


def _diagnose_model(
    name: str, settings: Settings, select: str | None, ignore: str | None, out: Path | None, json: bool, quiet: bool
) -> int:
    from rich.console import Console

    from idjax import store
    from idjax.models import EXPLANATIONS
    from idjax.models.loading import load_factory
    from idjax.report.model import render
    from idjax.report.terminal import model_text, progress_bar

    folder = store.check_folder(out) if out else None
    chosen = _codes(select, EXPLANATIONS) if select is not None else frozenset(EXPLANATIONS)
    codes = chosen - _codes(ignore or "", EXPLANATIONS)
    given = load_factory(name)
    with progress_bar(quiet) as progress:
        found = idjax.diagnose_model(**given, settings=settings, codes=codes, source=name, progress=progress)
    text = store.to_json(found)
    if folder:
        store.write(folder, {"report.html": render(found, store.provenance()), "diagnosis.json": text})
    if json:
        print(text, end="")
    else:
        width = None if sys.stdout.isatty() else 100
        Console(width=width, markup=False, highlight=False).print(model_text(found))
        if folder:
            print(f"\nThe report: {folder / 'report.html'}")
    return 1 if found.causes else 0


def _codes(text: str, known: Mapping[str, Any]) -> frozenset[str]:
    from idjax.data.dataset import suggestion

    codes = frozenset(part.strip() for part in text.split(",") if part.strip())
    for code in sorted(codes - known.keys()):
        raise IdjaxError(f"{code}: no finding has this code; {suggestion(code, list(known))}")
    return codes


@app.command
def explain(code: str | None = None) -> int:
    """Print what a finding of idjax diagnose means: formula, source, example and fix; all codes if none is given.

    Parameters
    ----------
    code:
        Such as mean-dominated.
    """
    from idjax import diagnosis, models

    explanations = {**diagnosis.EXPLANATIONS, **models.EXPLANATIONS}
    if code is None:
        for known in explanations.values():
            print(f"{known.code:<20} {known.kind:<12} {known.title}")
        return 0
    (known,) = (explanations[name] for name in _codes(code, explanations))
    print(f"{known.code} ({known.kind}): {known.title}\n")
    for head, text in (
        ("", known.means),
        ("Decided by", known.formula),
        ("Told apart", known.apart),
        ("Fix", known.fix),
        ("Example", known.example),
        ("Source", known.source),
    ):
        if text:
            print(textwrap.fill(f"{head}: {text}" if head else text, 100, subsequent_indent="  " if head else ""))
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
    from idjax import store

    check(settings)
    folder = store.check_folder(out) if out else None
    return folder, idjax.load(data, target, settings.data_dtype)


def _save(folder: Path | None, files: dict[str, Any], predicted: "Curve | None", trained: "Curve | None") -> None:
    if folder is None:
        return
    from idjax import store
    from idjax.report.figures import curve_figure, to_png

    store.write(folder, {**files, "curve.png": to_png(curve_figure(predicted, trained))})


def _sayer(quiet: bool) -> Callable[[str], None]:
    """Progress goes to standard error, so that standard output holds results alone."""
    return (lambda _: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))


def _print_table(outcomes: "list[Outcome]") -> None:
    from rich.console import Console
    from rich.table import Table

    from idjax.report.tables import HEADER, summary_rows

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
