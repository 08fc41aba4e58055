"""Diagnosis of data: one pass over the rows, findings, recommendations, and if asked their proof by training."""

import dataclasses
import math
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from idjax.data import Dataset, Stream, notes_on, stream, within
from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.findings import EXPLANATIONS, find_all
from idjax.diagnosis.data.findings.start_dependent import unlucky
from idjax.diagnosis.data.labels import labels_note, probe_of
from idjax.diagnosis.data.measure import measure
from idjax.diagnosis.data.outcome import explained_outputs, samples_of
from idjax.diagnosis.data.recommend import BEST, left_out, recommend
from idjax.diagnosis.explanation import known_codes
from idjax.moments.one_thread import one_thread_if_narrow
from idjax.nn.logistic import SEPARABLE
from idjax.report.formatting import count, percent
from idjax.report.notebook import Shown
from idjax.results.diagnosis import Diagnosis, Finding, Prescription, Proof
from idjax.settings import DiagnosisSettings, Settings
from idjax.types import OnProgress, Progress, silent

MOST_IN_MEMORY = 2**30
"""Bytes of rows that a proof trains on as they are; of more, evenly spaced rows."""
SHOWN_ROWS = 3


def diagnose(
    data: Any,
    settings: Settings | None = None,
    *,
    target: Any = None,
    columns: str | None = None,
    missing: str = "refuse",
    labels: bool = False,
    budget: float | None = None,
    codes: Iterable[str] | None = None,
    prescriptions: bool = True,
    proven: bool = False,
    progress: OnProgress = silent,
) -> Diagnosis:
    """Why gradient descent will or will not learn these data with these settings, and what would.

    Args:
      data, target, columns, missing, labels: as `idjax.data.stream` takes them.
      settings: of the run, as `predict` takes them; all rows are trained on unless validation_split is given.
      budget: epochs that training may take; settings.epochs if not given.
      codes: the findings to look for; all if not given.
      prescriptions: look for settings that would learn them, where there are findings.
      proven: train the settings as given and the best three prescriptions, and add what was measured.
      progress: hears of long work.

    Returns:
      The diagnosis. Epochs are fractional, and to learned_at times the explained variance that a linear layer can have.

    Raises:
      IdjaxError: bad data, settings or codes.

    Example:
      >>> import numpy as np
      >>> x = 3 + 0.1 * np.random.default_rng(0).normal(size=(500, 4))
      >>> found = diagnose(x, DiagnosisSettings(batch_size=10, learning_rate=0.01, epochs=50), prescriptions=False)
      >>> [finding.code for finding in found.causes]
      ['mean-dominated']
    """
    begin = time.perf_counter()
    settings = settings or DiagnosisSettings()
    wanted = known_codes(codes, EXPLANATIONS, "no finding has this code")
    rows = stream(data, target, columns=columns, missing=missing, labels=labels)  # type: ignore[arg-type]
    context = measure(rows, settings, budget, progress)
    target = None if rows.classes and not settings.classifies else context.sample.y
    notes = notes_on(settings, context.rows, target)
    progress(Progress(0, 1, "predicting"))
    # Overflow is how a run that diverges is told.
    with one_thread_if_narrow(len(rows.feature_names)), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        look = _by_runs if context.varies and (settings.classifies or settings.hidden) else _by_theory
        found = look(context, wanted, prescriptions or proven, progress)
    found, proof = found._replace(notes=(*notes, *found.notes)), None
    if proven and context.varies:
        proof, recommended = _verify(rows, context, found.prescriptions, progress)
        found = found._replace(prescriptions=recommended)
    with np.errstate(over="ignore", invalid="ignore"):
        facts = _facts(rows, context, settings, progress)
    return Shown(**facts, **found._asdict(), proof=proof, seconds=time.perf_counter() - begin)


class _Looked(NamedTuple):
    """Findings, verdict and cures of one look at the data."""

    findings: tuple[Finding, ...]
    verdict: str
    prescriptions: tuple[Prescription, ...]
    left_out: str = ""
    notes: tuple[str, ...] = ()


def _by_theory(context: Context, codes: frozenset[str], cures: bool, progress: OnProgress) -> _Looked:
    """A look at descent on a quadratic form, which theory predicts."""
    subject, findings, verdict = examine(context, codes)
    recommended = recommend(subject, progress) if cures and _curable(subject, findings) else ()
    return _Looked(findings, verdict, recommended, left_out(subject, recommended))


def examine(
    context: Context, codes: frozenset[str] = frozenset(EXPLANATIONS)
) -> tuple[Context, tuple[Finding, ...], str]:
    """The subject, the slowest start where it hangs on that; the findings of these codes, and the verdict as given."""
    subject = unlucky(context) if context.varies else context
    findings = find_all(subject, codes) if context.varies else ()
    return subject, findings, _verdict(subject, context.learned, findings)


def _by_runs(context: Context, codes: frozenset[str], cures: bool, progress: OnProgress) -> _Looked:
    """A look at classes and at hidden layers, from runs that are followed."""
    from idjax.diagnosis.data.network_program import program_findings
    from idjax.diagnosis.data.tried import best_words, findings_of, prescriptions_of, table_of

    table = {} if context.learned else table_of(context, progress)
    found = findings_of(context, table, program_findings(context, progress))
    found = tuple(each for each in found if each.code in codes or each.code not in EXPLANATIONS)
    notes = (SEPARABLE,) if context.problem.separable else ()
    recommended = prescriptions_of(context, table) if cures else ()
    verdict = _verdict(context, context.learned, found)
    return _Looked(found, verdict, recommended, notes=(*notes, *best_words(context, table)))


