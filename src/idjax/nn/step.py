"""The compiled programs of training: one update, and whole epochs as one scan over their updates.

A program depends on shapes and on its `Plan` alone. Learning rate, momentum, penalties, statistics and data are
traced, so that runs that differ in them share one compilation. Buffers of the state are donated.
"""

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from idjax.moments.normalize import Normalizer, encode, undo
from idjax.nn import losses, metrics, optimizers, rounding, schedules
from idjax.nn.losses import unit_penalty
from idjax.nn.model import DenseModel, kernels_of
from idjax.nn.rounding import State
from idjax.settings import Schedule, Settings
from idjax.types import Rows


class Plan(NamedTuple):
    """The static part of a compiled training program; everything else is traced."""

    optimizer: str
    has_momentum: bool
    nesterov: bool
    loss: str
    activation: str
    has_penalty: bool
    normalize: str
    original_units: bool
    autoencoder: bool
    outputs: int
    batch_size: int
    dtype: str
    numbers: tuple[str, ...] = ()
    rounding: str = "nearest"
    schedule: Schedule = Schedule()
    run: tuple[int, int] = (0, 0)
    """Steps of an epoch and epochs, for a learning rate that changes over them."""
    widths: tuple[int, ...] = ()
    hidden_activation: str = "linear"

    def model(self) -> DenseModel:
        """The Flax model of this plan."""
        return DenseModel(
            features=self.outputs,
            activation=self.activation,
            normalize=self.normalize,
            autoencoder=self.autoencoder,
            param_dtype=jnp.dtype(self.dtype),
            widths=self.widths,
            hidden_activation=self.hidden_activation,
        )

    def optimizer_of(self, hyper: "Hyper") -> optax.GradientTransformation:
        """The optimizer with traced hyperparameters."""
        momentum = hyper.momentum if self.has_momentum else None
        rate = schedules.build(self.schedule, hyper.learning_rate, *self.run)
        numbers = dict(zip(self.numbers, hyper.numbers, strict=True))
        return optimizers.build(self.optimizer, rate, momentum=momentum, nesterov=self.nesterov, **numbers)


class Hyper(NamedTuple):
    """Hyperparameters that a compiled program takes as arguments."""

    learning_rate: Float[Array, ""]
    momentum: Float[Array, ""]
    activity_l1: Float[Array, ""]
    activity_l2: Float[Array, ""]
    numbers: tuple[Float[Array, ""], ...] = ()
    hidden_l2: tuple[Float[Array, " h"], ...] = ()
    loss_scale: Float[Array, ""] | None = None
    """Of the gradients of float16 weights alone."""


