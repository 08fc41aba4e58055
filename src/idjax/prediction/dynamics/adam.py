"""Adam and its relatives on minibatches: the expected loss, by the fastest form that holds for the inputs."""

from typing import NamedTuple, cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idjax.moments.spectrum import second_moment_factor
from idjax.nn import schedules
from idjax.prediction import budget
from idjax.prediction.dynamics.follow_cost import goes_to_its_end
from idjax.prediction.dynamics.on_moments import watched_of
from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec, beyond_quadratic
from idjax.prediction.dynamics.trajectory import (
    SampledTrajectory,
    Trajectory,
    UndefinedTrajectory,
    undefined_by_rounding,
)
from idjax.prediction.precision import in_float64
from idjax.results.curve import Status
from idjax.theory.adam import forecast, mean_dominated
from idjax.theory.adam.recursion import AdamForm, AdamInputs, AdamRate, AdamRule
from idjax.theory.full_batch.stepped import Watched
from idjax.types import Progress

FORMS: dict[str, AdamForm] = {"adam": "adam", "adamw": "adam", "nadam": "nadam", "rmsprop": "rmsprop"}
DOMINANCE = 5e3
"""First over second eigenvalue from which the mean dominates: a mean of 30 deviations, in 6 inputs or more."""
CLEAR_MEANS = 10.0
"""Deviations that every input's mean has to be away from 0."""
IN_SCALARS = 2.5e9
"""About the products of a run where the mean dominates."""
SHORTEST_MEMORY = 200
"""1/(1 - β₂) from which v averages enough gradients to be what is expected of it."""


class _AdamRun(NamedTuple):
    """A run of Adam for its theories: rule, inputs, learning rate, and the forms that are recorded at some steps."""

    rule: AdamRule
    inputs: AdamInputs
    rate: AdamRate
    steps: np.ndarray
    watched: Watched


def applies(spec: RunSpec) -> str | None:
    """Why this is no theory of the run, as flags; empty where it is of another kind."""
    settings = spec.settings
    if spec.layers or spec.full_batch or settings.optimizer == "sgd":
        return ""
    if settings.optimizer not in FORMS:
        return f"--optimizer {settings.optimizer} with minibatches"
    if settings.momentum:
        return f"--momentum of {settings.optimizer} with minibatches"
    if spec.empirical_rows:
        return f"--moments data with --optimizer {settings.optimizer}"
    return beyond_quadratic(settings)


@in_float64
def build(spec: RunSpec) -> Trajectory:
    """The loss in expectation over fresh Gaussian batches, v being what is expected of it; docs/theory.md, section 12.

    Where that does not hold the losses are NaN, and `how` says why.

    Raises:
      NoTheoryError: if the run is beyond the budget.
    """
    if undefined := undefined_by_rounding(spec):
        return undefined
    problem, settings = spec.problem, spec.settings
    run, constants = _adam_run(spec)
    memory = 1 / (1 - float(run.rule.beta_2))
    if memory < SHORTEST_MEMORY:
        return UndefinedTrajectory(
            f"{settings.optimizer}, outside its range: v averages over {memory:.0f} steps, too few to be what is "
            f"expected of it; predict covers --beta-2 from {1 - 1 / SHORTEST_MEMORY:g} on",
            Status.OUTSIDE_RANGE,
        )
    cost = products(spec)
    if cost > budget.ADAM:
        raise NoTheoryError(_too_long(spec, cost))
    errors = spec.start.stacked - problem.reference.stacked
    record, errors, how = (_in_scalars if in_scalars(spec) else _in_matrices)(spec, run, errors)
    record[1:] += constants[:, None]
    trajectory = SampledTrajectory(spec, record, spec.weights_of(errors))
    trajectory.how = f"{settings.optimizer}, {how}"
    if trajectory.status is Status.DIVERGES:
        trajectory.status = Status.OUTSIDE_RANGE
    return trajectory


@in_float64
def products(spec: RunSpec) -> float:
    """About the products that a prediction takes."""
    if in_scalars(spec):
        return IN_SCALARS
    return spec.settings.epochs * spec.steps * forecast.products_a_step(*spec.start.stacked.shape)


def _too_long(spec: RunSpec, cost: float) -> str:
    """The advice for a run that takes so many products, more than the budget."""
    epochs, (n, outputs) = spec.settings.epochs, spec.start.stacked.shape
    covered = int(epochs * budget.ADAM / cost)
    shorter = f"--epochs {covered} or a larger --batch-size" if covered else "a larger --batch-size"
    return (
        f"{spec.settings.optimizer} for {epochs * spec.steps:,} steps of {n - 1} inputs and {outputs} outputs is "
        f"beyond the budget: each step is iterated, which would take about {cost / budget.A_MINUTE:,.0f} minutes; give "
        f"{shorter}, or train it with idjax train"
    )


