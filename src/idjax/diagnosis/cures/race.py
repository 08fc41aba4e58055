"""A race of learning rates: a factor of 2 apart and begun where curvature says, then finer, on the same batches."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idjax.diagnosis.cures.cured import Flat
from idjax.diagnosis.cures.descents import STRIDE, Descending, Descents, joined
from idjax.diagnosis.trace.curvature import dot, hessian_product
from idjax.diagnosis.trace.rule import UpdateRule, updated
from idjax.results.program import RateRace
from idjax.types import OnProgress, Progress, silent

HORIZON = 256
"""Steps that the last rates are raced for."""
BELOW, ABOVE, MORE = 5, 3, 3
"""Rates below and above the one that curvature says, and how many more at a time where the best is the last."""
MOST_RATES = 60
AGAIN = 3
"""Times that smaller rates are raced where all that were left diverge."""
FINER = 2**0.5
AT_LEAST = {16: 3, 32: 3, 64: 2, 128: 2}
"""Rates that go on after so many steps, clearly behind or not: the largest may begin badly, the smallest slowly."""
AT_MOST = {16: 5, 32: 4, 64: 3, 128: 2}
STILL = 0.01
"""Share of the first loss that a training has to fall by to count as one that moves."""
LEARNED = 0.01
"""Share of the first loss at which it counts as learned, and the order is that of the steps to there."""


def race(descents: Descents, first: float, horizon: int = HORIZON, progress: OnProgress = silent) -> RateRace:
    """The rate at which the loss is lowest after the horizon, or sooner at the floor.

    A rate goes on while it is not clearly behind: while it has the loss after n steps that the first one has after n/2.
    What is left at the end is raced against rates in between. Where nothing left is finite, smaller rates are raced.

    Args:
      first: a rate to begin about.
      horizon: steps of the last rates.

    Returns:
      The race; its rate is NaN where all diverge.
    """
    begun = descents.spent
    last, gone = _raced(descents, first * 2.0**ABOVE, horizon, progress)
    for _ in range(AGAIN):
        if math.isfinite(reached_now(last.losses)[_best(last)]):
            break
        # What is ahead for a while does not last: the smallest rate that was lost is far above all that are raced now.
        gone.append(last)
        lost = min(part.rates[np.isinf(reached_now(part.losses))].min(initial=np.inf) for part in gone)
        last, more = _raced(descents, lost / 4, horizon, progress, bounded=True)
        gone += more
    best, every = _best(last), [*gone, last]
    lasts = math.isfinite(reached_now(last.losses)[best])
    return RateRace(
        rate=descents.rule.told(float(last.rates[best])) if lasts else math.nan,
        rates=np.array([descents.rule.told(float(rate)) for part in every for rate in part.rates]),
        steps=np.array([part.steps for part in every for _ in part.rates]),
        ends=np.concatenate([reached_now(part.losses) for part in every]),
        losses=last.losses[best],
        lowest=min(float(np.min(part.losses, initial=np.inf, where=np.isfinite(part.losses))) for part in every),
        spent=descents.spent - begun,
    )


def _raced(
    descents: Descents, largest: float, horizon: int, progress: OnProgress, bounded: bool = False
) -> tuple[Descending, list[Descending]]:
    """Races rates up to the largest, and beyond it unless they are bounded: those left last, and those given up."""
    rates = largest * 2.0 ** -np.arange(BELOW + ABOVE, -1, -1)
    running = descents.advance(descents.start(rates), STRIDE)
    running = running if bounded else _widened(descents, running)
    gone: list[Descending] = []
    while True:
        order, steps = np.argsort(_score(running)).tolist(), running.steps
        progress(Progress(steps, horizon, f"racing {len(order)} rates, step {steps}"))
        on = [run for place, run in enumerate(order) if _goes_on(running, run, order[0], place)]
        gone.append(running.of([run for run in order if run not in on]))
        running = running.of(on)
        if steps >= horizon or len(on) == 1:
            break
        running = descents.advance(running, 2 * steps)
    leader = float(running.rates[0])
    finer = [leader / FINER] if bounded and leader >= largest else [leader / FINER, leader * FINER]
    between = descents.advance(descents.start(finer), running.steps)
    return joined([running, between]), gone


def _widened(descents: Descents, running: Descending) -> Descending:
    """With more rates on the side where the best is the last, until it is none."""
    while len(running.rates) < MOST_RATES:
        order = np.argsort(running.rates)
        place = int(np.argmin(_score(running)[order]))
        above = place >= len(order) - 2
        if place > 1 and not above:
            break
        factors = 2.0 ** np.arange(1, MORE + 1)
        more = running.rates[order[-1]] * factors if above else running.rates[order[0]] / factors
        running = joined([running, descents.advance(descents.start(more), running.steps)])
    return running


def reached_now(losses: Float[np.ndarray, "k n"], steps: int = 0) -> Float[np.ndarray, " k"]:
    """The loss after so many steps, the mean of the last eighth of them; infinite where it is not finite."""
    steps = steps or losses.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        found = losses[:, steps - max(2, steps // 8) : steps].mean(1)
    return np.where(np.isfinite(found), found, np.inf)


def smooth(losses: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The mean of the last eight losses at each step, of the first ones of those there are; inf if not finite."""
    with np.errstate(all="ignore"):
        sums = np.cumsum(np.concatenate([np.zeros(8), losses]))
        found = (sums[8:] - sums[:-8]) / np.minimum(np.arange(1, len(losses) + 1), 8)
    return np.where(np.isfinite(found), found, np.inf)


