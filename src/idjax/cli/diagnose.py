"""`idjax diagnose` and `idjax explain`: findings of data, a model or any loss, as text, JSON and a page."""

import contextlib
import functools
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import idjax
from idjax.cli.flags import DIAGNOSIS_DEFAULTS, Data, DiagnosisFlags, Json, Target, told_in_flags
from idjax.settings import Settings
from idjax.types import IdjaxError, OnProgress

if TYPE_CHECKING:
    from rich.console import RenderableType


def diagnose(
    data: Data | None = None,
    *,
    model: str | None = None,
    program: str | None = None,
    target: Target = None,
    columns: str | None = None,
    labels: bool = False,
    missing: Literal["refuse", "drop"] = "refuse",
    settings: DiagnosisFlags = DIAGNOSIS_DEFAULTS,
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
    program:
        Any loss in place of data, as package.module:factory; the factory returns (loss, params, *args).
    columns:
        The columns of x by name, with commas; all that are no target if not given.
    labels:
        Take the target's one column for class labels, as words always are.
    missing:
        Refuse rows with missing values, or drop them.
    budget:
        Epochs that training may take; --epochs if not given. Fractions are fine.
    prove:
        Train the settings as given and the best three prescriptions; of a program each cure, alone and together.
    select:
        Only the findings of these codes, with commas.
    ignore:
        All findings but those of these codes, with commas.
    out:
        Folder for report.html, diagnosis.json and the figures.
    quiet:
        Print no progress.
    """
    if [data, model, program].count(None) != 2:
        raise IdjaxError("diagnose: give DATA, or --model or --program package.module:factory")
    output = _Output(out, json, quiet)
    if data is None:
        chosen = {"select": select, "ignore": ignore, "prove": prove}
        return _diagnose_program(program or model or "", program is None, settings, chosen, output)
    asked = {"columns": columns, "missing": missing, "labels": labels, "budget": budget, "proven": prove}
    return _diagnose_data(data, settings, select, ignore, output, {"target": target, **asked})


def _diagnose_data(
    data: Data, settings: Settings, select: str | None, ignore: str | None, output: "_Output", asked: dict[str, Any]
) -> int:
    from idjax.diagnosis import data as diagnosis
    from idjax.report.pages import render
    from idjax.report.terminal import diagnosis_text
    from idjax.results.store import diagnosis_object

    codes = _selected(select, ignore, diagnosis.EXPLANATIONS)
    with output.progress() as progress:
        found = told_in_flags(diagnosis.diagnose(data, settings, codes=codes, progress=progress, **asked))
    output.show(diagnosis_object(found), functools.partial(render, found), diagnosis_text(found))
    return 1 if found.causes else 0


def _diagnose_program(name: str, is_model: bool, settings: Settings, chosen: dict[str, Any], output: "_Output") -> int:
    from idjax.diagnosis.program.diagnose_loss import EXPLANATIONS
    from idjax.diagnosis.program.loading import load_factory, load_program
    from idjax.report.pages import render_program
    from idjax.report.terminal import program_text

    codes = _selected(chosen["select"], chosen["ignore"], EXPLANATIONS)
    asked: dict[str, Any] = {"codes": codes, "source": name, "prove": chosen["prove"]}
    args, options = ((), load_factory(name)) if is_model else load_program(name)
    with output.progress() as progress:
        if is_model:
            found = idjax.diagnose_model(**options, settings=settings, **asked, progress=progress)
        else:
            given: dict[str, Any] = {"optimizer": settings.optimizer, "learning_rate": settings.learning_rate} | options
            found = idjax.diagnose_loss(*args, **given, **asked, progress=progress)
    output.show(found, functools.partial(render_program, found), program_text(found))
    return 1 if found.causes else 0


class _Output:
    """Where a diagnosis goes: a folder, if one is given, and standard output as text or JSON."""

    def __init__(self, out: Path | None, json: bool, quiet: bool):
        from idjax.results import store

        self._folder, self._json, self._quiet = store.check_folder(out) if out else None, json, quiet

    def progress(self) -> "contextlib.AbstractContextManager[OnProgress]":
        from idjax.report.progress import progress_bar

        return progress_bar(self._quiet)

    def show(self, content: Any, render: Callable[[Any], tuple[str, dict[str, bytes]]], text: "RenderableType") -> None:
        """Writes the page, its figures and the JSON, and prints the text or the JSON."""
        from idjax.results import store

        json = store.to_json(content)
        if self._folder:
            page, figures = render(store.provenance())
            files = {"report.html": page, "diagnosis.json": json, **{f"figures/{k}": v for k, v in figures.items()}}
            store.write(self._folder, files)
        if self._json:
            print(json, end="")
            return
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 100, markup=False, highlight=False).print(text)
        if self._folder:
            print(f"\nThe report: {self._folder / 'report.html'}")


def _selected(select: str | None, ignore: str | None, known: Mapping[str, Any]) -> frozenset[str]:
    chosen = _codes(select, known) if select is not None else frozenset(known)
    return chosen - _codes(ignore or "", known)


def _codes(text: str, known: Mapping[str, Any]) -> frozenset[str]:
    from idjax.data.dataset import suggestion

    codes = frozenset(part.strip() for part in text.split(",") if part.strip())
    for code in sorted(codes - known.keys()):
        raise IdjaxError(f"{code}: no finding has this code; {suggestion(code, list(known))}")
    return codes


def explain(code: str | None = None) -> int:
    """Print what a finding of idjax diagnose means: formula, source, example and fix; all codes if none is given.

    Parameters
    ----------
    code:
        Such as mean-dominated.
    """
    from idjax.diagnosis import data as diagnosis
    from idjax.diagnosis.program import diagnose_loss
    from idjax.diagnosis.program.findings import cannot_overfit

    explanations = {**diagnosis.EXPLANATIONS, **diagnose_loss.EXPLANATIONS}
    explanations["cannot-overfit"] = cannot_overfit.EXPLANATION
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
