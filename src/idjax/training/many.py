"""Many trainings on one data set: those of one shape are stacked into one compiled program."""

import dataclasses
import functools
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from idjax.data import Dataset, as_dataset, keras_split, within
from idjax.nn.descent import PreparedData
from idjax.results.curve import Curve
from idjax.settings import STACKED, Settings
from idjax.training.block_sgd import InBlocks
from idjax.training.train import prepare, train_group
from idjax.types import Progress

MOST_COLUMNS = 384
"""Columns of weights in a stack of runs in blocks: with more they leave a core's cache, residuals and all."""
MOST_NUMBERS = 2**26
"""Numbers that the rows or the outputs of stacked runs by steps may take."""
MOST_RUNS = 64
THREADS = min(os.cpu_count() or 1, 8)
"""Stacks trained at a time: the products of one are too small to be shared among cores."""


def train_many(
    dataset: Dataset,
    settings: Sequence[Settings],
    *,
    on_epoch: Callable[[int, Progress], None] | None = None,
    stop_at: float = math.inf,
) -> list[Curve]:
    """Trains one Dense layer for each of the settings; the twin of `train`, whose curves these are.

    Runs that differ only in what a compiled program takes as arguments are trained together. In blocks (see
    `Settings.solver`) their weights stand side by side in one wide product, if they share the seed and with it the
    order of the batches; others are vectorised. A run that has diverged, or explains stop_at of the variance, costs
    nothing any more, and the rest of its curve is NaN.

    Args:
      on_epoch: called with the number of the run and its news, as `train` calls it, from one thread at a time.

    Raises:
      IdjaxError: bad settings or data.

    Example:
      >>> import numpy as np
      >>> data = as_dataset(1 + np.random.default_rng(0).normal(size=(100, 3)), None, "float32")
      >>> slow, fast = train_many(data, [Settings(batch_size=70, learning_rate=rate) for rate in (0.01, 0.1)])
      >>> bool(fast.train[-1] < slow.train[-1])
      True
    """
    settings = [within(each, keras_split(len(dataset.x), each.validation_split)) for each in settings]
    groups: dict[Settings, list[int]] = {}
    for index, each in enumerate(settings):
        groups.setdefault(program_of(each), []).append(index)
    curves: dict[int, Curve] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for members in groups.values():
            first = settings[members[0]]
            prepared = prepare(as_dataset(dataset, None, first.data_dtype), first, len(members))
            stacks = _stacks(prepared, settings, members)
            train_stack = functools.partial(_train_stack, prepared, settings, on_epoch, threading.Lock(), stop_at)
            for stack, trained in zip(stacks, pool.map(train_stack, stacks), strict=True):
                curves.update(zip(stack, trained, strict=True))
    return [curves[index] for index in range(len(settings))]


def _train_stack(
    prepared: PreparedData,
    settings: Sequence[Settings],
    on_epoch: Callable[[int, Progress], None] | None,
    lock: threading.Lock,
    stop_at: float,
    stack: Sequence[int],
) -> list[Curve]:
    def heard(run: int, progress: Progress) -> None:
        if on_epoch:
            with lock:
                on_epoch(stack[run], progress)

    return train_group(prepared, [settings[index] for index in stack], heard, stop_at)


def _stacks(prepared: PreparedData, settings: Sequence[Settings], members: Sequence[int]) -> list[list[int]]:
    """The members of a group, in stacks of the width that is fastest; in blocks those of a seed by themselves."""
    by_seed: dict[int, list[int]] = {}
    for index in members:
        by_seed.setdefault(settings[index].seed if isinstance(prepared.updates, InBlocks) else 0, []).append(index)
    width = most_runs(prepared)
    return [alike[begin : begin + width] for alike in by_seed.values() for begin in range(0, len(alike), width)]


def program_of(settings: Settings) -> Settings:
    """The settings without what does not shape the compiled program; whether there is momentum does."""
    blank = {name: getattr(Settings(), name) for name in STACKED}
    return dataclasses.replace(settings, **{**blank, "momentum": 0.5 if settings.momentum else 0.0})


def most_runs(prepared: PreparedData) -> int:
    """How many runs are worth stacking."""
    q = prepared.plan.outputs
    if isinstance(prepared.updates, InBlocks):
        most = MOST_COLUMNS // q
    else:
        judged = prepared.judged or prepared.training
        most = MOST_NUMBERS // max(prepared.training.x.size, len(judged.x) * q)
    return min(MOST_RUNS, 2 ** max(most.bit_length() - 1, 0))
