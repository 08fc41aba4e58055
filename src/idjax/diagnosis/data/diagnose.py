"""Data + settings → Diagnosis: one pass over the rows, findings, prescriptions, and if asked their proof."""

import dataclasses
import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from idjax.data import Dataset, Stream, stream
from idjax.diagnosis.data.context import Columns, Context, Thinned
from idjax.diagnosis.data.findings import EXPLANATIONS, find_all
from idjax.diagnosis.data.recommend import BEST, prescribe
from idjax.diagnosis.data.verify import prove
from idjax.moments.moments import measure_stream
from idjax.moments.normalize import fold
from idjax.prediction.probe import NORMALIZERS, predict_probe
from idjax.prediction.problem import mode_groups
from idjax.report.formatting import count
from idjax.report.notebook import Shown
from idjax.results.outcomes import Diagnosis, Finding, Prescription, Probe, Proof, Samples
from idjax.settings import DiagnosisSettings, Settings, check
from idjax.types import IdjaxError, Report, silent

SAMPLE_ROWS = 20_000
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
    progress: Report = silent,
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
      The diagnosis. Epochs are fractional, and to an explained variance of learned_at times what a linear layer can
      explain.

    Raises:
      IdjaxError: bad data, settings or codes.
    """
    begin = time.perf_counter()
    settings = check(settings or DiagnosisSettings())
    if settings.widths:
        raise IdjaxError(f"--hidden is {settings.hidden}: a diagnosis is of one Dense layer; leave it out")
    wanted = _known(codes)
    rows = stream(data, target, columns=columns, missing=missing, labels=labels)  # type: ignore[arg-type]
    context = _examine(rows, settings, budget, progress)
    progress(0, 1, "predicting")
    # Overflow is how a run that diverges is told.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        constant = not context.variance > 0
        findings = () if constant else find_all(context, wanted)
        prescribed = prescribe(context, progress) if findings and (prescriptions or proven) else ()
    proof = None
    if proven and not constant:
        proof, prescribed = _prove(rows, context, prescribed, progress)
    raw = context.moments.raw
    spectrum, modes = context.problem.spectrum, _special_modes(context)
    before = None if constant else context.before
    return Shown(
        source=rows.source,
        rows=raw.count,
        inputs=raw.inputs,
        outputs=raw.outputs,
        autoencoder=raw.autoencoder,
        settings=settings,
        budget=context.budget,
        level=context.level,
        reachable=context.reachable,
        verdict=_verdict(context, findings) if not constant else "the targets do not vary: there is nothing to learn",
        before=before,
        no_prediction="" if constant else context.no_prediction,
        findings=findings,
        prescriptions=prescribed,
        eigenvalues=spectrum.eigenvalues,
        mean_mode=modes.get("mean"),
        bias_mode=modes.get("bias"),
        samples=None if before is None else _samples(context),
        proof=proof,
        seconds=time.perf_counter() - begin,
        labels="" if rows.classes is None else _labels(context, len(rows.classes)),
        probe=None if rows.classes is None or constant else _probe(context, len(rows.classes), progress),
    )


def _known(codes: Iterable[str] | None) -> frozenset[str]:
    wanted = frozenset(EXPLANATIONS if codes is None else codes)
    for code in wanted - EXPLANATIONS.keys():
        raise IdjaxError(f"{code}: no finding has this code; the codes are {', '.join(EXPLANATIONS)}")
    return wanted


def _examine(rows: Stream, settings: Settings, budget: float | None, progress: Report) -> Context:
    """The one pass over the rows."""
    sampled = Thinned(SAMPLE_ROWS)
    total = rows.rows
    training = None if total is None else total - math.floor(total * settings.validation_split)

    def blocks() -> Iterable[tuple[np.ndarray, np.ndarray | None]]:
        left = training if training is not None and settings.validation_split > 0 else math.inf
        done = 0
        for x, y in rows.blocks(as_stored=True, unchecked=True):
            if left <= 0:
                return
            x, y = x[: int(min(left, len(x)))], None if y is None else y[: int(min(left, len(x)))]
            left -= len(x)
            done += len(x)
            progress(done, total or 0, "reading rows" if total else f"{done:,} rows read")
            sampled.add(x, y)
            yield x, y

    samples = rows.target_names == rows.feature_names
    measured = measure_stream(blocks(), samples=samples, check=rows.check)
    if settings.batch_size > measured.moments.raw.count:
        raise IdjaxError(
            f"--batch-size {settings.batch_size} is larger than the {measured.moments.raw.count} training rows: "
            f"give at most {measured.moments.raw.count}"
        )
    budget = float(settings.epochs if budget is None else budget)
    if not (math.isfinite(budget) and budget > 0):
        raise IdjaxError(f"--budget is {budget:g}: give a positive number of epochs")
    return Context(
        source=rows.source,
        moments=measured.moments,
        columns=Columns(
            rows.feature_names,
            rows.target_names,
            rows.feature_dtypes,
            rows.target_dtypes,
            measured.inputs,
            measured.targets,
        ),
        sample=sampled.rows(),
        settings=dataclasses.replace(settings, epochs=max(1, math.ceil(budget)), validation_split=0.0),
        budget=budget,
    )


def _verdict(context: Context, findings: tuple[Finding, ...]) -> str:
    """One sentence."""
    budget = f"{count(context.budget)} epoch{'' if context.budget == 1 else 's'}"
    causes = [finding for finding in findings if finding.kind == "cause"]
    if context.before is None:
        return (
            f"no theory predicts these settings: {context.no_prediction.split(':')[0]}"
            if not causes
            else (f"these targets will not be learned: {causes[0].message}")
        )
    epochs = context.takes
    if context.learned and not causes:
        return f"nothing found: learned in {count(epochs)} of {budget}"
    if context.learned:
        return f"learned in {count(epochs)} of {budget}, but {causes[0].message}"
    if not causes:
        return f"not learned within {budget}"
    much = (
        f"it would take {count(epochs)} epochs" if math.isfinite(epochs) else "and it never will be with these settings"
    )
    return f"not learned within {budget}; {much}: {causes[0].message}"


def _labels(context: Context, classes: int) -> str:
    """What holds for softmax cross-entropy on these inputs, whatever the labels: Böhning's bound, theory (132)."""
    largest = float(context.problem.spectrum.eigenvalues[0])
    return (
        f"the findings are those of a squared error on one-hot codes of {classes} classes; under softmax cross-entropy "
        f"the curvature is at most {largest / 2:.3g}, so that full-batch learning rates below {4 / largest:.3g} are "
        "stable, as a bound: late in training larger ones may be"
    )


