"""Trials: a few steps of an optimizer on one block, at several rates."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.trace.rule import UpdateRule, stepping

STEPS = 30
"""Steps of a trial."""
NEAR = (1.0, 10.0, 0.1)
GRID = (*NEAR, 0.01, 0.001)
"""Times the first rate that are tried in any case: a program that is thrown far off may lie still at a lower loss."""
MOST_CLIMBS = 8
"""Factors of 10 that the best rate may be from these."""
Trained = Callable[[Any, Any, float], np.ndarray]


def trials(rule: UpdateRule, loss: Callable[[Any, Any], Any]) -> Trained:
    """A function of parameters, arguments and a rate, its step compiled once: the losses of 30 steps.

    Steps are not in a scan: within one, XLA on a CPU computes convolutions many times more slowly.
    """

    @jax.jit
    def begin(params: Any, rate: Any) -> Any:
        return rule.at(rate).init(params)

    @jax.jit
    def step(carry: Any, args: Any, rate: Any) -> Any:
        return stepping(rule.at(rate), loss)(carry, args)

    def run(params: Any, args: Any, rate: float) -> np.ndarray:
        carry, losses = (params, begin(params, jnp.float32(rate))), []
        for _ in range(STEPS + 1):  # the last one for the loss that it begins with
            carry, value = step(carry, args, jnp.float32(rate))
            losses.append(value)
        return np.asarray(losses, np.float64)

    return run


def parameters_after(rule: UpdateRule, loss: Any, params: Any, args: Any, rate: float, steps: int) -> Any:
    """The parameters after so many steps at a rate."""
    optimizer = rule.at(jnp.float32(rate))
    step = jax.jit(stepping(optimizer, loss))
    carry = params, optimizer.init(params)
    for _ in range(steps):
        carry, _ = step(carry, args)
    return carry[0]


def reached(losses: np.ndarray) -> float:
    """The loss at the end of a trial, the mean of its last three; infinite where it is not finite."""
    end = float(np.mean(losses[-3:]))
    return end if math.isfinite(end) else math.inf


def best(
    trained: Trained, params: Any, args: Any, first: float, around: tuple[float, ...] = GRID
) -> tuple[float, np.ndarray]:
    """The rate that ends lowest and its losses: of some around the first, then uphill in factors of 10, then of 3."""
    known = {rate: trained(params, args, rate) for rate in (first * factor for factor in around)}

    def lowest() -> float:
        return min(known, key=lambda rate: reached(known[rate]))

    rate = lowest()
    for factor, most in ((10.0, MOST_CLIMBS), (0.1, MOST_CLIMBS), (3.0, 1), (1 / 3, 1)):
        for _ in range(most):
            further = rate * factor
            if any(math.isclose(further, other, rel_tol=1e-6) for other in known):
                break
            known[further] = trained(params, args, further)
            if lowest() == rate:
                break
            rate = further
    return rate, known[rate]


def first_rate(rule: UpdateRule, loss: float, gradient: list[Any]) -> float:
    """A rate to begin with: of Adam and the like 0.001, of others what halves the loss in 3 steps, were it linear."""
    if rule.adaptive:
        return 1e-3 if rule.inside is None or rule.rate is None else 1e-3 * rule.rate / rule.inside
    squared = sum(float(np.sum(np.square(np.asarray(slope, np.float64)))) for slope in gradient)
    return 0.1 * abs(loss) / squared if squared > 0 else 1.0
