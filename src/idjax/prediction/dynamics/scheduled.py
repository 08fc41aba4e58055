"""Minibatch SGD and momentum while the learning rate changes: the expected loss, piece by piece."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idjax.nn import schedules
from idjax.prediction import budget
from idjax.prediction.dynamics.on_moments import watched_of
from idjax.prediction.dynamics.order_spread import Along, spread_over_orders
from idjax.prediction.dynamics.other_starts import from_other_starts
from idjax.prediction.dynamics.run_spec import RunSpec, beyond_quadratic
from idjax.prediction.dynamics.trajectory import (
    Losses,
    SampledTrajectory,
    Trajectory,
    undefined_by_rounding,
)
from idjax.prediction.precision import in_float64
from idjax.theory.sgd import horizons, minibatch, order_spread
from idjax.types import Weights

CHANGE = 0.05
"""Change of the learning rate within a piece."""
MOST_PIECES = 16


def applies(spec: RunSpec) -> str | None:
    """Why this is no theory of the run, as flags; empty where it is of another kind."""
    settings = spec.settings
    if spec.layers or spec.full_batch or spec.empirical_rows:
        return ""
    if settings.optimizer != "sgd" or not settings.schedule.changes:
        return ""
    return beyond_quadratic(settings)


@in_float64
def build(spec: RunSpec) -> Trajectory:
    """Every epoch in steps, or in pieces whose learning rate is held at its mean; docs/theory.md, section 11."""
    if undefined := undefined_by_rounding(spec):
        return undefined
    settings, problem = spec.settings, spec.problem
    rate = schedules.build(settings.schedule, 1.0, spec.steps, settings.epochs)
    assert callable(rate)
    shape = np.asarray(rate(jnp.arange(float(settings.epochs * spec.steps)))).reshape(settings.epochs, spec.steps)
    watched, constants = watched_of(spec)
    vectors = problem.spectrum.eigenvectors
    forms = np.einsum("ni,knm,mj->kij", vectors, watched.forms, vectors, optimize=True)
    noise = problem.on_train.residual
    record, groups = np.zeros((1 + len(forms), settings.epochs)), []
    for step_size, outputs in zip(spec.group_rates, problem.output_groups, strict=True):
        seconds: dict[bytes, _Seconds] = {}
        for k, shares in enumerate(watched.shares):
            # Forms that weigh outputs alike see the same second moments.
            key = shares.tobytes()
            if key not in seconds:
                seconds[key] = _second_moments(spec, step_size, shape, shares[outputs], noise[outputs], outputs)
            record[1 + k] += np.einsum("ij,eij->e", forms[k], seconds[key].ends)
        counted = problem.output_shares
        training = seconds[counted.tobytes()]
        record[0] += training.means
        groups.append(Group(step_size * shape, float(counted[outputs] @ noise[outputs]), training.states))
    factors, squares = map(np.asarray, _mean_factors(spec, shape))
    slopes = np.einsum("ni,knq,iq,kq->kqi", vectors, watched.slopes, spec.coefficients, watched.shares)
    per_output = (
        factors if problem.groups > 1 else np.broadcast_to(factors, (*np.shape(factors)[:1], len(noise), len(vectors)))
    )
    record[1:] += 2 * np.einsum("kqi,eqi->ke", slopes, per_output, optimize=True) + constants[:, None]
    trajectory = ScheduledTrajectory(spec, record, factors, squares, groups)
    trajectory.how = (
        f"sgd with {settings.schedule} learning rate, exact in expectation over the batches, in pieces of constant "
        "rate (Gaussian rows, shuffled epochs to second order)"
    )
    return trajectory


class Group(NamedTuple):
    """Outputs that learn at the same rates, their label noise and their second moments as some epochs begin, all as the
    loss counts them.
    """

    rates: Float[np.ndarray, "E steps"]
    noise: float
    states: dict[int, minibatch.Second]


class ScheduledTrajectory(SampledTrajectory):
    """A recorded trajectory with the shrink factors of the mean of the weights at the end of every epoch, (E, g, n),
    with the mean over the epoch of its square.
    """

    def __init__(
        self,
        spec: RunSpec,
        record: Float[np.ndarray, "k E"],
        factors: Float[np.ndarray, "E g n"],
        squares: Float[np.ndarray, "E g n"],
        groups: list[Group],
    ):
        super().__init__(spec, record, spec.weights_at(factors[-1]))
        self._factors, self._squares, self._groups = factors, squares, groups

    def ensemble(self, starts: Iterable[Weights], count: int) -> list[Losses] | None:
        """The losses of every epoch from these starts, to leading order in the batches' noise."""

        def means(epochs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            chosen = epochs.astype(int) - 1
            return self._factors[chosen], self._squares[chosen]

        own = self.losses(self._spec.epochs)
        return from_other_starts(self._spec, starts, count, means, own, lambda spec: build(spec).losses(spec.epochs))

    def spread(self) -> Losses | None:
        """Relative standard deviations of the losses over the orders of the rows."""
        along = [Along(group.rates, functools.partial(self._moments_at, group)) for group in self._groups]
        # The loss at the end of every epoch is that of all groups of modes.
        return spread_over_orders(self._spec, along, self._record[0], self._record[3:].sum(axis=0))

    def _moments_at(self, group: Group, steps: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t n n"]:
        """Σ_j s_j E[e_j e_jᵀ] of a group before these updates, ascending, of `order_spread.epochs_read`, at the mean
        rate of each epoch.
        """
        number, found = steps // self._spec.steps, []
        for epoch in np.unique(number).astype(int):
            rule, within = self._spec.updates(float(group.rates[epoch].mean())), steps[number == epoch]
            state = group.states[epoch], group.noise
            found.append(horizons.moments_at(rule, *state, within - epoch * self._spec.steps))
        return np.concatenate(found)


class _Seconds(NamedTuple):
    """Of weighted outputs: the mean loss of each epoch, Σ_j share_j E[e_j e_jᵀ] at its end, and all second moments as
    some epochs begin.
    """

    means: Float[np.ndarray, " E"]
    ends: Float[np.ndarray, "E n n"]
    states: dict[int, minibatch.Second]


def _second_moments(
    spec: RunSpec, step_size: float, shape: np.ndarray, shares: np.ndarray, noise: np.ndarray, outputs: slice
) -> _Seconds:
    settings, problem = spec.settings, spec.problem
    coefficients = spec.coefficients[:, outputs]
    eigenvalues, kick = problem.spectrum.eigenvalues, float(shares @ noise)
    form = np.diag(eigenvalues)
    state = minibatch.at_start((coefficients * shares) @ coefficients.T)
    iterated = shape.size * len(eigenvalues) ** 2 <= budget.ITERATED
    means, ends, states = [], [], dict.fromkeys(order_spread.epochs_read(settings.epochs), state)
    for epoch, rates in enumerate(step_size * shape):
        if epoch in states:
            states[epoch] = state
        mean_rate = float(rates.mean())
        if iterated:
            state, values = minibatch.expected(spec.updates(mean_rate), state, kick, form[None], len(rates), rates)
            values = values[:, 0]
            share = spec.last_share
            mean = (1 - share) * values[:-1].mean() + share * values[-1]
        else:
            mean = 0.0
            for part in np.array_split(rates, _pieces(rates)):
                state, average = horizons.advance(spec.updates(float(part.mean())), state, kick, form, len(part))
                mean += average * len(part) / len(rates)
        decay = mean_rate / (1 - settings.momentum) * eigenvalues * spec.steps
        unseen = minibatch.unseen_rows(decay, mean_rate, eigenvalues, spec.mean_batch, spec.rows)
        means.append(mean + unseen * (mean + kick))
        ends.append(state.ee)
    return _Seconds(np.array(means), np.stack(ends), states)


def _pieces(rates: np.ndarray) -> int:
    """So many that the rate changes little within each."""
    largest = rates.max()
    return int(np.clip(np.ceil(np.ptp(rates) / (CHANGE * largest)), 1, MOST_PIECES)) if largest > 0 else 1


def _mean_factors(spec: RunSpec, shape: np.ndarray) -> tuple[Array, Array]:
    """Shrink factors of the expected error at the end of every epoch, (E, g, n), and the means of their squares."""
    settings = spec.settings
    return _follow_means(
        jnp.asarray(spec.problem.rates), jnp.asarray(settings.step_size * shape), settings.momentum, settings.nesterov
    )


@jax.jit
def _follow_means(rates: Array, learning_rates: Array, momentum: Array, nesterov: Array) -> tuple[Array, Array]:
    def step(state: tuple[Array, Array, Array], rate: Array) -> tuple[tuple[Array, Array, Array], None]:
        error, velocity, total = state
        pull = rate * rates * error  # the rate is inside the velocity, as Keras has it
        velocity = momentum * velocity + pull
        moved = jnp.where(nesterov, momentum * velocity + pull, velocity)
        return (error - moved, velocity, total + error**2), None

    def epoch(state: tuple[Array, Array], learning_rates: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        (error, velocity, total), _ = jax.lax.scan(step, (*state, jnp.zeros_like(rates)), learning_rates)
        return (error, velocity), (error, total / len(learning_rates))

    start = (jnp.ones_like(rates), jnp.zeros_like(rates))
    return jax.lax.scan(epoch, start, learning_rates)[1]