def _probe(context: Context, classes: int, progress: Report) -> Probe:
    """The same features and labels under softmax cross-entropy, from the sample of the rows."""
    progress(0, 1, "racing learning rates of a linear probe")
    settings = context.settings
    x, codes = context.sample
    ready = "pca" if settings.normalize == "zca" else settings.normalize
    return predict_probe(
        x,
        np.argmax(codes, axis=1),
        classes,
        batch_size=settings.batch_size,
        momentum=settings.momentum if settings.optimizer == "sgd" else 0.0,
        total=context.rows,
        normalizers=tuple(dict.fromkeys((ready, *NORMALIZERS))),
        given=settings.step_size if settings.optimizer == "sgd" else None,
        seed=settings.seed,
    )


def _special_modes(context: Context) -> dict[str, int]:
    """The indices of the mean's and of the bias's mode in the spectrum, as far as they have one."""
    groups = dict(mode_groups(context.problem))
    return {name: int(np.argmax(groups[name])) for name in ("mean", "bias") if name in groups}


def _samples(context: Context) -> Samples | None:
    """A few rows, and what the layer is predicted to answer at the end of the budget."""
    assert context.before is not None
    weights, problem = context.before.weights, context.problem
    if problem.fold_with is None or not np.isfinite(weights.kernel).all():
        return None
    kernel, bias = fold(problem.fold_with, weights)
    x, y = context.sample
    chosen = np.linspace(0, len(x) - 1, min(SHOWN_ROWS, len(x))).astype(int)
    return Samples(target=y[chosen], output=x[chosen] @ kernel + bias, mean=context.moments.raw.mean_y)


def _prove(
    rows: Stream, context: Context, prescriptions: tuple[Prescription, ...], progress: Report
) -> tuple[Proof, tuple[Prescription, ...]]:
    """What training comes to with the settings as given and with the best three prescriptions, same budget."""
    raw = context.moments.raw
    width = raw.inputs + (0 if raw.autoencoder else raw.outputs)
    if raw.count * width * 8 <= MOST_IN_MEMORY:
        blocks = list(rows)
        x = np.concatenate([x for x, _ in blocks])[: raw.count]
        y = None if raw.autoencoder else np.concatenate([y for _, y in blocks if y is not None])[: raw.count]
    else:
        x, y = context.sample
        y = None if raw.autoencoder else y
    dataset = Dataset(
        x=x.astype(context.settings.data_dtype),
        y=None if y is None else y.astype(context.settings.data_dtype),
        feature_names=rows.feature_names,
        target_names=rows.target_names,
        source=rows.source,
    )

    def run(settings: Settings, name: str) -> Proof:
        def on_look(epochs: float, explained: float) -> None:
            done = round(1000 * epochs / context.budget)
            progress(min(done, 1000), 1000, f"proving {name}: explained variance {explained:.4g}")

        return prove(dataset, raw, settings, raw.count, context.budget, context.level, on_look)

    proof = run(context.settings, "the settings as given")
    proven = [
        dataclasses.replace(prescription, proof=run(prescription.settings, f"prescription {index + 1}"))
        for index, prescription in enumerate(prescriptions[:BEST])
    ]
    return proof, (*proven, *prescriptions[BEST:])
