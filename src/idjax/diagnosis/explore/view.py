"""Settings → all that the live page shows of them, in two steps: what is there at once, and what takes longer."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.diagnose import examine, samples_of
from idjax.moments.one_thread import one_thread_if_narrow
from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec
from idjax.prediction.learning_rates import max_learning_rate
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


class Explorer:
    """The rows of one data set under changing settings; what was computed for one serves the next.

    Example:
      >>> from idjax.data import stream
      >>> from idjax.diagnosis.data.measure import measure
      >>> from idjax.settings import DiagnosisSettings
      >>> x = 3 + np.random.default_rng(0).normal(size=(100, 3))
      >>> explorer = Explorer(measure(stream(x), DiagnosisSettings(), None, lambda _: None))
      >>> settings = dataclasses.replace(explorer.given, learning_rate=0.1)
      >>> bool(explorer.view(settings).curve.epochs_to_learn < explorer.view(explorer.given).curve.epochs_to_learn)
      True
    """

    def __init__(self, context: Context):
        self._context, self._rates = context, dict[tuple[object, ...], StableRates]()

    @property
    def given(self) -> Settings:
        """The settings to begin with."""
        return self._context.settings

    @property
    def rows(self) -> int:
        """Rows that are trained on."""
        return self._context.rows

    def apart(self) -> "Explorer":
        """An explorer for another thread, which shares what is never written to."""
        problems = {key: dataclasses.replace(known, _known={}) for key, known in self._context._problems.items()}
        return Explorer(
            dataclasses.replace(self._context, _problems=problems, _epochs={}, _left={}, _starts={}, _limits={})
        )

    def view(self, settings: Settings) -> View:
        """Everything known of these settings at once."""
        context = _with(self._context, settings)
        problem, raw = context.problem, context.moments.raw
        with one_thread_if_narrow(raw.inputs), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            sketched = self._is_dear(settings)
            curve = predict_run(self._run(context), undefined=True)
            stable = self._stable(context, sketched) if settings.optimizer == "sgd" else None
            named = {name: int(np.argmax(mask)) for name, mask in problem.mode_groups}
            samples = samples_of(context, curve.weights, max(FEWEST_ROWS, POINTS // raw.outputs))
        modes = Curvatures(problem.rates.max(axis=0), named.get("mean"), named.get("bias"))
        return View(settings, curve, stable, context.level, modes, samples, sketched)

    def groups(self, settings: Settings) -> Groups:
        """The times of the groups of modes, which take as long again; none where no theory is, and of classes."""
        context = _with(self._context, settings)
        if settings.classifies:
            return ()
        with one_thread_if_narrow(context.moments.raw.inputs), np.errstate(all="ignore"):
            try:
                return times_of_groups(self._run(context))
            except NoTheoryError:
                return ()

    def _run(self, context: Context) -> RunSpec:
        """The run that is predicted at once: what takes seconds is for `judge`."""
        spec = context.run_of(context.settings)
        return spec._replace(sample=None, mean_alone=self._is_dear(context.settings))

    def judge(self, settings: Settings) -> Judged:
        """Everything that takes longer to know of these settings."""
        context = _with(self._context, settings)
        with one_thread_if_narrow(context.moments.raw.inputs), np.errstate(all="ignore"):
            _, findings, verdict = examine(context)
            if context.followed:
                return Judged(verdict, findings, context.before, None)
            banded = predict_run(context.run_of(settings), band=True, undefined=True)
            if self._is_dear(settings):
                return Judged(verdict, findings, banded, banded.train_band, self._stable(context))
        return Judged(verdict, findings, None, banded.train_band)

    def _is_dear(self, settings: Settings) -> bool:
        """Whether the noise of the batches takes seconds."""
        return settings.momentum > 0 and settings.batch_size < self.rows and self._context.moments.raw.inputs > WIDEST

    def _stable(self, context: Context, sketched: bool = False) -> StableRates:
        settings, problem = context.settings, context.problem
        key = (problem, settings.batch_size, settings.momentum, settings.nesterov, sketched)
        if key not in self._rates:
            numbers = {"momentum": settings.momentum, "nesterov": settings.nesterov, "grouped": sketched}
            of = functools.partial(max_learning_rate, problem, **numbers)
            self._rates[key] = StableRates(of(settings.batch_size), of(context.rows))
        return self._rates[key]


def _with(context: Context, settings: Settings) -> Context:
    """A context of the rows under other settings, whose epochs are the budget."""
    return dataclasses.replace(context, settings=settings, budget=float(settings.epochs))
