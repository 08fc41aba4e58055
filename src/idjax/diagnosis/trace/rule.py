"""The rule of an optimizer: any transformation of optax at any rate, and what its first updates say of it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.trace.given import GivenLoss
from idjax.types import IdjaxError

LEAST_EPSILON = 1e-4
"""Epsilon that two first updates show, beyond their rounding."""
WAIT = 20
"""Updates among which one has to move something."""
Nest = Callable[[list[Any]], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class UpdateRule:
    """An optimizer at any rate: made for it, or with updates that are multiplied by it.

    at:       the optax transformation, of lists of arrays, at a rate, which may be traced.
    rate:     the user's own, of an optimizer that is named; 1 where the optimizer has it inside; None if not known, or
              searched for in each step.
    inside:   the learning rate of an optimizer that has it inside, by its first update; or the rate.
    adaptive: whether it divides by the size of the gradient; epsilon: what it adds to that, if more than rounding.
    """

    name: str
    at: Callable[[Any], Any]
    rate: float | None
    inside: float | None
    adaptive: bool
    epsilon: float | None = None

    def told(self, factor: float) -> float:
        """The learning rate as the user has it, of a multiple of the updates."""
        return factor if self.inside is None or self.rate is None else self.inside * factor / self.rate


class _Moves(NamedTuple):
    """Sizes of the first updates for gradients of 1, 10 and 1,000, and whether others of 0 came before."""

    sizes: tuple[float, float, float]
    waits: bool


def update_rule(
    optimizer: Any, learning_rate: float | None, given: GivenLoss | None = None, **options: float
) -> UpdateRule:
    """The rule of an optimizer.

    Args:
      optimizer: the name of one in optax, an optax transformation, or a function that makes one of a rate.
      learning_rate: of a named one, or one that is made; options: of a named one.
      given: the loss that it is for, by whose names optax.multi_transform and the like tell parameters apart.

    Raises:
      IdjaxError: for a name that optax does not have, something else, or an optimizer of other parameters.

    Example:
      >>> update_rule("adam", 1e-3).adaptive, update_rule("sgd", None).adaptive
      (True, False)
      >>> import optax
      >>> update_rule(lambda rate: optax.sgd(rate, momentum=0.9), None).adaptive
      False
    """
    import optax

    optimizer = getattr(optimizer, "tx", optimizer)  # of NNX
    name, inside, rate = "optax", learning_rate, learning_rate
    if isinstance(optimizer, str):
        if not callable(make := getattr(optax, optimizer, None) or getattr(optax.contrib, optimizer, None)):
            raise IdjaxError(f"{optimizer}: optax has no such optimizer; give one as sgd, or optax.adam(1e-3)")
        name, made = optimizer, functools.partial(make, **options)
    elif hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        inside, rate = None, 1.0

        def made(rate: Any) -> Any:
            return optax.chain(optimizer, optax.scale(rate))
    elif callable(optimizer):
        made = optimizer
    else:
        raise IdjaxError(f"the optimizer is of type {type(optimizer).__name__}: give a name, or one of optax")
    nest = list if given is None or isinstance(optimizer, str) else _nest(made(1.0), given)

    def at(rate: Any) -> Any:
        return _of_lists(made(rate), nest)

    if optimizer == "sgd" and not options:  # the default, known without a look
        return UpdateRule(name, at, rate, inside, False)
    moves = _moves(made(1.0), at(1.0), given)
    if moves is None:
        return UpdateRule(name, at, None, None, True)
    small, middle, large = moves.sizes
    adaptive = large < 100 * small
    if moves.waits:  # a warm-up, or gradients that are gathered first: 30 steps say little of its rate
        return UpdateRule(name, at, None, None, adaptive)
    epsilon = (large / small - 1) / (1 - large / small / 1000) if adaptive else 0.0
    divides = abs(small * (1 + epsilon) / (1 + epsilon / 10) - middle) < 1e-3 * middle  # and does not clip
    step = small * (1 + epsilon) if divides else small
    return UpdateRule(
        name, at, rate, step if inside is None and rate == 1.0 else inside, adaptive,
        epsilon if divides and epsilon > LEAST_EPSILON else None,
    )  # fmt: skip


def _of_lists(optimizer: Any, nest: Nest) -> Any:
    """The optimizer for lists of arrays, which is given what some ask for besides: the loss."""
    import optax

    optimizer = optax.with_extra_args_support(optimizer)

    def update(updates: Any, state: Any, params: Any = None, *, value_fn: Any = None, **more: Any) -> Any:
        if value_fn is not None:
            more |= {"value_fn": lambda nested: value_fn(jax.tree.leaves(nested)), "grad": nest(updates)}
        moved, state = optimizer.update(nest(updates), state, nest(params), **more)
        return jax.tree.leaves(moved), state

    def init(params: Any) -> Any:
        return optimizer.init(nest(params))

    return optax.GradientTransformationExtraArgs(init, update)


def _small(given: GivenLoss) -> list[np.ndarray]:
    """Parameters with as many axes, and few numbers."""
    return [np.ones((2,) * np.ndim(leaf), np.float32) for leaf in given.params]


def _nest(optimizer: Any, given: GivenLoss) -> Nest:
    """The nest that an optimizer takes parameters in: as the loss does, or those of linen alone.

    Raises:
      IdjaxError: for one that takes neither.
    """
    nests: list[Nest] = [given.bare, lambda values: given.bare(values)["params"]]
    kept: Exception | None = None
    for nest in nests:
        whole = _of_lists(optimizer, nest)
        try:
            jax.eval_shape(functools.partial(_tried, whole), _small(given))
        except Exception as error:  # anyone's code
            kept = kept or error
        else:
            return nest
    first = str(kept).strip().splitlines()[0]
    raise IdjaxError(
        f"the optimizer does not take the parameters of this loss: {first}; give the one that you train them with"
    ) from kept


def _tried(optimizer: Any, params: list[Any]) -> Any:
    """A first step down a plane."""
    return updated(optimizer, lambda params, _: sum(map(jnp.sum, params)), params, optimizer.init(params), None)


def _moves(bare: Any, whole: Any, given: GivenLoss | None) -> _Moves | None:
    """The first updates: of one array, or of the nest where labels are for that; None where one needs the loss."""
    try:
        moves = _first_updates(_of_lists(bare, list), [np.ones(2, np.float32)], [1])
        if moves.sizes[0] or given is None:
            return moves
    except Exception as error:  # anyone's code
        if given is None:
            raise IdjaxError(f"the optimizer does not take gradients alone: {str(error).splitlines()[0]}") from error
    try:
        return _first_updates(whole, _small(given), [np.size(leaf) for leaf in given.params])
    except TypeError:  # the loss, by which it finds a rate in each step
        return None


def _first_updates(optimizer: Any, at: list[Any], counts: list[int]) -> _Moves:
    """The first updates that are not 0, of the parameter with most numbers of those that are moved."""

    @jax.jit  # one small program in place of dozens
    def run(gradients: list[Any]) -> Any:
        def step(states: list[Any], _: None) -> Any:
            made = [
                optimizer.update([jnp.full(leaf.shape, gradient) for leaf in at], state, at)
                for gradient, state in zip(gradients, states, strict=True)
            ]
            return [state for _, state in made], jnp.stack(
                [jnp.stack([jnp.abs(leaf).mean() for leaf in updates]) for updates, _ in made]
            )

        return jax.lax.scan(step, [optimizer.init(at) for _ in gradients], None, WAIT)[1]

    sizes = np.asarray(run([np.float32(gradient) for gradient in (1.0, 10.0, 1000.0)]), np.float64)
    sizes = sizes[:, :, int(np.argmax(np.array(counts) * (sizes.min(1).max(0) > 0)))]
    first = int(np.argmax(sizes.min(1) > 0))
    small, middle, large = sizes[first].tolist()
    return _Moves((small, middle, large), first > 0 or not sizes[first].all())


def updated(optimizer: Any, loss: Callable[[Any, Any], Any], params: list[Any], state: Any, args: Any) -> Any:
    """Of one step: the loss before it and its gradient, the update, and the state after it, of the types it had."""
    value, slope = jax.value_and_grad(loss)(params, args)
    updates, new = optimizer.update(slope, state, params, value=value, value_fn=lambda at: loss(at, args))
    new = jax.tree.map(lambda made, old: jnp.asarray(made, jnp.asarray(old).dtype), new, state)
    return value, slope, updates, new


def stepping(optimizer: Any, loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A step, for a scan: (parameters, state) and arguments → the same after it, and the loss before."""

    def step(carry: Any, args: Any) -> Any:
        params, state = carry
        value, _, updates, state = updated(optimizer, loss, params, state, args)
        moved = [(leaf + change).astype(leaf.dtype) for leaf, change in zip(params, updates, strict=True)]
        return (moved, state), value

    return step
