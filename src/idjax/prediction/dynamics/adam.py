"""Adam and its relatives on minibatches: the expected loss, by the fastest form that holds for the inputs."""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idjax.moments.spectrum import second_moment_factor
from idjax.nn import schedules
from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec, beyond_quadratic
from idjax.prediction.dynamics.trajectory import (
    SampledTrajectory,
    Trajectory,
    UndefinedTrajectory,
    undefined_by_rounding,
)
from idjax.settings import parse_schedule
from idjax.theory.adam import jumps, mean_dominated
from idjax.theory.adam.recursion import Form, Inputs, Rule
from idjax.theory.full_batch.stepped import Watched
from idjax.types import Progress, Status

Rate = float | Callable[[Array], Array]

FORMS: dict[str, Form] = {"adam": "adam", "adamw": "adam", "nadam": "nadam", "rmsprop": "rmsprop"}
DOMINANCE = 5e3
"""First over second eigenvalue from which the mean dominates: a mean of 30 deviations, in 6 inputs or more."""
CLEAR_MEANS = 10.0
"""Deviations that every input's mean has to be away from 0."""
MOST_SECONDS = 120.0
"""What a prediction may take where every output has to be iterated to the end."""
SHORTEST_MEMORY = 200
"""1/(1 - β₂) from which v averages enough gradients to be what is expected of it."""


class _Asked(NamedTuple):
    """What `jumps.follow` and its like are asked: the rule, its rate, and what is watched at which steps."""

    rule: Rule
    inputs: Inputs
    rate: Rate
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


def build(spec: RunSpec) -> Trajectory:
    """The loss in expectation over fresh Gaussian batches, v being what is expected of it; docs/theory.md, section 12.

    Where that does not hold the losses are NaN, and `how` says why.
    """
    if undefined := undefined_by_rounding(spec):
        return undefined
    problem, settings = spec.problem, spec.settings
    asked, constants = _asked(spec)
    memory = 1 / (1 - float(asked.rule.beta_2))
    if memory < SHORTEST_MEMORY:
        return UndefinedTrajectory(
            f"{settings.optimizer}, outside its range: v averages over {memory:.0f} steps, too few to be what is "
            f"expected of it; predict covers --beta-2 from {1 - 1 / SHORTEST_MEMORY:g} on",
            Status.OUTSIDE_RANGE,
        )
    errors = spec.start.stacked - problem.reference.stacked
    if settings.optimizer != "adam" or np.ptp(problem.output_shares) > 0:
        # Nothing but iterating every output is left.
        seconds = asked.steps[-1] * jumps.seconds_a_step(*errors.shape)
        if seconds > MOST_SECONDS:
            raise NoTheoryError(
                f"no quick theory predicts {settings.optimizer} for {asked.steps[-1]:,.0f} steps of {errors.shape[1]} "
                f"outputs: it would take about {seconds / 60:,.0f} minutes; give fewer --epochs, or predict "
                "--optimizer adam"
            )
    follow = _in_scalars if in_scalars(spec) else _in_matrices
    record, errors, how = follow(spec, asked, errors)
    record[1:] += constants[:, None]
    trajectory = SampledTrajectory(spec, record, None if errors is None else spec.weights_of(errors))
    trajectory.how = f"{settings.optimizer}, {how}"
    if trajectory.status is Status.DIVERGES:
        trajectory.status = Status.OUTSIDE_RANGE
    return trajectory


def products(spec: RunSpec) -> float:
    """About the products that a prediction takes, as `jumps.seconds_a_step` counts them."""
    n, outputs = spec.start.stacked.shape
    seconds = 0.5 if in_scalars(spec) else spec.settings.epochs * spec.steps * jumps.seconds_a_step(n, outputs)
    return seconds * 5e9


