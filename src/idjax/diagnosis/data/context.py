"""The context of a diagnosis: moments and a sample of the rows, settings, and the predictions asked of them, cached."""

import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from idjax.diagnosis.data.tails import SampleTails
from idjax.moments.columns import ColumnFacts
from idjax.moments.moments import MomentSet
from idjax.nn.learned import level
from idjax.nn.logistic import base_loss
from idjax.prediction.dynamics.fastest_rate import fastest_rate, followed_rates
from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec
from idjax.prediction.learning_rates import max_learning_rate
from idjax.prediction.predict import (
    epochs_to_learn,
    learns_within,
    mean_learns_within,
    predict_run,
    problem_of,
    run_spec,
)
from idjax.prediction.problem import QuadraticProblem
from idjax.results.curve import Curve, FastestRate, Status
from idjax.settings import Settings
from idjax.types import Rows, Weights

LADDER = np.linspace(-3, 3, 13)
"""Powers of ten times the given rate at which runs are followed."""
BOUNCES = 2.0
"""Times what may be left unexplained that a run may have at its end, once it has been below."""
STARTS = 16
"""Random starts that are looked at, for whether a run is in time may hang on its start."""
MOST_OF_STARTS = 2**13
"""Weights above which they are not: the more there are, the more alike the starts."""
HEAVY = 0.5
"""Stable rate, over that of Gaussian rows, below which tails are heavy; sampling alone gives down to 0.8."""