def _curable(context: Context, findings: tuple[Finding, ...]) -> bool:
    """Whether something is wrong that other settings may cure."""
    if not findings or any(finding.code == "target-not-linear" for finding in findings):
        return False
    return not context.learned or any(finding.changes for finding in findings)


def _facts(rows: Stream, context: Context, settings: Settings, progress: OnProgress) -> dict[str, Any]:
    """The diagnosis apart from what is found: data, the prediction for the settings as given, spectrum, labels."""
    raw, modes = context.moments.raw, context.problem.marked_modes
    before, classes = context.before if context.varies else None, len(rows.classes or ())
    outputs = explained_outputs(context, context.settings) if context.varies and raw.outputs > 1 else None
    return {
        "source": rows.source,
        "rows": raw.count,
        "inputs": raw.inputs,
        "outputs": raw.outputs,
        "autoencoder": raw.autoencoder,
        "settings": within(settings, raw.count),
        "budget": context.budget,
        "level": context.level,
        "reachable": context.reachable,
        "before": before,
        "no_prediction": context.no_prediction if context.varies else "",
        "eigenvalues": context.problem.spectrum.eigenvalues,
        "mean_mode": modes.get("mean"),
        "bias_mode": modes.get("bias"),
        "samples": None if before is None else samples_of(context, before.weights, SHOWN_ROWS),
        "outputs_explained": outputs,
        "labels": labels_note(context, classes) if classes and not settings.classifies else "",
        "probe": probe_of(context, classes, progress) if classes and context.varies else None,
    }


def _verdict(context: Context, learned: bool, findings: tuple[Finding, ...]) -> str:
    """One sentence: whether it is learned, how long that takes, the ceiling, and the first cause.

    learned: from the start as given, which may be a luckier one than the context's.
    """
    if not context.varies:
        return "the targets do not vary: there is nothing to learn"
    cause = next((finding.message for finding in findings if finding.kind == "cause"), "")
    budget, epochs = f"{count(context.budget)} epoch{'' if context.budget == 1 else 's'}", context.takes
    told = (
        context.autoencoder
        or context.settings.hidden
        or context.problem.separable
        or any(finding.code == "target-not-linear" for finding in findings)
    )
    most = "" if told else f" (a linear layer can explain {percent(context.reachable, 3)} of this target)"
    if context.learned:
        took = f"learned in {count(epochs)} of {budget}{most}"
        return f"{took}, but {cause}" if cause else f"nothing found: {took}"
    start = next((finding.message for finding in findings if finding.code == "start-dependent"), "")
    if learned and start:
        return f"{start}{most}; from the slowest of them: {cause}" if cause and cause != start else f"{start}{most}"
    known = min(context.before.known_until / context.steps_per_epoch, context.budget)
    if math.isfinite(epochs):
        much = f"; it would take {count(epochs)} epochs"
    elif context.never:
        much = ", nor in any number of epochs with these settings"
    elif known < context.budget:
        much = f"; {'followed' if context.followed else 'predicted'} for {count(known)} epochs"
    else:
        much = ""
    return f"not learned within {budget}{much}{most}{f': {cause}' if cause else ''}"


def _verify(
    rows: Stream, context: Context, prescriptions: tuple[Prescription, ...], progress: OnProgress
) -> tuple[Proof, tuple[Prescription, ...]]:
    """Proofs of the settings as given and of the best three prescriptions, by training each within the budget."""
    from idjax.diagnosis.data.verify import prove

    raw, dataset = context.moments.raw, training_rows(rows, context)

    def run(settings: Settings, name: str) -> Proof:
        def heard(event: Progress) -> None:
            progress(event._replace(what=f"proving {name}: {event.what}"))

        return prove(dataset, raw, settings, raw.count, context.budget, context.level, heard)

    proof = run(context.settings, "the settings as given")
    proven = [
        dataclasses.replace(prescription, proof=run(prescription.settings, f"prescription {index + 1}"))
        for index, prescription in enumerate(prescriptions[:BEST])
    ]
    return proof, (*proven, *prescriptions[BEST:])


def training_rows(rows: Stream, context: Context) -> Dataset:
    """The rows that are trained on, in memory: all of them, or of very many the sample."""
    raw = context.moments.raw
    width = raw.inputs + (0 if raw.autoencoder else raw.outputs)
    if raw.count * width * 8 <= MOST_IN_MEMORY:
        blocks = list(rows)
        x = np.concatenate([x for x, _ in blocks])[: raw.count]
        y = None if raw.autoencoder else np.concatenate([y for _, y in blocks if y is not None])[: raw.count]
    else:
        x, y = context.sample
    return Dataset(
        x=x.astype(context.settings.data_dtype),
        y=None if y is None else y.astype(context.settings.data_dtype),
        feature_names=rows.feature_names,
        target_names=rows.target_names,
        source=rows.source,
    )
