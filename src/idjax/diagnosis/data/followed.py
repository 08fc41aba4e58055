"""Runs that no theory predicts, followed: trained on a sample of the rows, as far as that is cheap."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from idjax.moments.moments import MomentSet
from idjax.moments.normalize import fit
from idjax.nn.descent import put_on_device
from idjax.nn.learned import level
from idjax.prediction import budget
from idjax.results.curve import Curve, Status
from idjax.settings import Settings
from idjax.training.train import train_group
from idjax.types import Rows

LOOKS = 200
"""Times that a long run is looked at, where an epoch is longer than that takes."""


def follow(
    moments: MomentSet,
    sample: Rows,
    reachable: float,
    runs: Sequence[Settings],
    epochs: float,
    *,
    to_the_end: bool = False,
) -> list[Curve]:
    """Trainings side by side on a sample of the rows, up to so many epochs or as many as the budget allows.

    They end where they have learned, unless they are asked for to the end.

    Args:
      moments: of all rows, for the normaliser and the number of rows in an epoch.
      reachable: the explained variance of the best linear layer.
      runs: settings that differ in the learning rate or the seed alone.

    Returns:
      A curve for each, of status `followed` unless it diverges, which knows nothing beyond `known_until` updates.
    """
    given, rows = runs[0], moments.raw.count
    batch = min(given.batch_size, rows)
    steps = -(-rows // batch)
    wanted = min(max(1, math.ceil(epochs * steps)), _affordable(sample, batch, len(runs)))
    # The run is cut into whole epochs, or into parts of one where it has few.
    part = steps if wanted >= LOOKS * steps else max(1, min(steps, wanted // LOOKS))
    parts = max(1, wanted // part)
    held = rows if part == steps else part * batch
    prepared = put_on_device(given, sample, fit(given.normalize, moments.raw), sample, rows=held)
    cut = [dataclasses.replace(each, batch_size=batch, epochs=parts, validation_split=0.0) for each in runs]
    stop_at = math.inf if to_the_end else level(given.learned_at, reachable)
    curves = train_group(prepared._replace(reachable=reachable), cut, lambda *_: None, stop_at=stop_at)
    return [_by_epoch(curve, part, steps, len(sample.x)) for curve in curves]


def _affordable(sample: Rows, batch: int, runs: int) -> int:
    """The number of updates that the budget allows."""
    update = budget.UPDATE + 6.0 * batch * sample.x.shape[1] * sample.target.shape[1] * runs
    return max(1, int(budget.FOLLOWED_TO_DIAGNOSE / update))


def _by_epoch(curve: Curve, part: int, steps: int, held: int) -> Curve:
    """A curve of parts of epochs as one of whole epochs; the last value stands for what was not trained any more."""
    trained = np.flatnonzero(np.isfinite(curve.explained_variance))
    last = int(trained[-1]) if len(trained) else 0
    count = max(1, (last + 1) * part // steps)
    at = np.minimum(np.arange(1, count + 1) * steps // part - 1, last).clip(0)
    at[-1] = last
    return dataclasses.replace(
        curve,
        epoch=np.arange(1, count + 1),
        train=curve.train[at],
        validation=curve.validation[at],
        explained_variance=curve.explained_variance[at],
        steps_per_epoch=steps,
        known_until=float((last + 1) * part),
        status=Status.FOLLOWED if curve.status is Status.VALID else curve.status,
        how=f"followed: trained for {(last + 1) * part:,} steps on {held:,} of the rows",
    )
