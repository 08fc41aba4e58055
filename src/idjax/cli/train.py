"""`idjax train`: a training with the predicted losses beside the measured ones, kept on the way."""

import contextlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import idjax
from idjax.cli.flags import DEFAULTS, Data, Json, Target, TrainingFlags, told_in_flags
from idjax.settings import Settings
from idjax.types import IdjaxError, Progress

if TYPE_CHECKING:
    from idjax.results.curve import Curve


def train(
    data: Data,
    *,
    target: Target = None,
    labels: bool = False,
    settings: TrainingFlags = DEFAULTS,
    out: Path | None = None,
    resume: bool = False,
    checkpoint_every: float = 30.0,
    json: Json = False,
    quiet: bool = False,
) -> int:
    """Train the layer, with the predicted losses beside the measured ones.

    Parameters
    ----------
    labels:
        Take the target's one column for class labels, as words always are.
    out:
        Folder for weights.msgpack (Flax variables), training.json and a figure; and for checkpoints on the way.
    resume:
        Go on from the checkpoint in --out, if there is one: bit for bit what an undisturbed run comes to.
    checkpoint_every:
        Seconds between checkpoints; one more is made on Ctrl-C.
    quiet:
        Print no line per epoch.
    """
    from idjax.report.comparison import progress_line
    from idjax.results import store
    from idjax.training.checkpoint import CheckpointFolder

    if resume and out is None:
        raise IdjaxError("--resume needs --out, the folder in which the training was kept")
    if not checkpoint_every >= 0:
        raise IdjaxError(f"--checkpoint-every is {checkpoint_every}: give seconds, zero or more")
    folder = store.check_folder(out) if out else None
    dataset = idjax.load(data, target, settings.data_dtype, labels=labels)
    # Training waits for bands that take a moment, no longer.
    band = settings.optimizer == "sgd" and settings.epochs <= 10_000
    predicted = told_in_flags(idjax.predict(dataset, settings, band=band))

    def say(news: Progress) -> None:
        if not quiet:
            print(progress_line(news, predicted), file=sys.stderr, flush=True)

    kept = CheckpointFolder(folder / "checkpoint", dataset, settings, checkpoint_every, resume) if folder else None
    try:
        with kept or contextlib.nullcontext():
            trained = told_in_flags(idjax.train(dataset, settings, on_epoch=say, checkpointer=kept))
    except KeyboardInterrupt:
        if kept is None:
            raise
        print(f"\nidjax: interrupted; the training is kept in {out}: add --resume to go on", file=sys.stderr)
        return 130
    _show(dataset.source, settings, predicted, trained, folder, json)
    if kept:
        kept.clear()
    return 0


def _show(
    source: str, settings: Settings, predicted: "Curve", trained: "Curve", folder: Path | None, json: bool
) -> None:
    """Writes the weights, the figure and the JSON, and prints the verdict or the JSON."""
    from idjax.report.comparison import prediction_error, verdict
    from idjax.results import store

    outcome = verdict(trained, predicted, settings.learned_at)
    text = store.to_json(
        {
            "data": source,
            "settings": settings,
            "no_prediction": None,
            "measured": store.curve_object(trained),
            "predicted": store.curve_object(predicted),
            "verdict": outcome,
            "provenance": store.provenance(),
        }
    )
    if folder:
        from idjax.nn.model import to_bytes
        from idjax.report.curves import curve_figure
        from idjax.report.drawing import to_png

        weights = to_bytes(trained.layers or trained.weights, settings.data_dtype)
        figure = to_png(curve_figure(predicted, trained))
        store.write(folder, {"training.json": text, "weights.msgpack": weights, "curve.png": figure})
    if json:
        print(text, end="")
        return
    print(outcome)
    for note in trained.notes:
        print(f"note: {note}")
    if math.isfinite(error := prediction_error(trained, predicted)):
        print(f"trained against predicted loss: within {error:.2%} at every epoch ({predicted.how})")