def _adam_run(spec: RunSpec) -> tuple[_AdamRun, Float[np.ndarray, " k"]]:
    """The run, and the values of what is watched at the optimum."""
    settings, numbers = spec.settings, spec.settings.numbers
    beta_1, weight_decay = numbers.get("beta_1", 0.0), numbers.get("weight_decay", 0.0)
    rule = AdamRule(beta_1, numbers["beta_2"], numbers["epsilon"], weight_decay)
    rate = schedules.build(settings.schedule, settings.step_size, spec.steps, settings.epochs)
    rate = cast(AdamRate, rate if callable(rate) else settings.step_size)
    steps = np.arange(1.0, settings.epochs + 1) * spec.steps
    watched, constants = watched_of(spec)
    return _AdamRun(rule, _inputs(spec), rate, steps, watched), constants


def _inputs(spec: RunSpec) -> AdamInputs:
    problem = spec.problem
    factor = second_moment_factor(problem.train)
    return AdamInputs(
        second_moment=jnp.asarray(factor @ factor.T),
        mean=jnp.asarray(np.sqrt(problem.train.weight) * np.append(problem.train.mean_x, 1.0)),
        batch_size=spec.mean_batch,
        gain=jnp.asarray(2 * problem.output_shares),
        noise=jnp.asarray(problem.on_train.residual),
        optimum=jnp.asarray(problem.reference.stacked.T),
    )


@in_float64
def in_scalars(spec: RunSpec) -> bool:
    """Whether the mean of the inputs dominates, so that Adam is followed in a few scalars for each output."""
    train = spec.problem.train
    if spec.settings.optimizer != "adam" or np.ptp(spec.problem.output_shares) > 0 or not spec.problem.spectrum.rank:
        return False
    deviation = np.sqrt(np.diagonal(train.covariance_xx))
    clear = bool(np.all(np.abs(train.mean_x) >= CLEAR_MEANS * deviation))
    return clear and mean_dominated.modes_of(_inputs(spec)).dominance >= DOMINANCE


def _in_scalars(spec: RunSpec, run: _AdamRun, errors: np.ndarray) -> tuple[Float[np.ndarray, "k E"], np.ndarray, str]:
    """The record of all outputs together, E[e] at the end, and how they were made."""
    modes = mean_dominated.modes_of(run.inputs)
    found = mean_dominated.forecast(run.rule, run.inputs, errors, run.rate, run.steps)
    forms, shares, slopes = map(np.asarray, run.watched)
    along = np.einsum("n,knm,m->k", modes.mean, forms, modes.mean)
    across = np.einsum("na,knm,mb->kab", modes.others, forms, modes.others, optimize=True)
    diagonals, slopes = np.diagonal(across, axis1=1, axis2=2), np.einsum("knq,na->kqa", slopes, modes.others)
    record = np.empty((1 + len(forms), len(run.steps)))
    mean = np.zeros((0, 0))
    for epoch, (loss, offset, mean, spread) in enumerate(found):
        record[0, epoch] = loss @ spec.problem.output_shares
        bent = mean @ across + 2 * slopes
        second = np.einsum("kqa,qa->kq", bent, mean) + diagonals @ spread.T + np.outer(along, offset)
        record[1:, epoch] = np.sum(shares * second, axis=1)
    how = "quasi-static, in scalars, for the mean of the inputs dominates (Gaussian rows, fresh batches)"
    return record, modes.others @ mean.T, how


def _in_matrices(spec: RunSpec, run: _AdamRun, errors: np.ndarray) -> tuple[Float[np.ndarray, "k E"], np.ndarray, str]:
    """The record of all outputs together, E[e] at the end, and how they were made."""
    optimizer = spec.settings.optimizer
    chance = forecast.SURE if spec.rows_at_hand and goes_to_its_end(spec, 2) else forecast.CHANCE
    found = forecast.forecast(
        run.rule, run.inputs, jnp.asarray(errors), run.rate, run.steps, *map(np.asarray, run.watched),
        form=FORMS[optimizer], chance=chance,
        progress=lambda share: spec.progress(Progress(int(1000 * share), 1000, f"{optimizer}, step by step")),
    )  # fmt: skip
    record = np.concatenate([found.mean[None], found.forms])
    how = "quasi-static: v as expected, the rest exact in expectation (Gaussian rows, fresh batches)"
    if found.verdict:
        step, why = found.verdict
        record[:, run.steps >= step] = np.nan
        how += f"; outside its range from step {step:,.0f} on: {why}"
    return record, found.errors, how
