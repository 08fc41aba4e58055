"""Runs on the rows at hand, batch by batch and side by side: where no theory says what the noise of batches does."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.moments.normalize import fit
from idjax.nn.model import to_params
from idjax.nn.step import Rows, hyper_for, initial_state, plan_for, train_runs
from idjax.prediction import budget
from idjax.prediction.dynamics.run_spec import RunSpec, Sample, floor_of
from idjax.prediction.dynamics.trajectory import Losses
from idjax.types import Layers


def on_rows(spec: RunSpec, starts: Sequence[Layers]) -> list[Losses]:
    """The losses of the run from each of these starts, its rows shuffled anew in every epoch, as training has them."""
    settings, problem, sample = spec.settings, spec.problem, spec.sample
    assert sample is not None
    plan = plan_for(settings, autoencoder=sample.y is None, outputs=problem.train.outputs, rows=spec.rows)
    hyper, runs = hyper_for(settings), len(starts)
    draws = np.random.default_rng([settings.seed, 4])
    numbers = np.broadcast_to(np.arange(spec.rows, dtype=np.int32), (runs, settings.epochs, spec.rows))
    fitted = problem.fold_with or fit("none", problem.shape_moments)
    _, batches, validation, _ = train_runs(
        plan,
        _stack([hyper] * runs),
        jax.tree.map(lambda a: jnp.asarray(a, settings.data_dtype), fitted),
        _stack([initial_state(plan, hyper, to_params(start, settings.dtype), k) for k, start in enumerate(starts)]),
        _on_device(sample, settings.data_dtype),
        None if spec.held_out is None else _on_device(spec.held_out, settings.data_dtype),
        jnp.asarray(draws.permuted(numbers, axis=-1)),
        shared_order=False,
    )
    sizes = np.full(spec.steps, settings.batch_size)
    sizes[-1] = spec.rows - sizes[:-1].sum()
    train = np.asarray(batches, np.float64) @ sizes / spec.rows - floor_of(problem)
    validation = np.asarray(validation, np.float64) - problem.penalty[1]
    return [Losses(*pair, np.full_like(pair[0], np.nan)) for pair in zip(train, validation, strict=True)]


def products(spec: RunSpec, runs: int) -> float:
    """About the products that this takes; inf where the rows are not at hand or too many."""
    settings, sample = spec.settings, spec.sample
    missing = spec.problem.validation is not None and spec.held_out is None
    if sample is None or len(sample.x) != spec.rows or missing:
        return float("inf")
    columns = sample.x.shape[1] + spec.start.bias.size
    if runs * spec.rows * max(columns, settings.epochs) > budget.NUMBERS_OF_RUNS:
        return float("inf")
    weights = sum(layer.stacked.size for layer in spec.layers)
    updates, rows = settings.epochs * spec.steps, runs * settings.epochs * spec.rows
    return 7.5e9 + 1e5 * updates * len(spec.layers) + rows * (250 + 1.25 * weights)


def _on_device(sample: Sample, dtype: str) -> Rows:
    return Rows(*(None if part is None else jnp.asarray(part, dtype) for part in sample))


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
