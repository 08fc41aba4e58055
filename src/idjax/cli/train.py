"""`idjax train`: a training with the predicted losses beside the measured ones, kept on the way."""

import contextlib
import math
import sys
from pathlib import Path

import idjax
from idjax.cli.flags import DEFAULTS, Data, Json, Target, TrainingFlags, sayer
from idjax.types import IdjaxError


def train(
    data: Data,
    *,
    target: Target = None,
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
    from idjax.training.checkpoint import CheckpointFolder

    if resume and out is None:
        raise IdjaxError("--resume needs --out, the folder in which the training was kept")
    if not checkpoint_every >= 0:
        raise IdjaxError(f"--checkpoint-every is {checkpoint_every}: give seconds, zero or more")
    folder = store.check_folder(out) if out else None
    dataset = idjax.load(data, target, settings.data_dtype)
    say = sayer(quiet)
    predicted, reason = None, None
    try:
        # Training waits for bands that take a moment, no longer.
        predicted = idjax.predict(dataset, settings, band=settings.optimizer == "sgd" and settings.epochs <= 10_000)
    except NoTheoryError as error:
        reason = str(error)
        say(reason)
    checkpointer = (
        CheckpointFolder(folder / "checkpoint", dataset, settings, checkpoint_every, resume) if folder else None
    )
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
    if folder:
        from idjax.report.curves import curve_figure
        from idjax.report.drawing import to_png

        figure = to_png(curve_figure(predicted, trained))
        store.write(folder, {"training.json": text, "weights.msgpack": weights, "curve.png": figure})
    if checkpointer:
        checkpointer.clear()
    if json:
        print(text, end="")
    else:
        print(outcome)
        if predicted and math.isfinite(error := prediction_error(trained, predicted)):
            print(f"trained against predicted loss: within {error:.2%} at every epoch ({predicted.how})")
    return 0
