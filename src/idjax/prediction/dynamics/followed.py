"""Runs that no theory predicts, followed: trained on rows at hand in several orders, as far as that is cheap.

The last of the theories: it applies to every run whose rows are at hand, and where another one finds no numbers.
"""

import contextvars
import dataclasses
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.nn.descent import Descent, Shuffle
from idjax.nn.learned import crossing
from idjax.nn.model import layers_of
from idjax.nn.starts import INITIALIZERS, start_layers
from idjax.prediction.dynamics.extrapolation import extrapolated
from idjax.prediction.dynamics.follow_cost import RUNS, goes_to_its_end
from idjax.prediction.dynamics.network import dead, seen, unreachable
from idjax.prediction.dynamics.pace import Pace, pace_of, steps_of
from idjax.prediction.dynamics.run_spec import RunSpec, floor_of
from idjax.prediction.dynamics.trajectory import Losses, Trajectory
from idjax.results.curve import Status
from idjax.settings import Settings
from idjax.types import Layers, Progress, Weights, end_to_end, silent

THREADS = min(os.cpu_count() or 1, RUNS)


class FollowedRuns(NamedTuple):
    """Runs side by side: updates at the looks, and there the mean training loss since the last one, what the judged
    rows have of the loss, of what is unexplained in original units, and of accuracy; weights at the end, one list of
    layers a run.
    """

    steps: Float[np.ndarray, " t"]
    train: Float[np.ndarray, "k t"]
    judged: Float[np.ndarray, "k t"]
    error: Float[np.ndarray, "k t"]
    accuracy: Float[np.ndarray, "k t"]
    ends: tuple[Layers, ...]


def applies(spec: RunSpec) -> str | None:
    """Why this is no theory of the run: its rows are not at hand."""
    return None if spec.rows_at_hand else "a run whose rows are not at hand"


def build(spec: RunSpec) -> "FollowedTrajectory":
    """The run from its own start, in several orders of the rows where these are drawn; a band's runs beside it."""
    count, banded = _runs(spec), spec.banded and _random(spec)
    pace = pace_of(spec, count, RUNS) if banded else pace_of(spec, count)
    with ThreadPoolExecutor(1) as pool:  # one run keeps one core
        beside = contextvars.copy_context().run, other_runs, spec._replace(progress=silent), pace  # NumPy's errstate
        others = pool.submit(*beside) if banded else None
        runs = side_by_side(spec, numbered(spec, count), pace=pace)
    trajectory = FollowedTrajectory(spec, runs)
    trajectory.others = others.result() if others else None
    return trajectory


def other_runs(spec: RunSpec, pace: Pace | None = None) -> list[Losses] | None:
    """RUNS runs in orders of their own, from starts of their own if these are drawn; None where nothing is random."""
    if not _random(spec):
        return None
    starts = other_starts(spec, RUNS) if spec.settings.start in INITIALIZERS else [spec.all_layers] * RUNS
    found = side_by_side(spec, numbered(spec, RUNS), starts, draws=1, pace=pace)
    each = (np.stack(parts) for parts in zip(*found[1:5], strict=True))
    return [_losses(spec, _by_epoch(spec, found.steps, record)[0]) for record in each]


def other_starts(spec: RunSpec, count: int) -> list[Layers]:
    """Other draws of all layers at the start."""
    settings, train = spec.settings, spec.problem.train
    seeds = np.random.default_rng([settings.seed, 2]).integers(2**32, size=count)
    sizes = train.inputs, *settings.hidden, train.outputs
    return [start_layers(settings.start, sizes, int(seed)) for seed in seeds]