@dataclasses.dataclass(eq=False)
class Context:
    """Data and settings under examination; findings are pure functions of it.

    moments:  of all training rows.
    columns:  of x and the target.
    sample:   some rows, float64.  sample_tails: how heavy their tails are.
    settings: of the run, learned_at being the share of what a linear layer can explain.
    budget:   epochs that training may take.
    labels:   whether the targets are codes of class labels.
    """

    moments: MomentSet
    columns: ColumnFacts
    sample: Rows
    sample_tails: SampleTails
    settings: Settings
    budget: float
    labels: bool = False
    _epochs: dict[Settings, float] = dataclasses.field(default_factory=dict, repr=False)
    _curves: dict[tuple[Settings, bool], Curve] = dataclasses.field(default_factory=dict, repr=False)
    _problems: dict[tuple[str, str, float], QuadraticProblem] = dataclasses.field(default_factory=dict, repr=False)
    _starts: dict[tuple[QuadraticProblem, str, int], Weights] = dataclasses.field(default_factory=dict, repr=False)
    _limits: dict[tuple[object, ...], float] = dataclasses.field(default_factory=dict, repr=False)

    def apart(self) -> "Context":
        """The context for another thread: a problem remembers its last start, which two would take from each other."""
        problems = {key: dataclasses.replace(known, _known={}) for key, known in self._problems.items()}
        return dataclasses.replace(self, _problems=problems)

    @property
    def rows(self) -> int:
        """Training rows."""
        return self.moments.raw.count

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch of the settings as given."""
        return -(-self.rows // self.settings.batch_size)

    @property
    def adaptive(self) -> bool:
        """Whether the optimizer divides by the size of its gradients."""
        return self.settings.optimizer != "sgd"

    @functools.cached_property
    def variance(self) -> float:
        """Mean variance of the targets, original units; their entropy where they are classes."""
        if self.settings.classifies:
            return base_loss(self.moments.raw.mean_y)
        return float(np.mean(np.diagonal(self.moments.raw.covariance_yy)))

    @property
    def varies(self) -> bool:
        """Whether the targets vary; else there is nothing to learn."""
        return self.variance > 0

    @functools.cached_property
    def reachable(self) -> float:
        """The explained variance of the best linear layer; 1 for an autoencoder, and for hidden layers."""
        return (1.0 if self.settings.hidden else self.problem.reachable) if self.varies else math.nan

    @property
    def level(self) -> float:
        """The explained variance that counts as learned: the asked share of what is reachable."""
        return level(self.settings.learned_at, self.reachable)

    @property
    def before(self) -> Curve:
        """The prediction for the settings as given, over the budget, or what was followed of it without a theory."""
        return self.curve_of(self.settings)

    @property
    def no_prediction(self) -> str:
        """The reason why no theory covers the settings as given; empty if one does."""
        return self.before.no_theory

    @property
    def followed(self) -> bool:
        """Whether the run as given was followed, for no theory covers it; those of classes are told alike."""
        return bool(self.no_prediction) or self.settings.classifies

    @property
    def learned(self) -> bool:
        """Whether the settings as given reach the level within the budget, tails of the rows considered."""
        return self.takes <= self.budget

    @property
    def takes(self) -> float:
        """Epochs to the level with the settings as given, tails of the rows considered."""
        return math.inf if self.tails_diverge or self.leaves else self.epochs()

    @property
    def leaves(self) -> bool:
        """Whether a run that reaches the level is far from it again at the end of the budget: one that bounces."""
        return self.epochs() <= self.budget and self.left_at_end(self.settings) > BOUNCES

    def left_at_end(self, settings: Settings) -> float:
        """The share that the run leaves unexplained at the end of the budget, over that which may be left."""
        left = (1 - float(self.curve_of(settings).explained_variance[-1])) / (1 - self.level)
        return left if math.isfinite(left) else math.inf

    @property
    def never(self) -> bool:
        """Whether no number of epochs is enough with the settings as given."""
        return self.tails_diverge or self.before.never_learned

    @functools.cached_property
    def tails_diverge(self) -> bool:
        """Whether SGD is stable for Gaussian rows at this rate and batch, and not for rows with the sample's tails."""
        if self.adaptive or self.followed or self.tails(self.settings) > HEAVY:
            return False
        return self.max_rate(self.settings) <= self.settings.step_size < self.gaussian_rate(self.settings)

    def epochs(self, **changes: object) -> float:
        """Predicted epochs to the level with these changes to the settings; inf if not, NaN without a theory."""
        return self.epochs_of(self.changed(changes))

    def epochs_of(self, settings: Settings) -> float:
        """Predicted epochs to the level with these settings; inf if never or not known, NaN without a theory."""
        if settings.solver != self.settings.solver:  # which is for training alone
            settings = dataclasses.replace(settings, solver=self.settings.solver)
        if settings == self.settings:
            return self.before.epochs_to_learn
        if settings.optimizer == "sgd" and not settings.schedule.changes and not settings.half:
            # Closed forms know when, whatever the run; only rounding of a full batch to 16 bits is stepped.
            settings = dataclasses.replace(settings, epochs=1)
        if settings not in self._epochs:
            try:
                self._epochs[settings] = epochs_to_learn(self.run_of(settings))
            except NoTheoryError:
                self._epochs[settings] = math.nan
        return self._epochs[settings]

    @functools.cached_property
    def fastest(self) -> FastestRate | None:
        """The learning rate of an adaptive optimizer that learns in the fewest steps within the budget, all else as
        given; with infinitely many the one that comes closest. None where that would take too long to find.
        """
        if not self.followed:
            return fastest_rate(self.run_of(self.settings))
        rates = [float(f"{self.settings.step_size * 10**power:.2g}") for power in LADDER]
        runs = [dataclasses.replace(self.settings, learning_rate=rate) for rate in rates]
        left, times = followed_rates(self.run_of(self.settings), runs)
        times = np.where(left <= 1 - self.level, times, np.inf)  # what leaves the level again has not learned
        best = int(np.argmin(times) if np.isfinite(times).any() else np.argmin(np.nan_to_num(left, nan=np.inf)))
        return FastestRate(rates[best], float(times[best]))

    def changed(self, changes: Mapping[str, object]) -> Settings:
        """The settings with these changes."""
        return dataclasses.replace(self.settings, **changes)  # type: ignore[arg-type]

    def curve_of(self, settings: Settings) -> Curve:
        """The predicted curve over the budget with these settings; where it was followed as far as it is known, for no
        rows are trained to guess beyond.

        Raises:
          NoTheoryError: where no theory covers settings that are not those given.
        """
        key = settings, self._as_given_at_some_rate(settings)
        if key not in self._curves:
            curve = predict_run(self.run_of(settings))
            known = math.floor(curve.known_until / curve.steps_per_epoch) if curve.no_theory else len(curve.epoch)
            if known < len(curve.epoch):
                status = Status.FOLLOWED if curve.status is Status.OUTSIDE_RANGE else curve.status
                curve = curve.until(max(1, known), status)
            self._curves[key] = curve
        return self._curves[key]

    @functools.cached_property
    def random_starts(self) -> tuple[Settings, ...]:
        """The settings with other starts, where the given one is random and closed forms tell cheaply what they do."""
        settings, raw = self.settings, self.moments.raw
        closed = not (self.adaptive or self.followed or settings.schedule.changes or settings.half)
        if not closed or settings.start not in ("glorot", "lecun") or raw.inputs * raw.outputs > MOST_OF_STARTS:
            return ()
        return tuple(self.changed({"seed": (settings.seed + other) % 2**32}) for other in range(STARTS))

    @functools.cached_property
    def epochs_of_starts(self) -> Float[np.ndarray, " s"]:
        """Epochs to learn from each of the random starts."""
        return np.array([self.epochs_of(start) for start in self.random_starts])

    @functools.cached_property
    def hangs_on_start(self) -> bool:
        """Whether some random starts learn within the budget, and others do not: cheaper to tell than all epochs."""
        runs = [self.run_of(start) for start in self.random_starts]
        if not self.learned and not any(mean_learns_within(run, self.budget) for run in runs):
            return False
        return len({learns_within(run, self.budget) for run in runs}) == 2

    def run_of(self, settings: Settings, *, follow: bool = False) -> RunSpec:
        """The run that these settings make of all training rows.

        Of settings that are not those given at some rate, of which hundreds are tried, only what theory predicts is
        asked for, unless they may be followed.
        """
        follow = follow or self._as_given_at_some_rate(settings)
        problem, sample = self.problem_of(settings), self.sample if follow else None
        spec = run_spec(self.moments, None, settings, problem=problem, sample=sample)
        return spec._replace(start=self._starts.setdefault((problem, settings.start, settings.seed), spec.start))

    def _as_given_at_some_rate(self, settings: Settings) -> bool:
        """Whether only the rate differs from what is given; what is stored in 16 bits is tried in few other ways."""
        rated = ("learning_rate", *(("dtype", "rounding", "loss_scale") if self.settings.half else ()))
        return dataclasses.replace(settings, **{each: getattr(self.settings, each) for each in rated}) == self.settings

    @functools.cached_property
    def problem(self) -> QuadraticProblem:
        """The quadratic problem of the settings as given."""
        return self.problem_of(self.settings)

    def problem_of(self, settings: Settings) -> QuadraticProblem:
        """The quadratic problem of these settings, the same for all optimizers and batches."""
        key = (settings.normalize, settings.loss_space, settings.activity_l2)
        if key not in self._problems:
            self._problems[key] = problem_of(self.moments, None, settings, self.sample)
        return self._problems[key]

    def max_rate(self, settings: Settings) -> float:
        """The largest stable learning rate with these settings, in mean square over the batches."""
        return self.gaussian_rate(settings) * self.tails(settings)

    def gaussian_rate(self, settings: Settings, *, grouped: bool = False) -> float:
        """The largest stable learning rate of Gaussian rows; grouped as `max_learning_rate` takes it."""
        run = (self.problem_of(settings), min(settings.batch_size, self.rows), settings.momentum, settings.nesterov)
        if (*run, grouped) not in self._limits:
            self._limits[*run, grouped] = max_learning_rate(*run, grouped=grouped)
        return self._limits[*run, grouped]

    def tails(self, settings: Settings) -> float:
        """Largest stable rate over that of Gaussian rows of the same mean and covariance, from the sample."""
        if settings.batch_size >= self.rows:
            return 1.0
        return self.sample_tails.of(settings.normalize, settings.batch_size)

    @property
    def autoencoder(self) -> bool:
        """Whether the target is x itself."""
        return self.moments.raw.autoencoder
