"""Diagnoses as a terminal shows them, in the way of a linter: plain without colour, whatever names the data have."""

import dataclasses
from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from idjax.data.dataset import printable
from idjax.report import formatting, prescriptions, program_proof
from idjax.report.probe import HEADER, probe_rows, probe_words
from idjax.results.diagnosis import Diagnosis, Finding, Probe
from idjax.results.program import LayerFacts, ProgramDiagnosis, ProgramFinding, ProgramProof

STYLES = {"cause": "bold red", "consequence": "yellow", "note": "cyan"}
INDENT = 4


def diagnosis_text(diagnosis: Diagnosis) -> RenderableType:
    """The verdict, the findings and the prescriptions, for `rich.console.Console.print`."""
    parts: list[RenderableType] = list(_probe(diagnosis.probe)) if diagnosis.probe else []
    parts.append(_text(formatting.stopped(diagnosis.verdict), "bold"))
    if not diagnosis.findings and not diagnosis.verdict.startswith("nothing found"):
        parts.append(_text(formatting.sentence(formatting.nothing_words(diagnosis))))
    if diagnosis.no_prediction:
        parts.append(_text(formatting.followed_words(diagnosis)))
    if diagnosis.labels:
        parts.append(_text(formatting.stopped(diagnosis.labels)))
    parts += [_text(f"Note: {formatting.stopped(note)}") for note in diagnosis.notes]
    for finding in formatting.ordered(diagnosis.findings):
        parts += ["", *_finding(finding)]
    if diagnosis.prescriptions:
        parts += ["", _text("What learns these data, best first:")]
        header = ("#", "settings", "predicted\nepochs", "measured\nepochs", "EV")
        parts.append(_table(header, prescriptions.prescription_rows(diagnosis.prescriptions), wide="settings"))
        parts.append(_text(prescriptions.predicted_words(diagnosis.prescriptions)))
        if diagnosis.left_out:
            parts.append(_text(formatting.stopped(diagnosis.left_out[:1].upper() + diagnosis.left_out[1:])))
    elif diagnosis.causes:
        parts += ["", _text(prescriptions.none_words(diagnosis.causes))]
    return Group(*parts)


def program_text(diagnosis: ProgramDiagnosis) -> RenderableType:
    """The verdict, the layers, the findings with their lines, what was looked at and what was not."""
    parts: list[RenderableType] = [_text(formatting.stopped(diagnosis.verdict), "bold")]
    parts += [_layers(diagnosis.layers, diagnosis.slow)] if diagnosis.layers else []
    for finding in diagnosis.findings:
        parts += ["", *_finding(finding)] if finding.kind == "cause" else [_head(finding)]
    parts += ["", _text(f"Looked at: {formatting.stopped(', '.join(diagnosis.looked_at))}")]
    if diagnosis.unseen:
        parts.append(_text(f"Not looked at: {formatting.stopped(formatting.listed(diagnosis.unseen, 12))}"))
    return Group(*parts, *(_proof(diagnosis.proof) if diagnosis.proof is not None else ()))


def _proof(proof: ProgramProof) -> Iterator[RenderableType]:
    """A table of what was trained, on which batches, and the few rows alone."""
    yield ""
    yield _text("Trained:")
    if proof.runs:
        yield _table(program_proof.HEADER, program_proof.proof_rows(proof), wide="trained")
    yield _text(program_proof.proof_words(proof))
    if proof.few_rows is not None:
        yield _text(formatting.stopped(program_proof.few_rows_words(proof.few_rows)))


def _layers(layers: Iterable[LayerFacts], slow: frozenset[str]) -> Table:
    rows = [
        (
            f"{'✗ ' if layer.path in slow else ''}{layer.path}",
            layer.kind,
            f"{layer.inputs}→{layer.outputs}",
            formatting.number(layer.input_scale, 2),
            formatting.number(layer.mean_share, 2).replace("never", "∞"),
            f"{layer.condition_number:.1e}",
            formatting.number(layer.gain, 2),
        )
        for layer in layers
    ]
    return _table(("layer", "kind", "width", "input\nsize", "mean²\n/var", "condition", "gain"), rows, wide="layer")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]], wide: str = "", left: str = "") -> Table:
    """A table of numbers on the right; the wide column takes the room that is left."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in header:
        if name == wide:
            table.add_column(name, ratio=1)
        else:
            # Where there is no room at all, ranks give way first.
            table.add_column(name, justify="left" if name == left else "right", no_wrap=name != "#")
    for cells in rows:
        table.add_row(*map(_text, cells))
    return table


@dataclasses.dataclass(frozen=True)
class Hanging:
    """A paragraph whose lines after the first are indented."""

    text: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The lines, as wide as the console has room."""
        for index, line in enumerate(self.text.wrap(console, options.max_width - INDENT)):
            yield line if index == 0 else Text(" " * INDENT) + line


def _head(finding: Finding) -> Hanging:
    kind = f"{finding.kind} of {', '.join(finding.causes)}" if finding.causes else finding.kind
    head = _text(finding.code, "bold") + Text("  ") + _text(kind, STYLES[finding.kind])
    where = f"{finding.where}: " if isinstance(finding, ProgramFinding) and finding.where else ""
    return Hanging(head + Text("  ") + _text(where + formatting.stopped(finding.message)))


def _finding(finding: Finding) -> Iterator[RenderableType]:
    yield _head(finding)
    if finding.evidence:
        evidence = Table.grid(padding=(0, 2, 0, 0))
        for name, value in finding.evidence.items():
            evidence.add_row(_text(name), _text(formatting.evidence_words(value)))
        yield Padding(evidence, (0, 0, 0, INDENT))
    lines = [f"cost: {formatting.cost_words(finding)}"] if formatting.cost_words(finding) else []
    lines += [f"fix: {finding.fix}"] if finding.fix else []
    for line in (*lines, f"more: idjax explain {finding.code}"):
        yield Padding(_text(line), (0, 0, 0, INDENT))


def _probe(probe: Probe) -> Iterator[RenderableType]:
    first, *others = probe_words(probe)
    yield _text(first, "bold")
    yield from map(_text, others)
    yield _table(HEADER, probe_rows(probe), left=HEADER[0])


def _text(text: str, style: str = "") -> Text:
    """Text that is taken as it is: no markup, no control characters."""
    return Text(printable(text), style)