def steps_to(losses: Float[np.ndarray, " n"], level: float) -> float:
    """The first step after which the smoothed loss is at most this; inf if it never is."""
    there = np.flatnonzero(smooth(losses) <= level)
    return float(there[0] + 1) if len(there) and math.isfinite(level) else math.inf


def is_still(losses: Float[np.ndarray, " n"]) -> bool:
    """Whether a training never leaves its first loss."""
    return bool(smooth(losses).min() > (1 - STILL) * losses[0])


def _score(running: Descending) -> Float[np.ndarray, " k"]:
    """Lower for a rate that is further: the loss, or once it is learned the steps to there less those made."""
    ends, first = reached_now(running.losses), float(running.losses[:, 0].min())
    if first <= 0 or ends.min() > LEARNED * first:
        return ends
    there = np.array([steps_to(losses, LEARNED * first) for losses in running.losses])
    return np.where(np.isfinite(there), there - running.steps - 1, ends)


def _best(running: Descending) -> int:
    return int(np.argmin(_score(running)))


def _goes_on(running: Descending, run: int, leader: int, place: int) -> bool:
    steps = running.steps
    if place == 0:
        return True
    half = float(reached_now(running.losses[leader : leader + 1], steps // 2)[0])
    end = float(reached_now(running.losses[run : run + 1])[0])
    most = AT_MOST if end <= half else AT_LEAST
    return math.isfinite(end) and place < most.get(steps, 1)


def rate_by_curvature(loss: Flat, params: list[Any], args: Any, rule: UpdateRule) -> float:
    """The rate of the first update's lowest point, were the loss quadratic along it: -g·u/(uᵀHu) for the update u."""

    @jax.jit
    def run(params: list[Any], args: Any) -> Any:
        optimizer = rule.at(1.0)
        _, slope, update, _ = updated(optimizer, loss, params, optimizer.init(params), args)
        update = [change.astype(leaf.dtype) for change, leaf in zip(update, params, strict=True)]
        return -dot(slope, update) / jnp.abs(dot(hessian_product(loss, params, args, update), update))

    rate = float(run(params, args))
    return rate if np.isfinite(rate) and rate > 0 else 1e-3
