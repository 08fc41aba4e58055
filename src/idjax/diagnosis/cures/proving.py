"""Proof of a diagnosis: the program as given and with its cures, trained until a common loss or a budget."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.cures.cured import CuredLoss
from idjax.diagnosis.cures.descents import STRIDE, Batches, Descending, Descents
from idjax.diagnosis.cures.ends import fitted
from idjax.diagnosis.cures.race import STILL, is_still, race, rate_by_curvature, reached_now, smooth, steps_to
from idjax.diagnosis.cures.rewriting import RATES, Changed, Rewriting
from idjax.diagnosis.cures.workshop import COMMON, Workshop
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.results.program import FewRows, ProgramProof, ProvenRun
from idjax.types import Progress

BUDGET = 512
"""Steps of a training, unless another number is given."""
BEST = "as given, best rate"
FEW, FEW_STEPS = 8, 1024
LEARNED = 0.05
"""Share of the first loss that may be left of it."""
SLOWER = (4.0, 16.0)
"""What the raced rate is divided by, where the loss of the few rows does not stay finite at it."""
BOTTOMLESS = 100.0
"""Times the size of the first loss below 0 that a loss without a minimum falls to in these steps, and no likelihood."""


def proof(shop: Workshop, made: Callable[[str], CuredLoss], cures: tuple[str, ...], budget: int) -> ProgramProof:
    """Trains the program as given at its own rate and the best one, and each cure at its best.

    Interrupted, it tells what was trained until then.

    Args:
      made: the program with a cure in it, by its name among the cures.
      budget: steps of each training.
    """
    runs: list[tuple[str, float, np.ndarray]] = []
    few, interrupted, total = None, False, budget * (len(cures) + 2)
    begun = shop.spent
    try:
        for index, (name, program, rate) in enumerate(_asked(shop, made, cures)):

            def on(steps: int, index: int = index, name: str = name) -> None:
                shop.progress(Progress(index * budget + steps, total, f"training: {name}"))

            losses = trained(shop, program, rate, budget, common_loss(runs), on)
            runs.append((name, shop.context.rule.told(rate), losses))
        few = few_rows(shop)
    except KeyboardInterrupt:
        interrupted = True
    level = common_loss(runs, ended=True)
    told = tuple(ProvenRun(name, rate, steps_to(losses, level), losses) for name, rate, losses in runs)
    return ProgramProof(told, level, budget, shop.batches.told, shop.spent - begun, few, interrupted)


def _asked(
    shop: Workshop, made: Callable[[str], CuredLoss], cures: tuple[str, ...]
) -> Iterator[tuple[str, CuredLoss, float]]:
    """The trainings in order, each with its multiple of the updates, which is raced once it is its turn."""
    yield BEST, shop.as_given, shop.factor(shop.raced(shop.as_given).rate)
    if shop.context.rule.rate is not None:
        yield "as given", shop.as_given, shop.context.rule.rate
    for name in cures:
        program = made(name)
        if not set(program.codes) <= RATES:  # whose cure is the best rate
            yield name, program, shop.factor(shop.raced(program).rate)


def common_loss(runs: list[tuple[str, float, np.ndarray]], ended: bool = False) -> float:
    """The common loss: the lowest of the program as given at its best rate; of the cured ones where that is still."""
    if not runs:
        return -math.inf
    given, *others = (losses for _, _, losses in runs)
    if not is_still(given):
        return float(smooth(given).min())
    return COMMON * min((float(smooth(losses).min()) for losses in others), default=-math.inf) if ended else -math.inf


def trained(shop: Workshop, program: CuredLoss, rate: float, budget: int, level: float, on: Any) -> np.ndarray:
    """The losses at a rate, until the level or the budget."""
    descents = shop.descents(program, 1)
    running = descents.start([rate])
    while running.steps < budget:
        running = descents.advance(running, running.steps + STRIDE)
        on(running.steps)
        if steps_to(running.losses[0], level) < math.inf or not np.isfinite(running.losses[0, -1]):
            break
    shop.spent += descents.spent
    return running.losses[0]


def few_rows(shop: Workshop) -> FewRows | None:
    """The training on a few rows; None where there are none, or the loss is not finite or has no minimum."""
    context = shop.context
    if context.traced.rows < FEW or not context.finite or "unbounded-loss" in shop.codes:
        return None
    chosen = np.linspace(0, context.traced.rows - 1, FEW).astype(int)
    args = context.traced.cut(chosen)
    batches = Batches(context.traced, None)
    batches.one = args
    program = shop.as_given
    descents = Descents(program.flat(), program.start, context.rule, batches, 1)
    first = rate_by_curvature(program.flat(), program.start, args, context.rule)
    raced = race(descents, first, 128, shop.progress)
    rate = raced.rate if math.isfinite(raced.rate) else float(raced.rates.min())
    running = _lasting(descents, shop.factor(rate))
    shop.spent += descents.spent
    losses = running.losses[0]
    start, end, before = float(losses[0]), *(float(reached_now(losses[None, :n])[0]) for n in (FEW_STEPS, 768))
    lowest = min(raced.lowest, float(np.nanmin(losses)))
    # Where the outputs' own part has a least value it is of another term.
    bottomless = lowest < -BOTTOMLESS * max(1.0, abs(start)) and fitted(context) is not None
    learned = not bottomless and (end <= LEARNED * start or (start <= 0 and math.isfinite(end)))
    stands = not (learned or bottomless) and math.isfinite(end) and before - end <= STILL * start
    params = running.states[0][0]
    least = _least(context, params, args) if stands else math.nan
    learned = learned or end - least <= LEARNED * start
    return FewRows(
        rows=FEW,
        learning_rate=context.rule.told(float(running.rates[0])),
        steps=FEW_STEPS,
        start=start,
        end=end,
        learned=learned,
        stopped="" if learned or math.isnan(least) else _stopped(shop, args, params, least / end),
        bottomless=lowest if bottomless else math.nan,
    )


def _lasting(descents: Descents, rate: float) -> Descending:
    """The training at a rate, or at a smaller one where its loss does not stay finite."""
    running = descents.advance(descents.start([rate]), FEW_STEPS)
    for slower in SLOWER:
        if np.isfinite(reached_now(running.losses)[0]):
            break
        running = descents.advance(descents.start([rate / slower]), FEW_STEPS)
    return running


def _least(context: LossContext, params: list[Any], args: list[Any]) -> float:
    """The loss that outputs which are all that they can be leave; NaN where it is not known what that is."""
    ends = fitted(context)
    if ends is None:
        picked = [comparison.kind == "index" for comparison in context.end.comparisons]
        return 0.0 if picked and all(picked) else math.nan  # of logits that labels pick from
    changed = Changed(ends)
    program = CuredLoss(context.traced, Rewriting(changed, changed, params), ())
    return float(jax.jit(program.flat())(params, args))


def _stopped(shop: Workshop, args: list[Any], params: list[Any], least: float) -> str:
    """The reason why the loss of a few rows stays up; empty where they have nothing to be told apart by.

    least: the share of the loss that is left where all outputs are right.
    """
    context = shop.context
    rows = [np.reshape(leaf, (FEW, -1)) for leaf, holds in zip(args, context.traced.holds, strict=True) if holds]
    targets = [each.target for each in context.end.comparisons]
    count = sum(int(np.prod(context.graph.shape(atom))) // max(1, context.traced.block) for atom in targets) * FEW
    alike = any(len(np.unique(np.asarray(leaf), axis=0)) < FEW for leaf in rows[:1])
    if alike or sum(np.size(leaf) for leaf in params) <= 2 * count:
        return ""
    slopes = jax.grad(shop.as_given.flat())(params, args)
    still = [name for name, slope in zip(context.given.names, slopes, strict=True) if not jnp.any(slope)]
    if len(still) == len(slopes):
        return "no gradient comes to any parameter any more"
    if still:
        return f"no gradient comes to {', '.join(still[:4])}{' and others' if len(still) > 4 else ''}"
    if least > LEARNED:
        return f"{least:.0%} of it does not depend on the outputs, as of a penalty, which holds them back"
    return "there is a gradient, and it leads no further: outputs that are bounded, mixed rows or noise in the loss"
