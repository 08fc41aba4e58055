"""Settings → all that the live page shows of them, in two steps: what is there at once, and what takes longer."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.diagnose import examine
from idjax.diagnosis.data.outcome import samples_of
from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec
from idjax.prediction.predict import predict_run, times_of_groups
from idjax.results.curve import Band, Curve, ModeGroup
from idjax.results.diagnosis import Finding, Samples
from idjax.settings import Settings

WIDEST = 200
"""Inputs up to which momentum is drawn with the noise of its batches at once: it takes the square of them."""
POINTS = 240
"""Outputs of all rows together that are held against their targets."""
FEWEST_ROWS = 3

Groups = tuple[ModeGroup, ...]
"""Groups of modes, with the time that each takes."""


class Curvatures(NamedTuple):
    """The curvature of the loss along each mode, descending, and which of them are the mean's and the bias's."""

    curvature: Float[np.ndarray, " n"]
    mean: int | None
    bias: int | None


class StableRates(NamedTuple):
    """The largest learning rates that SGD is stable at: in the batches of the settings, and on all rows at once."""

    batches: float
    full_batch: float


class View(NamedTuple):
    """Everything known of settings at once.

    curve:   predicted; NaN with the reason as `how` where no theory is.
    stable:  learning rates; None of optimizers that have no fixed limit.
    level:   the explained variance that counts as learned.
    samples: a few rows, and what the layer is predicted to answer at the end; None where that is not known.
    sketched: whether the noise of the batches is still to come.
    """

    settings: Settings
    curve: Curve
    stable: StableRates | None
    level: float
    modes: Curvatures
    samples: Samples | None
    sketched: bool = False


class Judged(NamedTuple):
    """Everything that takes longer: the verdict, the findings, the band, and the curve where it was only sketched or
    none: with the noise of its batches, or as it was followed. stable: the rates, where these were sketched.
    """

    verdict: str
    findings: tuple[Finding, ...]
    curve: Curve | None
    band: Band | None
    stable: StableRates | None = None


def under(context: Context, settings: Settings) -> Context:
    """A context of the same rows under other settings, whose epochs are the budget; what was computed is shared."""
    return dataclasses.replace(context, settings=settings, budget=float(settings.epochs))


@np.errstate(all="ignore")
def view_of(context: Context) -> View:
    """Everything known of the settings at once.

    Example:
      >>> from idjax.data import stream
      >>> from idjax.diagnosis.data.measure import measure
      >>> from idjax.settings import DiagnosisSettings
      >>> x = 3 + np.random.default_rng(0).normal(size=(100, 3))
      >>> slow = measure(stream(x), DiagnosisSettings(), None, lambda _: None)
      >>> faster = under(slow, dataclasses.replace(slow.settings, learning_rate=0.1))
      >>> bool(view_of(faster).curve.epochs_to_learn < view_of(slow).curve.epochs_to_learn)
      True
    """
    settings, problem, sketched = context.settings, context.problem, _is_dear(context)
    curve = predict_run(_run(context), undefined=True)
    stable = _stable(context, sketched) if settings.optimizer == "sgd" else None
    marked = problem.marked_modes
    samples = samples_of(context, curve.weights, max(FEWEST_ROWS, POINTS // context.moments.raw.outputs))
    modes = Curvatures(problem.rates.max(axis=0), marked.get("mean"), marked.get("bias"))
    return View(settings, curve, stable, context.level, modes, samples, sketched)


@np.errstate(all="ignore")
def groups_of(context: Context) -> Groups:
    """The times of the groups of modes, which take as long again; none where no theory is, and of classes."""
    if context.settings.classifies:
        return ()
    try:
        return times_of_groups(_run(context))
    except NoTheoryError:
        return ()


@np.errstate(all="ignore")
def judgement_of(context: Context) -> Judged:
    """Everything that takes longer to know of the settings."""
    _, findings, verdict = examine(context)
    if context.followed:
        return Judged(verdict, findings, context.before, None)
    banded = predict_run(context.run_of(context.settings), band=True, undefined=True)
    if _is_dear(context):
        return Judged(verdict, findings, banded, banded.train_band, _stable(context))
    return Judged(verdict, findings, None, banded.train_band)


def _run(context: Context) -> RunSpec:
    """The run that is predicted at once: what takes seconds is for `judgement_of`."""
    return context.run_of(context.settings)._replace(sample=None, mean_alone=_is_dear(context))


def _is_dear(context: Context) -> bool:
    """Whether the noise of the batches takes seconds."""
    settings = context.settings
    return settings.momentum > 0 and settings.batch_size < context.rows and context.moments.raw.inputs > WIDEST


def _stable(context: Context, sketched: bool = False) -> StableRates:
    batches = (context.settings.batch_size, context.rows)
    return StableRates(*(context.gaussian_rate(context.changed({"batch_size": b}), grouped=sketched) for b in batches))