def plan_for(settings: Settings, *, autoencoder: bool, outputs: int, rows: int = 0) -> Plan:
    """The part of the settings that shapes the compiled program; rows is needed where the learning rate changes."""
    return Plan(
        optimizer=settings.optimizer,
        has_momentum=settings.momentum > 0,
        nesterov=settings.nesterov,
        loss=settings.loss,
        activation=settings.activation,
        has_penalty=settings.activity_l1 > 0 or settings.activity_l2 > 0,
        normalize=settings.normalize,
        original_units=settings.normalize != "none" and settings.loss_space == "original",
        autoencoder=autoencoder,
        outputs=outputs,
        batch_size=settings.batch_size,
        dtype=settings.dtype,
        numbers=tuple(settings.numbers),
        rounding=settings.rounding,
        schedule=settings.schedule,
        widths=settings.hidden,
        hidden_activation=settings.hidden_activation,
        run=(-(-rows // settings.batch_size), settings.epochs) if settings.schedule.changes else (0, 0),
    )


def hyper_for(settings: Settings) -> Hyper:
    """The traced part of the settings."""

    def number(value: float) -> Array:
        return jnp.asarray(value, settings.data_dtype)

    return Hyper(
        number(settings.step_size),
        number(settings.momentum),
        number(settings.activity_l1),
        number(settings.activity_l2),
        tuple(number(value) for value in settings.numbers.values()),
        tuple(jnp.asarray(units, settings.data_dtype) for units in settings.unit_penalties),
        number(settings.loss_scale) if settings.dtype == "float16" else None,
    )


def initial_state(plan: Plan, hyper: Hyper, params: dict[str, Any], seed: ArrayLike = 0) -> State:
    """Parameters and a fresh optimizer state; seed is that of stochastic rounding."""
    return rounding.initial_state(plan.optimizer_of(hyper), params, plan.rounding, seed)


def train_step(plan: Plan, hyper: Hyper, fitted: Normalizer, state: State, batch: Rows) -> tuple[State, Array]:
    """One update; returns the new state and the batch's loss *before* it, as Keras reports it."""
    descended = functools.partial(loss_of, plan, hyper, fitted, rows=batch)
    loss, gradient = rounding.gradient_of(descended, state.params, hyper.loss_scale)
    transformation = plan.optimizer_of(hyper)
    return rounding.apply_gradient(transformation, plan.rounding, state, gradient, hyper.loss_scale), loss


def train_epochs(
    plan: Plan,
    hyper: Hyper,
    fitted: Normalizer,
    state: State,
    training: Rows,
    validation: Rows | None,
    order: Array | None,
    repeats: int = 1,
    deviation: Float[Array, ""] | float = 1.0,
) -> tuple[State, Array, Array, Array, Array]:
    """Several epochs of one run, traced in `train_runs`.

    Args:
      order: row numbers of each epoch, (epochs, N); None for a full batch, which needs no shuffle and is repeated
        `repeats` times.
      validation: rows to judge after each epoch; None skips it, and NaN stands in its place.
      deviation: what errors on them are divided by before they are squared.

    Returns:
      State, batch losses (epochs, steps) with the last batch's last, and what `evaluate` says of `validation` at each
      epoch's end.
    """
    step = functools.partial(train_step, plan, hyper, fitted)

    def judge(params: dict[str, Any]) -> tuple[Array, Array, Array]:
        if validation is None:
            nan = jnp.full((), jnp.nan, deviation.dtype if isinstance(deviation, jax.Array) else None)
            return nan, nan, nan
        return evaluate(plan, hyper, fitted, params, validation, deviation)

    def full_batch(state: State, _: None) -> tuple[State, tuple[Array, ...]]:
        state, loss = step(state, training)
        return state, (loss[None], *judge(state.params))

    def epoch(state: State, order: Array) -> tuple[State, tuple[Array, ...]]:
        def gather(chosen: Array) -> Rows:
            # Row numbers from a permutation need no check of their bounds: four times faster without.
            return jax.tree.map(lambda rows: rows.at[chosen].get(mode="promise_in_bounds"), training)

        rest = len(order) % plan.batch_size
        whole = order[: len(order) - rest].reshape(-1, plan.batch_size)
        state, loss = jax.lax.scan(step, state, gather(whole))
        if rest:
            state, last = step(state, gather(order[-rest:]))
            loss = jnp.append(loss, last)
        return state, (loss, *judge(state.params))

    if order is None:
        state, (loss, *judged) = jax.lax.scan(full_batch, state, None, length=repeats)
    else:
        state, (loss, *judged) = jax.lax.scan(epoch, state, order)
    return state, loss, judged[0], judged[1], judged[2]


@functools.partial(jax.jit, static_argnames=("plan", "repeats", "shared_order"), donate_argnames="state")
def train_runs(
    plan: Plan,
    hyper: Hyper,
    fitted: Normalizer,
    state: State,
    training: Rows,
    validation: Rows | None,
    order: Array | None,
    repeats: int = 1,
    deviation: Float[Array, ""] | float = 1.0,
    shared_order: bool = True,
) -> tuple[State, Array, Array, Array, Array]:
    """`train_epochs` of k runs: hyper and state lead with their axis, and so does order unless it is shared.

    Everything that is returned leads with it. A run alone is no stack of one, which XLA multiplies slowly.
    """

    def one(hyper: Hyper, state: State, order: Array | None) -> tuple[State, Array, Array, Array, Array]:
        return train_epochs(plan, hyper, fitted, state, training, validation, order, repeats, deviation)

    if len(hyper.learning_rate) == 1 and shared_order:
        hyper, state = jax.tree.map(lambda leaf: leaf[0], (hyper, state))
        alone = one(hyper, state, order)
        return jax.tree.map(lambda leaf: leaf[None], alone)
    return jax.vmap(one, in_axes=(0, 0, None if shared_order else 0))(hyper, state, order)


def evaluate(
    plan: Plan,
    hyper: Hyper,
    fitted: Normalizer,
    params: dict[str, Any],
    rows: Rows,
    deviation: Float[Array, ""] | float = 1.0,
) -> tuple[Array, Array, Array]:
    """The loss on the rows; what they leave unexplained, in units of `deviation`²: the mean squared error of restored
    outputs, or the cross-entropy; and the accuracy of logits, NaN of other outputs.

    Errors are divided before they are squared: in float32 the square of 1e-25 is 0, and that of 1e25 infinite.
    """
    seen = _outputs(plan, fitted, params, rows)
    loss = loss_of(plan, hyper, fitted, params, rows)
    if plan.loss == "cross-entropy":
        unexplained = losses.cross_entropy(seen.output, seen.target) / deviation**2
        return loss, unexplained, metrics.accuracy(seen.output, seen.target)
    return loss, jnp.mean(((seen.restored - rows.target) / deviation) ** 2), jnp.full_like(loss, jnp.nan)


@functools.partial(jax.jit, static_argnames="plan")
def shape_correlation(plan: Plan, fitted: Normalizer, params: dict[str, Any], rows: Rows) -> Array:
    """Mean correlation across features of outputs and targets in original units."""
    return metrics.shape_correlation(_outputs(plan, fitted, params, rows).restored, rows.target)


class _Outputs(NamedTuple):
    """The layer's output and what it should be, in the layer's units, and the output in original units."""

    output: Array
    target: Array
    restored: Array


def _outputs(plan: Plan, fitted: Normalizer, params: dict[str, Any], rows: Rows) -> _Outputs:
    z, target, affine = encode(plan.normalize, fitted, rows.x, rows.y)
    output = cast(Array, plan.model().apply(params, z, method="layer"))
    if plan.loss == "cross-entropy":
        return _Outputs(output, rows.target, output)
    return _Outputs(output, target, output if plan.normalize == "none" else undo(output, affine))


def loss_of(plan: Plan, hyper: Hyper, fitted: Normalizer, params: dict[str, Any], rows: Rows) -> Array:
    """The loss of the rows, penalties included, as it is descended."""
    output, target, restored = _outputs(plan, fitted, params, rows)
    loss = losses.BY_NAME[plan.loss](*((restored, rows.target) if plan.original_units else (output, target)))
    if plan.has_penalty:
        loss += losses.activity_penalty(output, hyper.activity_l1, hyper.activity_l2)
    if hyper.hidden_l2:
        loss += unit_penalty(hyper.hidden_l2, kernels_of(params))
    return loss
