"""Runs on the rows at hand, batch by batch and side by side: where no theory says what the noise of batches does."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from idjax.nn.descent import Descent, Shuffle, put_on_device
from idjax.prediction import budget
from idjax.prediction.dynamics.run_spec import RunSpec, floor_of
from idjax.prediction.dynamics.trajectory import Losses
from idjax.prediction.precision import in_float64
from idjax.types import Layers


@in_float64
def on_rows(spec: RunSpec, starts: Sequence[Layers]) -> list[Losses]:
    """The losses of the run from each of these starts, its rows shuffled anew in every epoch, as training has them."""
    settings, problem, sample = spec.settings, spec.problem, spec.sample
    assert sample is not None
    prepared = put_on_device(settings, sample, problem.normalizer, spec.held_out)
    draws = np.random.default_rng([settings.seed, 4])
    runs = [dataclasses.replace(settings, seed=number) for number in range(len(starts))]
    shuffles = [Shuffle(draws, spec.rows, spec.rows) for _ in runs]
    losses = Descent(prepared, runs, starts, shuffles).epochs(settings.epochs)
    train = prepared.epoch_means(losses.batches) - floor_of(problem)
    validation = losses.judged - problem.penalty[1]
    return [Losses(*pair, np.full_like(pair[0], np.nan)) for pair in zip(train, validation, strict=True)]


def products(spec: RunSpec, runs: int) -> float:
    """About the products that this takes; inf where the rows are not at hand or too many."""
    settings, sample = spec.settings, spec.sample
    if sample is None or len(sample.x) != spec.rows or not spec.rows_at_hand:
        return float("inf")
    columns = sample.x.shape[1] + spec.start.bias.size
    if runs * spec.rows * max(columns, settings.epochs) > budget.NUMBERS_OF_RUNS:
        return float("inf")
    weights = sum(layer.stacked.size for layer in spec.layers)
    updates, rows = settings.epochs * spec.steps, runs * settings.epochs * spec.rows
    return 7.5e9 + 1e5 * updates * len(spec.layers) + rows * (250 + 1.25 * weights)
