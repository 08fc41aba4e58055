"""Result dataclasses of the experiments: checked claims, runs, and points of the variance scan."""

import dataclasses
import math
from typing import Literal

from idjax.published.experiments import Claim, Experiment, Run, VarianceScan
from idjax.results.curve import Curve
from idjax.results.diagnosis import Samples
from idjax.settings import Settings


@dataclasses.dataclass(frozen=True)
class Checked:
    """A claim with the value that was found, and what the metric means in words."""

    claim: Claim
    value: float
    words: str

    @property
    def holds(self) -> bool:
        """Whether the value lies between the bounds, ends included; NaN does not."""
        return self.claim.low <= self.value <= self.claim.high

    @property
    def bounds(self) -> str:
        """The bounds in words."""
        low, high = self.claim.low, self.claim.high
        if low == high:
            return f"exactly {low:g}"
        if math.isinf(low):
            return f"at most {high:g}"
        if math.isinf(high):
            return f"at least {low:g}"
        return f"{low:g} to {high:g}"


@dataclasses.dataclass(frozen=True)
class RunOutcome:
    """One run: predicted before training, trained, held against its claims."""

    run: Run
    settings: Settings
    predicted: Curve
    trained: Curve
    checks: tuple[Checked, ...]
    verdict: str
    samples: Samples | None = None
    long_run: Curve | None = None
    """A prediction for more epochs than were trained."""

    @property
    def learned(self) -> bool:
        """Whether training ended at the explained variance that counts as learned."""
        return bool(self.trained.explained_variance[-1] >= self.settings.learned_at)

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return all(check.holds for check in self.checks)


@dataclasses.dataclass(frozen=True)
class ExperimentOutcome:
    """All runs of an experiment."""

    experiment: Experiment
    runs: tuple[RunOutcome, ...]

    @property
    def holds(self) -> bool:
        """Whether every claim of every run holds."""
        return all(run.holds for run in self.runs)


@dataclasses.dataclass(frozen=True)
class ScanPoint:
    """Steps to learn at one deviation and normaliser.

    kind says how `measured` came about: trained to the end; the measured decay rate extrapolated; or prediction
    only, where float64 itself cannot show the decay (measured is then NaN).
    """

    ratio: float
    normalize: str
    learning_rate: float
    predicted: float
    measured: float
    kind: Literal["trained", "extrapolated", "beyond float64"]

    @property
    def how_measured(self) -> str:
        """Where the measured value comes from, in words."""
        return {
            "trained": "trained to the end",
            "extrapolated": "measured decay rate, extrapolated",
            "beyond float64": "prediction only: beyond float64",
        }[self.kind]

    @property
    def error(self) -> float:
        """measured / predicted - 1."""
        return 0.0 if self.measured == self.predicted else self.measured / max(self.predicted, 1.0) - 1


@dataclasses.dataclass(frozen=True)
class ScanOutcome:
    """All points of a variance scan."""

    scan: VarianceScan
    points: tuple[ScanPoint, ...]

    @property
    def worst(self) -> float:
        """The largest |error| over the measured points."""
        return max((abs(point.error) for point in self.points if point.kind != "beyond float64"), default=0.0)

    @property
    def holds(self) -> bool:
        """Whether every measured point agrees within the tolerance."""
        return self.worst <= self.scan.tolerance


Outcome = ExperimentOutcome | ScanOutcome
