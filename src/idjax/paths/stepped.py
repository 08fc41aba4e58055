"""Any optimizer and learning-rate schedule on the full batch, simulated on the moments: exact, rounding included."""

import jax.numpy as jnp
import numpy as np

from idjax import optimizers, schedules
from idjax.paths.path import Course, Recorded, floor_of
from idjax.settings import parse_schedule
from idjax.theory import stepped
from idjax.types import Stall

AT_ONCE = 4096
"""Epochs in one call."""
ROUNDING = {"nearest": "", "stochastic": ", updates rounded stochastically", "master": ", with a float32 copy"}


def stepped_path(course: Course) -> Recorded:
    """Every update taken on the moments of the data, weights stored as they are in training; docs/theory.md, section
    13. The gradient is exact, as that of training is but for the rounding of its sums.
    """
    settings, problem = course.settings, course.problem
    rate = schedules.build(parse_schedule(settings.schedule), settings.step_size, course.steps, settings.epochs)
    transformation = optimizers.build(
        settings.optimizer,
        rate if callable(rate) else settings.step_size,
        momentum=settings.momentum or None,
        nesterov=settings.nesterov,
        **settings.numbers,
    )
    layer = stepped.Layer(
        covariance=jnp.asarray(problem.train.covariance_xx),
        mean=jnp.asarray(problem.train.mean_x),
        weight=jnp.asarray(problem.train.weight),
        reference=jnp.asarray(problem.reference.stacked),
        shares=jnp.asarray(problem.output_shares),
    )
    errors = jnp.asarray(course.start.stacked - problem.reference.stacked)
    watched, constants = course.watched()
    run = stepped.begin(transformation, layer, errors, settings.dtype, settings.rounding, settings.seed)
    record = np.empty((1 + len(constants), settings.epochs))
    # Descent that moved no weight never will again.
    can_stall = settings.optimizer == "sgd" and not settings.momentum and settings.schedule == "constant"
    can_stall &= settings.rounding != "stochastic"
    done, stalled = 0, False
    while done < settings.epochs and not stalled:
        size = min(AT_ONCE, settings.epochs - done)
        run, losses, seen = stepped.follow(transformation, layer, run, watched, size, rounding=settings.rounding)
        record[:, done : done + size] = np.vstack([losses, np.asarray(seen) + constants[:, None]])
        done += size
        stalled = can_stall and bool(run.moved < run.updates)
    record[:, done:] = record[:, done - 1 : done]
    path = Recorded(course, record, course.weights_of(np.asarray(stepped.error_of(layer, run))))
    path.how = f"full batch, {settings.optimizer} simulated on the moments of the data, exact"
    if settings.dtype != "float64":
        path.how += f", weights in {settings.dtype}{ROUNDING[settings.rounding]}"
    if stalled:
        path.stall = Stall(settings.dtype, float(run.moved), float(record[0, -1]) + floor_of(problem))
        path.how += f"; stalls at step {path.stall.steps:,.0f}, where {settings.dtype} loses every update"
    return path
