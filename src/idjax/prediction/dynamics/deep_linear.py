"""Hidden linear layers: every update taken with the gradient of the full batch, on the moments of the data."""

import functools

import jax
import numpy as np

from idjax.nn.step import Plan, hyper_for, plan_for
from idjax.prediction.dynamics.on_moments import layer_of, watched_of
from idjax.prediction.dynamics.run_spec import RunSpec, beyond_layers, floor_of
from idjax.prediction.dynamics.trajectory import SampledTrajectory
from idjax.prediction.precision import in_float64
from idjax.results.plain import digits
from idjax.theory.full_batch import stepped
from idjax.theory.networks import deep_linear
from idjax.types import end_to_end

AT_ONCE = 1024
"""Epochs in one call."""


def applies(spec: RunSpec) -> str | None:
    """Why this is no theory of the run, as flags; empty where it is of another kind."""
    if not spec.layers or not spec.settings.linear:
        return ""
    return beyond_layers(spec)


def products(spec: RunSpec) -> float:
    """About the products that a prediction takes; narrow matrices are ten times as dear as wide ones."""
    inputs, outputs = spec.start.kernel.shape
    each = inputs * outputs * (inputs + 4 * sum(layer.bias.size for layer in spec.layers))
    return spec.settings.epochs * spec.steps * (5e4 + 10 * each)


@in_float64
def build(spec: RunSpec) -> SampledTrajectory:
    """Deep linear layers from any start, with any optimizer and schedule; docs/deep.md (D6).

    Exact for the full batch. With minibatches their noise is left out, the number of updates is not.
    """
    settings, problem = spec.settings, spec.problem
    outputs = problem.train.outputs
    rule = rule_of(plan_for(settings, autoencoder=problem.train.autoencoder, outputs=outputs, rows=spec.rows))
    hyper = hyper_for(settings)
    watched, constants = watched_of(spec)
    linear = deep_linear.LinearLayers(layer_of(spec), hyper.hidden_l2, watched)
    layers = deep_linear.parameters_of(spec.layers)
    state = stepped.begin(rule, hyper, layers, settings.dtype, settings.rounding, settings.seed)
    record = np.empty((1 + len(constants), settings.epochs))
    for done in range(0, settings.epochs, AT_ONCE):
        size = min(AT_ONCE, settings.epochs - done)
        state, losses, seen = stepped.follow(
            rule, hyper, linear, state, size, spec.steps, settings.rounding, hyper.loss_scale
        )
        *seen, penalty = np.asarray(seen)
        record[:, done : done + size] = np.vstack([losses, np.stack(seen) + constants[:, None]])
        record[1, done : done + size] += penalty
    ends = jax.tree.map(np.asarray, linear.layers(state.params))
    trajectory = SampledTrajectory(spec, record, end_to_end(ends))
    trajectory.layers, trajectory.least = ends, left_by_bottleneck(spec)
    trajectory.how = f"{len(ends)} linear layers, {settings.optimizer} simulated on the moments of the data"
    trajectory.how += ", exact" if spec.full_batch else ", the noise of the batches left out"
    if settings.dtype != "float64":
        trajectory.how += f", weights in {digits(settings)}"
    trajectory.notes = _notes(spec, trajectory)
    return trajectory


def _notes(spec: RunSpec, trajectory: SampledTrajectory) -> tuple[str, ...]:
    """Notes on the loss that the narrowest layer leaves, and on the angle of the outputs to the principal axes."""
    problem, (kernel, _) = spec.problem, end_to_end(trajectory.layers)
    rank = min(spec.settings.hidden)
    if rank >= min(kernel.shape):
        return ()
    least = left_by_bottleneck(spec) + floor_of(problem)
    notes = [f"a bottleneck of {rank} leaves a training loss of at least {least:.6g}"]
    if problem.train.autoencoder and np.isfinite(kernel).all():
        angle = np.degrees(deep_linear.principal_angles(kernel, problem.train.covariance_xx, rank).max())
        notes.append(f"at the end the outputs span the first {rank} principal axes to within {angle:.3g} degrees")
        penalty = spec.settings.unit_penalties[-1:]
        if penalty and len(trajectory.layers) == 2:
            decoder = trajectory.layers[-1].kernel
            angles = deep_linear.component_angles(decoder, problem.train.covariance_xx, np.array(penalty[0]))
            notes.append(f"its units lie along these axes, one each, to within {np.degrees(angles.max()):.3g} degrees")
    return tuple(notes)


def left_by_bottleneck(spec: RunSpec) -> float:
    """The training loss that the narrowest layer leaves above that of the best single layer, docs/deep.md (D4)."""
    problem, rank = spec.problem, min(spec.settings.hidden)
    return deep_linear.discarded(
        problem.train.covariance_xx, problem.reference.kernel, problem.output_shares, rank, problem.train.weight
    )


@functools.lru_cache(maxsize=32)
def rule_of(plan: Plan) -> stepped.OptimizerFactory:
    """One object for each plan: programs are compiled for it, whatever the learning rate."""
    return plan.optimizer_of
