"""`idjax train`: a training with the predicted losses beside the measured ones, kept on the way."""

import contextlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import idjax
from idjax.cli.flags import DEFAULTS, Data, Json, Target, TrainingFlags, sayer, told_in_flags
from idjax.settings import Settings
from idjax.types import IdjaxError

if TYPE_CHECKING:
    from idjax.data import Dataset
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
    """Train the layer, with the predicted losses beside the measured ones where a prediction exists.

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
    say = sayer(quiet)
    predicted, reason = _predicted(dataset, settings)
    if reason:
        say(reason)
    kept = CheckpointFolder(folder / "checkpoint", dataset, settings, checkpoint_every, resume) if folder else None
    try:
        with kept or contextlib.nullcontext():
            trained = told_in_flags(
                idjax.train(
                    dataset, settings, on_epoch=lambda news: say(progress_line(news, predicted)), checkpointer=kept
                )
            )
    except KeyboardInterrupt:
        if kept is None:
            raise
        print(f"\nidjax: interrupted; the training is kept in {out}: add --resume to go on", file=sys.stderr)
        return 130
    about = {"data": dataset.source, "settings": settings, "no_prediction": reason}
    _show(about, predicted, trained, folder, json)
    if kept:
        kept.clear()
    return 0


def _predicted(dataset: "Dataset", settings: Settings) -> "tuple[Curve | None, str | None]":
    """The predicted curve, or the reason why there is none."""
    from idjax.prediction.predict import NoTheoryError

    try:
        # Training waits for bands that take a moment, no longer.
        band = settings.optimizer == "sgd" and settings.epochs <= 10_000
        return told_in_flags(idjax.predict(dataset, settings, band=band)), None
    except NoTheoryError as error:
        return None, str(error)


def _show(about: dict[str, Any], predicted: "Curve | None", trained: "Curve", folder: Path | None, json: bool) -> None:
    """Writes the weights, the figure and the JSON, and prints the verdict or the JSON."""
    from idjax.report.comparison import prediction_error, verdict
    from idjax.results import store

    settings: Settings = about["settings"]
    outcome = verdict(trained, predicted, settings.learned_at)
    curves = {
        "measured": store.curve_object(trained),
        "predicted": store.curve_object(predicted) if predicted else None,
    }
    text = store.to_json({**about, **curves, "verdict": outcome, "provenance": store.provenance()})
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
    if predicted and math.isfinite(error := prediction_error(trained, predicted)):
        print(f"trained against predicted loss: within {error:.2%} at every epoch ({predicted.how})")