def _asked(spec: RunSpec) -> tuple[_Asked, Float[np.ndarray, " k"]]:
    """And the values of what is watched at the optimum."""
    settings, numbers = spec.settings, spec.settings.numbers
    rule = Rule(numbers.get("beta_1", 0.0), numbers["beta_2"], numbers["epsilon"], numbers.get("weight_decay", 0.0))
    rate = schedules.build(parse_schedule(settings.schedule), settings.step_size, spec.steps, settings.epochs)
    rate = cast(Rate, rate if callable(rate) else settings.step_size)
    steps = np.arange(1.0, settings.epochs + 1) * spec.steps
    watched, constants = spec.watched()
    return _Asked(rule, _inputs(spec), rate, steps, watched), constants


def _inputs(spec: RunSpec) -> Inputs:
    problem = spec.problem
    factor = second_moment_factor(problem.train)
    return Inputs(
        second_moment=jnp.asarray(factor @ factor.T),
        mean=jnp.asarray(np.sqrt(problem.train.weight) * np.append(problem.train.mean_x, 1.0)),
        batch_size=spec.mean_batch,
        gain=jnp.asarray(2 * problem.output_shares),
        noise=jnp.asarray(problem.on_train.residual),
        optimum=jnp.asarray(problem.reference.stacked.T) if spec.settings.optimizer == "adamw" else None,
    )


def in_scalars(spec: RunSpec) -> bool:
    """Whether the mean of the inputs dominates, so that Adam is followed in a few scalars for each output."""
    train = spec.problem.train
    if spec.settings.optimizer != "adam" or np.ptp(spec.problem.output_shares) > 0:
        return False
    deviation = np.sqrt(np.diagonal(train.covariance_xx))
    clear = bool(np.all(np.abs(train.mean_x) >= CLEAR_MEANS * deviation))
    return clear and mean_dominated.modes_of(_inputs(spec)).dominance >= DOMINANCE


def _in_scalars(
    spec: RunSpec, asked: _Asked, errors: np.ndarray
) -> tuple[Float[np.ndarray, "k E"], np.ndarray | None, str]:
    modes = mean_dominated.modes_of(asked.inputs)
    points = mean_dominated.follow(asked.rule, asked.inputs, errors, asked.rate, asked.steps)
    forms, shares, slopes = map(np.asarray, asked.watched)
    along = np.einsum("n,knm,m->k", modes.mean, forms, modes.mean)
    across = np.einsum("na,knm,mb->kab", modes.others, forms, modes.others, optimize=True)
    diagonals, slopes = np.diagonal(across, axis1=1, axis2=2), np.einsum("knq,na->kqa", slopes, modes.others)
    record = np.empty((1 + len(forms), len(points)))
    for epoch, point in enumerate(points):
        bent = point.errors @ across + 2 * slopes
        second = (
            np.einsum("kqa,qa->kq", bent, point.errors) + diagonals @ point.spread.T + np.outer(along, point.offset)
        )
        record[0, epoch] = spec.problem.output_shares @ point.loss
        record[1:, epoch] = np.sum(shares * second, axis=1)
    how = "quasi-static, in scalars, for the mean of the inputs dominates (Gaussian rows, fresh batches)"
    return record, modes.others @ points[-1].errors.T, how


def _in_matrices(
    spec: RunSpec, asked: _Asked, errors: np.ndarray
) -> tuple[Float[np.ndarray, "k E"], np.ndarray | None, str]:
    found = jumps.follow(
        asked.rule, asked.inputs, jnp.asarray(errors), asked.rate, asked.steps, *map(np.asarray, asked.watched),
        form=FORMS[spec.settings.optimizer],
        progress=lambda share: spec.progress(
            Progress(int(1000 * share), 1000, f"{spec.settings.optimizer}, step by step")
        ),
    )  # fmt: skip
    record = np.concatenate([found.mean[None], found.forms])
    how = "quasi-static: v as expected, the rest exact in expectation (Gaussian rows, fresh batches)"
    if found.verdict:
        step, why = found.verdict
        record[:, asked.steps >= step] = np.nan
        how += f"; outside its range from step {step:,.0f} on: {why}"
    return record, found.errors, how
