"""The rule of an optimizer, and trials: a few steps of it on one block, at several rates."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.types import IdjaxError

STEPS = 30
"""Steps of a trial."""
LEAST_EPSILON = 1e-4
"""Epsilon that two first updates show, beyond their rounding."""
WAIT = 20
"""Updates among which one has to move something."""
MOST_CLIMBS = 8
"""Factors of 10 that the best rate may be from the first one."""
Trained = Callable[[Any, Any, float], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class UpdateRule:
    """An optimizer at any rate: made for it, or with updates that are multiplied by it.

    at:       the optax transformation at a rate, which may be traced.
    rate:     the user's own, of an optimizer that is named; 1 where the optimizer has it inside; None if not known.
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


def update_rule(optimizer: Any, learning_rate: float | None, **options: float) -> UpdateRule:
    """The rule of an optimizer.

    Args:
      optimizer: the name of one in optax, an optax transformation, or a function that makes one of a rate.
      learning_rate: of a named one, or one that is made; options: of a named one.

    Raises:
      IdjaxError: for a name that optax does not have, or something else.

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
        name, at = optimizer, functools.partial(make, **options)
    elif hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        inside, rate = None, 1.0

        def at(rate: Any) -> Any:
            return optax.chain(optimizer, optax.scale(rate))
    elif callable(optimizer):
        at = optimizer
    else:
        raise IdjaxError(f"the optimizer is of type {type(optimizer).__name__}: give a name, or one of optax")
    (small, middle, large), waits = _first_updates(at(1.0), (1.0, 10.0, 1000.0))
    if waits:  # a warm-up, or gradients that are gathered first: 30 steps say little of its rate
        return UpdateRule(name, at, None, None, large < 100 * small)
    adaptive = large < 100 * small
    epsilon = (large / small - 1) / (1 - large / small / 1000) if adaptive else 0.0
    divides = abs(small * (1 + epsilon) / (1 + epsilon / 10) - middle) < 1e-3 * middle  # and does not clip
    step = small * (1 + epsilon) if divides else small
    return UpdateRule(
        name, at, rate, step if inside is None and rate == 1.0 else inside, adaptive,
        epsilon if divides and epsilon > LEAST_EPSILON else None,
    )  # fmt: skip


def _first_updates(optimizer: Any, gradients: tuple[float, ...]) -> tuple[list[float], bool]:
    """The sizes of the first updates that are not 0, for gradients of these sizes, and whether some came before.

    Raises:
      IdjaxError: for an optimizer that takes more than gradients, or gradients in the nest of the parameters alone.
    """
    at = np.ones(2, np.float32)

    @jax.jit  # one small program in place of dozens
    def run(gradients: Any) -> Any:
        def step(state: Any, _: None) -> Any:
            made = [optimizer.update(jnp.full(2, g), one, at) for g, one in zip(gradients, state, strict=True)]
            return [one for _, one in made], jnp.stack([jnp.abs(update).mean() for update, _ in made])

        return jax.lax.scan(step, [optimizer.init(at) for _ in gradients], None, WAIT)[1]

    try:
        sizes = np.asarray(run([np.float32(gradient) for gradient in gradients]), np.float64)
    except Exception as error:  # anyone's code
        first = str(error).strip().splitlines()[0]
        raise IdjaxError(
            f"the optimizer does not take gradients alone, in one array: {first}; give the part of it that moves most "
            "parameters, as optax.adam(1e-3)"
        ) from error
    first = int(np.argmax(sizes.min(1) > 0))
    return sizes[first].tolist(), first > 0 or not sizes[first].all()


def trials(rule: UpdateRule, loss: Callable[[Any, Any], Any], steps: int = STEPS) -> Trained:
    """A compiled function of parameters, arguments and a rate: the losses of so many steps."""

    @functools.partial(jax.jit)
    def run(params: Any, args: Any, rate: Any) -> Any:
        optimizer = rule.at(rate)

        def step(carry: Any, _: None) -> Any:
            params, state = carry
            value, slope = jax.value_and_grad(loss)(params, args)
            updates, state = optimizer.update(slope, state, params)
            return (moved(params, updates), state), value

        (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), None, steps)
        return jnp.append(losses, loss(params, args))

    return lambda params, args, rate: np.asarray(run(params, args, jnp.float32(rate)), np.float64)


def moved(params: list[Any], updates: list[Any]) -> list[Any]:
    """The parameters after an update, of the types that they had."""
    return [(leaf + change).astype(leaf.dtype) for leaf, change in zip(params, updates, strict=True)]


def reached(losses: np.ndarray) -> float:
    """The loss at the end of a trial, the mean of its last three; infinite where it is not finite."""
    end = float(np.mean(losses[-3:]))
    return end if math.isfinite(end) else math.inf


def best(trained: Trained, params: Any, args: Any, first: float) -> tuple[float, np.ndarray]:
    """The rate that ends lowest and its losses: uphill in factors of 10 from the first one, then of 3."""
    rate, losses = first, trained(params, args, first)
    for factor in (10.0, 0.1, 3.0):
        for _ in range(MOST_CLIMBS):
            further = trained(params, args, rate * factor)
            if not reached(further) < reached(losses):
                break
            rate, losses = rate * factor, further
    return rate, losses


def first_rate(rule: UpdateRule, loss: float, gradient: list[Any]) -> float:
    """A rate to begin with: of Adam and the like 0.001, of others what halves the loss in 3 steps, were it linear."""
    if rule.adaptive:
        return 1e-3 if rule.inside is None or rule.rate is None else 1e-3 * rule.rate / rule.inside
    squared = sum(float(np.sum(np.square(np.asarray(slope, np.float64)))) for slope in gradient)
    return 0.1 * abs(loss) / squared if squared > 0 else 1.0
