"""Any optimizer and learning-rate schedule on the full batch, simulated on the moments: exact, rounding included."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from idjax.nn.rounding import State
from idjax.nn.step import hyper_for, plan_for
from idjax.prediction.dynamics.deep_linear import rule_of
from idjax.prediction.dynamics.on_moments import layer_of, watched_of
from idjax.prediction.dynamics.passing import share_passed
from idjax.prediction.dynamics.run_spec import RunSpec, beyond_quadratic, floor_of
from idjax.prediction.dynamics.trajectory import SampledTrajectory
from idjax.prediction.precision import in_float64
from idjax.results.curve import Stall, Status
from idjax.results.plain import digits
from idjax.settings import Settings
from idjax.theory import finite_precision
from idjax.theory.full_batch import stepped
from idjax.theory.networks.deep_linear import LinearLayers, parameters_of
from idjax.types import Weights

AT_ONCE = 1024
"""Epochs in one call."""
STALLED = 0.1
"""Share of the descent that passes rounding where a run counts as stalled."""
MOST_STALLED = 20_000
"""Epochs after which a stalled run is not stepped further: a weight near 0 always moves."""
STANDS = 0.99
"""Share of the excess loss that is left where a run counts as having arrived at its last loss."""


def applies(spec: RunSpec) -> str | None:
    """Why this is no theory of the run, as flags; empty where it is of another kind."""
    settings = spec.settings
    if spec.layers or not spec.full_batch or (settings.optimizer == "sgd" and not settings.schedule.changes):
        return ""
    return beyond_quadratic(settings)


def products(spec: RunSpec) -> float:
    """About the products that a prediction takes; those of vectors are ten times as dear as those of matrices."""
    n, outputs = spec.start.stacked.shape
    return 10.0 * spec.settings.epochs * spec.steps * n**2 * outputs


@in_float64
def build(spec: RunSpec) -> SampledTrajectory:
    """Every update taken on the moments of the data, weights stored as they are in training; docs/theory.md, section
    13. The gradient is exact, as that of training is but for the rounding of its sums.
    """
    settings, problem = spec.settings, spec.problem
    # Programs are compiled for a rule, which batches of any size share: here they are all rows.
    plan = plan_for(settings, autoencoder=problem.train.autoencoder, outputs=problem.train.outputs, rows=spec.rows)
    rule, hyper = rule_of(plan._replace(batch_size=1)), hyper_for(settings)
    watched, constants = watched_of(spec)
    linear = LinearLayers(layer_of(spec), (), watched)
    layer, errors = linear.layer, spec.start.stacked - problem.reference.stacked
    start = parameters_of((spec.start,))
    state = stepped.begin(rule, hyper, start, settings.dtype, settings.rounding, settings.seed)
    record = np.empty((1 + len(constants), settings.epochs))
    plain = settings.optimizer == "sgd" and not settings.momentum and not settings.schedule.changes
    rounds = settings.dtype == "float16" or (settings.dtype != "float64" and settings.rounding == "nearest")
    done, passed, still = 0, 1.0, False
    while done < settings.epochs and not still:
        size = min(AT_ONCE, settings.epochs - done)
        state, losses, seen = stepped.follow(rule, hyper, linear, state, size, 1, settings.rounding, hyper.loss_scale)
        record[:, done : done + size] = np.vstack([losses, np.asarray(seen)[:-1] + constants[:, None]])
        done += size
        if plain and rounds:
            passed = _passed(settings, layer, jnp.asarray(_weights_of(state).stacked) - layer.reference)
            still = passed < STALLED and (done >= MOST_STALLED or bool(np.all(losses == losses[-1])))
    record[:, done:] = record[:, done - 1 : done]
    trajectory = SampledTrajectory(spec, record, _weights_of(state))
    trajectory.how = f"full batch, {settings.optimizer} simulated on the moments of the data, exact"
    if settings.optimizer != "sgd" and not np.any(problem.train.mean_x) and not np.any(errors[-1]):
        # Divided by its own size, what rounding makes of a gradient that is 0 moves a weight all the same.
        trajectory.how += " but for the bias, whose gradient in training is what rounding makes of 0"
    if settings.dtype != "float64":
        trajectory.how += f", weights in {digits(settings)}"
    diverges = trajectory.status is Status.DIVERGES
    if settings.dtype == "float16" and diverges:
        largest = _largest_gradient(layer, jnp.asarray(errors)) * settings.loss_scale
        if largest > finite_precision.LARGEST:
            trajectory.how += f"; gradients of {largest:.2g} overflow float16"
    if passed < STALLED and not diverges:
        end = float(record[0, -1])
        first = int(np.argmax(record[0] <= end / STANDS))
        trajectory.stall = Stall(settings.dtype, float(first), end + floor_of(problem))
        trajectory.known_until = float("inf")
        trajectory.how += f"; from step {first:,} on rounding loses {1 - passed:.1%} of the descent"
    return trajectory


def _weights_of(state: State) -> Weights:
    """The weights of the one layer, on the host, where nothing is compiled for them."""
    (layer,) = state.params
    return Weights(**{name: np.asarray(values, np.float64) for name, values in layer.items()})


def _largest_gradient(layer: stepped.LinearLayer, error: Array) -> float:
    return float(jnp.max(jnp.abs(stepped.excess(layer, error)[1])))


def _passed(settings: Settings, layer: stepped.LinearLayer, error: Array) -> float:
    updates = -settings.step_size * np.asarray(stepped.excess(layer, error)[1])[None]
    weights = np.asarray(layer.reference + error)[None]
    return float(np.nan_to_num(share_passed(settings, weights, updates, np.zeros_like(updates))[0]))
