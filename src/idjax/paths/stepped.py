"""Any optimizer and learning-rate schedule on the full batch, simulated on the moments: exact."""

import jax.numpy as jnp
import numpy as np

from idjax import optimizers, schedules
from idjax.paths.path import Course, Recorded
from idjax.settings import parse_schedule
from idjax.theory import stepped


def stepped_path(course: Course) -> Recorded:
    """Every update taken on the moments of the data, in float64; docs/theory.md, section 13."""
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
    errors, losses, seen = stepped.follow(transformation, layer, errors, watched, settings.epochs)
    record = np.concatenate([np.asarray(losses)[None], np.asarray(seen) + constants[:, None]])
    path = Recorded(course, record, course.weights_of(np.asarray(errors)))
    path.how = f"full batch, {settings.optimizer} simulated on the moments of the data, exact"
    return path