def side_by_side(
    spec: RunSpec,
    runs: Sequence[Settings],
    starts: Sequence[Layers] | None = None,
    draws: int = 0,
    pace: Pace | None = None,
) -> FollowedRuns:
    """Trainings on the rows of the spec, side by side, for its epochs or as many updates as the budget allows.

    Args:
      runs: settings that differ in the learning rate or the seed of rounding alone.
      starts: of each run; all from that of the spec if None.
      draws: which of the endless orders of the rows: each run has its own.
      pace: that of other runs beside these; their own if None.
    """
    pace = pace or pace_of(spec, len(runs))
    prepared, size = pace.prepared, pace.together
    parts = max(1, -(-steps_of(spec, len(runs)) // prepared.steps))
    starts = starts or [spec.all_layers] * len(runs)
    seeds = [np.random.default_rng([spec.settings.seed, 4 + draws, number]) for number in range(len(runs))]
    held, goes_on = len(prepared.training.x), prepared.rows < spec.rows
    shuffles = [Shuffle(seed, prepared.rows, held, goes_on=goes_on) for seed in seeds]
    stacks = [slice(first, first + size) for first in range(0, len(runs), size)]

    def descend(stack: slice) -> tuple[np.ndarray, list[Layers]]:
        descent = Descent(prepared, runs[stack], starts[stack], shuffles[stack])
        record = _descend(pace, descent, parts)
        return record, list(map(layers_of, descent.params()))

    found = []
    with ThreadPoolExecutor(THREADS) as pool:
        for each in pool.map(descend, stacks):
            found.append(each)
            spec.progress(Progress(len(found) * size, len(runs), "no theory predicts it: runs followed on the rows"))
    train, judged, error, accuracy = np.concatenate([record for record, _ in found], axis=1)
    error = error * (spec.problem.variance if prepared.varies else 1.0)
    ends = tuple(layers for _, each in found for layers in each)
    return FollowedRuns(np.arange(1.0, parts + 1) * prepared.steps, train, judged, error, accuracy, ends)


def _descend(pace: Pace, descent: Descent, parts: int) -> Float[np.ndarray, "4 k t"]:
    """Training loss, judged loss, error and accuracy of every part; NaN after the end of runs that all diverge."""
    calls = -(-parts // pace.looks)
    record = np.full((4, pace.together, calls * pace.looks), np.nan)
    for first in range(0, record.shape[2], pace.looks):
        found = descent.epochs(pace.looks)
        now = np.stack([pace.prepared.epoch_means(found.batches), found.judged, found.error, found.accuracy])
        record[:, :, first : first + pace.looks] = now
        if not np.isfinite(now[0, :, -1]).any():
            break
    return record[:, :, :parts]


def _runs(spec: RunSpec) -> int:
    """The orders of the rows to follow: as many as go to the end of the run."""
    if not _drawn(spec):
        return 1
    return next((runs for runs in (RUNS, RUNS // 2, RUNS // 4) if goes_to_its_end(spec, runs)), 1)


def _random(spec: RunSpec) -> bool:
    """Whether two runs of these settings differ."""
    return spec.settings.start in INITIALIZERS or _drawn(spec)


def _drawn(spec: RunSpec) -> bool:
    """Whether two runs from one start differ."""
    return not spec.full_batch or spec.settings.rounding == "stochastic"


class FollowedTrajectory(Trajectory):
    """The mean of runs that were followed, by epochs; past their end by the decay that the end of them has, if it has
    one that would have told this end from the runs' first part.
    """

    followed = True

    def __init__(self, spec: RunSpec, runs: FollowedRuns):
        self._spec, self._runs = spec, runs
        self.least = -floor_of(spec.problem)
        wanted = spec.settings.epochs * spec.steps
        self.known_until = float(min(runs.steps[-1], wanted))
        self.how, self.status = _how(spec, runs, self.known_until), Status.FOLLOWED
        kept = np.isfinite(runs.train[:, -1])
        if not kept.all():
            self.how += f"; {np.count_nonzero(~kept)} of {len(kept)} diverge"
        if 2 * np.count_nonzero(kept) < len(kept):
            self.status, kept = Status.DIVERGES, ~kept
        self.notes = _units(spec, runs.ends[0]) if not spec.settings.linear else ()
        self._mean = np.stack([part[kept].mean(axis=0) for part in runs[1:5]])
        self._by_epoch, told = _by_epoch(spec, runs.steps, self._mean)
        self.accuracy = self._by_epoch[3] if spec.settings.classifies else None
        if told > self.known_until:
            self.status = Status.OUTSIDE_RANGE
            self.how += f"; steps {self.known_until + 1:,.0f} to {told:,.0f} are extrapolated"

    def losses(self, epochs: Float[np.ndarray, " E"]) -> Losses:
        """The losses of these epochs."""
        return _losses(self._spec, self._by_epoch[:, (epochs - 1).astype(int)])

    def steps_to(self, level: float) -> float:
        """Updates until the judged squared error is at most `level`, within what was followed."""
        return crossing(self._runs.steps, self._mean[2] - self._spec.problem.lost, level)

    def weights(self, step: float) -> Weights | None:
        """The mean of the runs' weights at their end, of linear layers, if that is the end of the run."""
        if not self._spec.settings.linear or step > self.known_until:
            return None
        ends = [end_to_end(layers) for layers in self._runs.ends]
        return self._spec.problem.enter(Weights(*(np.mean(part, axis=0) for part in zip(*ends, strict=True))))


def _by_epoch(
    spec: RunSpec, steps: Float[np.ndarray, " t"], record: Float[np.ndarray, "4 t"]
) -> tuple[Float[np.ndarray, "4 E"], float]:
    """Training loss of each epoch, judged loss and error at its end; and the updates up to which it is known or told.

    Of a run that is followed for less than an epoch, the first epoch is what there is of it.
    """
    part, epochs = float(steps[0]), np.arange(1.0, spec.settings.epochs + 1)
    count = math.ceil(spec.settings.epochs * spec.steps / part - 1e-9)
    told = np.stack([extrapolated(values, count) for values in record])
    known = int(np.isfinite(told[0]).sum())
    if 0 < known < spec.steps / part:
        told[:, known : math.ceil(spec.steps / part)] = told[:, known - 1 : known]
    ends = np.round(epochs * spec.steps / part).astype(int).clip(1, count)
    sums = np.concatenate([[0.0], np.cumsum(told[0])])
    begins = np.append(0, ends[:-1])
    train = (sums[ends] - sums[begins]) / (ends - begins)
    return np.stack([train, *told[1:, ends - 1]]), min(known * part, epochs[-1] * spec.steps)


def _losses(spec: RunSpec, record: Float[np.ndarray, "4 E"]) -> Losses:
    problem, (train, judged, error, _) = spec.problem, record
    validation = judged if problem.validation is not None else np.full_like(judged, np.nan)
    return Losses(train - floor_of(problem), validation - problem.penalty[1], error - problem.lost)


def numbered(spec: RunSpec, count: int) -> list[Settings]:
    """The settings for so many runs that round as they like."""
    return [dataclasses.replace(spec.settings, seed=number) for number in range(count)]


def _units(spec: RunSpec, ends: Layers) -> tuple[str, ...]:
    """The outputs and units that are of no use."""
    assert spec.sample is not None
    rows = seen(spec, spec.sample)
    dead_then = dead(spec, rows, ends, "at the end of what was followed")
    return (*unreachable(spec, rows), *dead(spec, rows, spec.all_layers, "at the start"), *dead_then)


def _how(spec: RunSpec, runs: FollowedRuns, steps: float) -> str:
    sample = spec.sample
    assert sample is not None
    count, held = len(runs.train), len(sample.x)
    what = "1 run" if count == 1 else f"{count} runs side by side"
    rows = f"all {held:,} rows" if held >= spec.rows else f"{held:,} of the {spec.rows:,} rows"
    return f"followed: {what} on {rows}, for {steps:,.0f} of {spec.settings.epochs * spec.steps:,} steps"
