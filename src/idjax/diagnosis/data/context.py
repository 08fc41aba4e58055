"""The context of a diagnosis: moments and a sample of the rows, settings, and the predictions asked of them, cached."""

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Float

from idjax.diagnosis.data.tails import FourthMoment, WhiteRows, fourth_moment_of, power_of, white_rows
from idjax.moments.columns import ColumnStats
from idjax.moments.moments import MomentSet
from idjax.moments.normalize import Affine, encode, fit, standardize, standardize_samples
from idjax.nn.starts import start_weights
from idjax.prediction.dynamics import RunSpec
from idjax.prediction.predict import NoTheoryError, epochs_to_learn, predict_run, run_spec, times_of_groups
from idjax.prediction.problem import QuadraticProblem, max_learning_rate, quadratic_problem
from idjax.results.curve import Curve, ModeGroup
from idjax.settings import Schedule, Settings
from idjax.types import Weights

TUNED = 0.2
"""Share of the largest stable learning rate that a well-chosen one has: below 0.3, where rare runs carry the mean."""
HEAVY = 0.5
"""Stable rate, over that of Gaussian rows, below which tails are heavy; sampling alone gives down to 0.8."""


@dataclasses.dataclass(frozen=True)
class ColumnFacts:
    """Names, stored types, ranges and moments of each column of x and of the target."""

    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    feature_dtypes: tuple[np.dtype, ...]
    target_dtypes: tuple[np.dtype, ...]
    inputs: ColumnStats
    targets: ColumnStats


