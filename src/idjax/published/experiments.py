"""Experiments as frozen dataclasses: runs with their claims, what was published of them, and the scan of variances."""

import dataclasses
import math

from idjax.settings import Normalize, Settings


@dataclasses.dataclass(frozen=True)
class Claim:
    """A metric of a trained run, one of `idjax.published.claims.METRICS`, that is claimed to lie between two bounds."""

    metric: str
    low: float = -math.inf
    high: float = math.inf


@dataclasses.dataclass(frozen=True)
class Run:
    """One training: what it is called, how it is set, what is claimed, and what to tell the reader.

    spread multiplies how far the rows are from their mean. long_run is the number of epochs of a second prediction,
    where the training stops early.
    """

    label: str
    settings: Settings
    claims: tuple[Claim, ...]
    note: str = ""
    draw_samples: bool = False
    best_learning_rate: bool = False
    spread: float = 1.0
    long_run: int | None = None


@dataclasses.dataclass(frozen=True)
class PublishedLoss:
    """A line of the training log that was published, rounded to 4 decimals."""

    epoch: int
    train: float
    validation: float


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Runs on one data set that answer one question.

    answer tells what they show where all claims hold. full_epochs is how long `reproduce --full` trains each run. A run
    at the predicted best rate has best_learning_rate set; its learning rate is filled in by the prediction.
    """

    name: str
    title: str
    question: str
    data: str
    runs: tuple[Run, ...]
    published: tuple[PublishedLoss, ...] = ()
    published_words: str = ""
    full_epochs: int | None = None
    answer: str = ""

    @property
    def many(self) -> bool:
        """Whether there are so many runs that one figure compares their ends, and none shows its curve."""
        return len(self.runs) > 6


@dataclasses.dataclass(frozen=True)
class VarianceScan:
    """Full-batch descent on Gaussian rows of one mean and ever smaller deviation, for several normalisers.

    ratios are deviation over mean; the learning rate is min(learning_rate, half the largest stable one). Points
    predicted under `most_steps` (`full_steps` with `--full`) are trained to the end; others, down to
    `smallest_measured`, have the decay rate of their slow modes measured; below, float64 itself cannot show it.
    """

    name: str
    title: str
    question: str
    mean: float
    inputs: int
    rows: int
    ratios: tuple[float, ...]
    marked: float
    normalizers: tuple[Normalize, ...]
    learning_rate: float
    most_steps: float
    full_steps: float
    smallest_measured: float
    tolerance: float
