"""The learning rate is so small that the loss hardly moves, and a much larger one is as good a step.

Within thousands of steps nothing is learned. The loss falls in proportion to the rate: a rate 100 times larger makes
30 times the progress at least. Where that is lost in rounding, a rate is asked at which the gradient foretells a fall
that shows.

Formula: 30 steps of the optimizer on one block lower the loss by less than 3 parts in 10,000, which is less than 1% in
    1,000 steps, and at 100 times the rate by 30 times as much or more. Of descent also where they lower it by less than
    a tenth, and 100 times the rate by more than half, 1,000 times the rate further still.
Source: Goodfellow, Bengio and Courville 2016, section 11.4.1
Example: optax.adam(1e-6)
Fix: The larger rate that the message names, or more.
Apart: layer-float-stall is about updates that are rounded away, no-gradient about gradients of 0.
"""

import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.trials import STEPS
from idjax.report.formatting import count, number
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
LITTLE, TIMES, MORE = 3e-4, 100.0, 30.0
SHOWS = 1e-3
"""Share of the loss that a rate is chosen to lower it by, were it linear."""
SLOW, FAR = 0.1, 0.5


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """A rate that is known, and at which the loss of a trial hardly falls."""
    rule, start = context.rule, context.trial_start
    if rule.rate is None or not context.finite or not start:
        return []
    fall, least, times = _fall(context, 1.0), 1e-7 * abs(start), TIMES
    little = abs(fall) < LITTLE * abs(start)
    still = little and _fall(context, TIMES) >= MORE * max(fall, least)
    if little and not still and (further := _showing(context)) > TIMES:
        still, times = _fall(context, further) >= LITTLE * abs(start), further
    if not still and not _is_far_below(context, fall):
        return []
    mine, better = rule.told(rule.rate), rule.told(rule.rate * times)
    return [
        EXPLANATION.program_finding(
            message=f"at a learning rate of {mine:.3g} the loss falls by {number(max(fall, 0.0), 2)} in 30 steps, of "
            f"{number(start)}; at {better:.3g} by {number(_fall(context, times), 2)}",
            evidence={"learning rate": mine, "one that is as stable": better},
            cost=times,
            fix=f"a learning rate of {better:.2g}, or larger: {count(times)} times as much is "
            + ("still in proportion" if still else "stable, and so is more"),
        )
    ]


def _fall(context: LossContext, factor: float) -> float:
    """The fall of the loss in a trial at a multiple of the rate."""
    return context.trial_start - context.trial(factor)


def _showing(context: LossContext) -> float:
    """The power of 10 times the rate that would lower the loss by SHOWS, were it linear; 0 if none is known.

    A step of descent lowers it by η |g|², one that divides by the size of the gradient by η Σ |g|.
    """
    rule, power = context.rule, 1 if context.rule.adaptive else 2
    slope = sum(float((np.abs(np.asarray(part, np.float64)) ** power).sum()) for part in context.measured.gradient)
    fall = STEPS * ((rule.inside if rule.adaptive else rule.rate) or 0.0) * slope
    return 10.0 ** np.ceil(np.log10(SHOWS * abs(context.trial_start) / fall)) if 0 < fall < np.inf else 0.0


def _is_far_below(context: LossContext, fall: float) -> bool:
    """Whether a rate of descent is more than 1,000 times below one that is stable and better."""
    start = abs(context.trial_start)
    if context.rule.adaptive or not 0 <= fall < SLOW * start:
        return False
    return _fall(context, TIMES) >= FAR * start and context.trial(10 * TIMES) < context.trial(TIMES)