@dataclasses.dataclass(eq=False)
class Context:
    """Data and settings under examination; findings are pure functions of it.

    source:   how messages call the data.
    moments:  of all training rows.
    columns:  of x and the target.
    sample:   some rows (x, y), float64; y is x for an autoencoder.
    settings: of the run, learned_at being the share of what a linear layer can explain.
    budget:   epochs that training may take.
    """

    source: str
    moments: MomentSet
    columns: ColumnFacts
    sample: tuple[Float[np.ndarray, "k p"], Float[np.ndarray, "k q"]]
    settings: Settings
    budget: float
    _epochs: dict[Settings, float] = dataclasses.field(default_factory=dict, repr=False)
    _tails: dict[tuple[str, int], float] = dataclasses.field(default_factory=dict, repr=False)
    _fourths: dict[str, FourthMoment] = dataclasses.field(default_factory=dict, repr=False)
    _problems: dict[tuple[str, str, float], QuadraticProblem] = dataclasses.field(default_factory=dict, repr=False)
    _starts: dict[QuadraticProblem, Weights] = dataclasses.field(default_factory=dict, repr=False)
    _limits: dict[tuple[QuadraticProblem, int, float, bool], float] = dataclasses.field(
        default_factory=dict, repr=False
    )

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
    def start(self) -> Weights:
        """The weights before training."""
        return start_weights(self.settings.start, self.moments.raw.inputs, self.moments.raw.outputs, self.settings.seed)

    @functools.cached_property
    def variance(self) -> float:
        """Mean variance of the targets, original units."""
        return float(np.mean(np.diagonal(self.moments.raw.covariance_yy)))

    @property
    def varies(self) -> bool:
        """Whether the targets vary; else there is nothing to learn."""
        return self.variance > 0

    @functools.cached_property
    def reachable(self) -> float:
        """The explained variance of the best linear layer; 1 for an autoencoder."""
        problem = self.problem_of(dataclasses.replace(self.settings, normalize="none", activity_l2=0.0))
        floor = float(problem.on_judged.residual @ problem.judged_shares)
        return 1 - floor / self.variance if self.variance > 0 else math.nan

    @property
    def level(self) -> float:
        """The explained variance that counts as learned: the asked share of what is reachable."""
        return self.settings.learned_at * self.reachable

    @property
    def before(self) -> Curve | None:
        """The prediction for the settings as given, over the budget; None if no theory covers them."""
        return self._given if isinstance(self._given, Curve) else None

    @property
    def no_prediction(self) -> str:
        """The reason why no theory covers the settings as given; empty if one does."""
        return "" if isinstance(self._given, Curve) else str(self._given)

    @functools.cached_property
    def learned(self) -> bool:
        """Whether the settings as given reach the level within the budget, tails of the rows considered."""
        return self.takes <= self.budget

    @property
    def takes(self) -> float:
        """Epochs to the level with the settings as given, tails of the rows considered."""
        return math.inf if self.tails_diverge else self.epochs()

    @functools.cached_property
    def tails_diverge(self) -> bool:
        """Whether SGD is stable for Gaussian rows at this rate and batch, and not for rows with the sample's tails."""
        if self.adaptive or self.before is None or self.tails(self.settings) > HEAVY:
            return False
        limit = self.max_rate()
        return limit <= self.settings.step_size < limit / self.tails(self.settings)

    def epochs(self, **changes: object) -> float:
        """Predicted epochs to the level with these changes to the settings; inf if never, NaN without a theory."""
        return self.epochs_of(dataclasses.replace(self.settings, **changes))  # type: ignore[arg-type]

    def epochs_of(self, settings: Settings) -> float:
        """Predicted epochs to the level with these settings; inf if never, NaN without a theory."""
        if settings == self.settings:
            return self.before.epochs_to_learn if self.before else math.nan
        judged = self._judged(settings)
        if settings.optimizer == "sgd" and not settings.schedule.changes and settings.dtype != "bfloat16":
            # Closed forms know when, whatever the run; only rounding of a full batch in bfloat16 is stepped.
            judged = dataclasses.replace(judged, epochs=1)
        if judged not in self._epochs:
            try:
                self._epochs[judged] = epochs_to_learn(self._run(judged))
            except NoTheoryError:
                self._epochs[judged] = math.nan
        return self._epochs[judged]

    @functools.cached_property
    def times_of_groups(self) -> tuple[ModeGroup, ...]:
        """Times of the groups of modes with the settings as given, which a theory has to cover."""
        return times_of_groups(self._run(self._judged(self.settings)))

    @functools.cached_property
    def _given(self) -> Curve | NoTheoryError:
        try:
            return predict_run(self._run(self._judged(self.settings)))
        except NoTheoryError as error:
            return error

    def _run(self, settings: Settings) -> RunSpec:
        problem = self.problem_of(settings)
        spec = run_spec(self.moments, None, settings, problem=problem)
        return spec._replace(start=self._starts.setdefault(problem, spec.start))

    def _judged(self, settings: Settings) -> Settings:
        return dataclasses.replace(settings, learned_at=min(max(self.level, 1e-9), 1 - 1e-12))

    @functools.cached_property
    def problem(self) -> QuadraticProblem:
        """The quadratic problem of the settings as given."""
        return self.problem_of(self.settings)

    def problem_of(self, settings: Settings) -> QuadraticProblem:
        """The quadratic problem of these settings, the same for all optimizers and batches."""
        key = (settings.normalize, settings.loss_space, settings.activity_l2)
        if key not in self._problems:
            self._problems[key] = quadratic_problem(self.moments, None, settings)
        return self._problems[key]

    def max_rate(self, **changes: object) -> float:
        """The largest stable learning rate with these changes, in mean square over the batches."""
        settings = dataclasses.replace(self.settings, **changes)  # type: ignore[arg-type]
        problem = self.problem_of(settings)
        key = (problem, min(settings.batch_size, self.rows), settings.momentum, settings.nesterov)
        if key not in self._limits:
            self._limits[key] = max_learning_rate(*key)
        return self._limits[key] * self.tails(settings)

    def tuned(self, **changes: object) -> dict[str, object]:
        """These changes with plain SGD and a well-chosen learning rate, of two digits, added."""
        plain = {"optimizer": "sgd", "solver": "auto", **plain_numbers(), "momentum": 0.0, "nesterov": False}
        changes = plain | changes
        held = np.finfo(self.settings.data_dtype)  # a rate that training can have
        rate = min(max(TUNED * self.max_rate(**changes), float(held.tiny)), float(held.max))
        return {**changes, "learning_rate": two_digits(rate), "schedule": Schedule()}

    def tails(self, settings: Settings) -> float:
        """Largest stable rate over that of Gaussian rows of the same mean and covariance, from the sample."""
        if settings.batch_size >= self.rows:
            return 1.0
        key = (settings.normalize, settings.batch_size)
        if key not in self._tails:
            if settings.normalize not in self._fourths:
                self._fourths[settings.normalize] = self._fourth_moment(settings.normalize)
            self._tails[key] = self._fourths[settings.normalize].tails(settings.batch_size)
        return self._tails[key]

    def _fourth_moment(self, normalize: str) -> FourthMoment:
        x = self.sample[0]
        if normalize == "sample":
            return fourth_moment_of(white_rows(x, lambda rows: standardize_samples(rows)[0]))
        if normalize in ("pca", "zca"):
            return fourth_moment_of(self._white)
        fitted, known = (fit(kind, self.moments.raw).inputs for kind in (normalize, "pca"))
        assert isinstance(fitted, Affine)
        return fourth_moment_of(self._white, power_of(x, fitted), self._white.again(known, fitted))

    @functools.cached_property
    def _white(self) -> WhiteRows:
        fitted = fit("pca", self.moments.raw).inputs
        return white_rows(self.sample[0], lambda rows: standardize(rows, fitted))

    def normalized_targets(self) -> Float[np.ndarray, "k q"]:
        """The sample's targets as the layer sees them."""
        return self._encoded(self.settings.normalize)[1]

    def _encoded(self, normalize: str) -> tuple[np.ndarray, np.ndarray]:
        """The sample's inputs and targets as the layer sees them."""
        x, y = self.sample
        z, target, _ = encode(normalize, fit(normalize, self.moments.raw), x, None if self.autoencoder else y)
        return np.asarray(z), np.asarray(target)

    @property
    def autoencoder(self) -> bool:
        """Whether the target is x itself."""
        return self.moments.raw.autoencoder


def plain_numbers() -> dict[str, object]:
    """Settings without any optimizer's own numbers."""
    return {"beta_1": None, "beta_2": None, "epsilon": None, "weight_decay": None}


def two_digits(value: float) -> float:
    """The value, rounded down to two digits: what a person would type."""
    if not (0 < value < math.inf):
        return value
    scale = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / scale + 1e-9) * scale:.2g}")
