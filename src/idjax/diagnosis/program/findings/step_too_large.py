"""The learning rate is too large: the loss does not fall, and at a smaller one it does.

Each step goes beyond the valley that its gradient points into. Of SGD and momentum that is so from 2 over the largest
curvature on; of Adam and the like where the rate, which is the step of each weight, is not small against the weights.

Formula: after 30 steps of the optimizer on one block the loss is not below the first, and at a rate 10 times smaller,
    or 100, and so on to 100 million, it has fallen by 5% at least. Or it goes up on the way by 2 times that fall, and
    ends a tenth of it above.
Source: LeCun, Simard and Pearlmutter 1993; Kingma and Ba 2014
Example: optax.adam(0.3)
Fix: The smaller rate that the message names, or a warm-up.
Apart: A consequence where inputs, weights or targets make the curvature large.
"""

import math

import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.program.findings import not_finite
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.report.formatting import number
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
SMALLER = tuple(10.0**-power for power in range(1, 9))
FALL = 0.05
"""Of the loss: what it falls by at a rate that learns."""
UP, ABOVE = 2.0, 0.1
"""Of that fall: what the loss goes up by on the way, and ends above, at a rate that throws the weights about."""
RATE, BETTER = "learning rate", "one at which the loss falls"


def factor(finding: ProgramFinding) -> float:
    """The rate at which the loss falls over the one that was given."""
    return float(str(finding.evidence[BETTER])) / float(str(finding.evidence[RATE]))


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """A rate that is known, and at which the loss of a trial does not fall."""
    rule, start = context.rule, context.trial_start
    if rule.rate is None or not context.finite:
        return []
    falls = context.trial(1.0) < start
    if falls and not _may_be_thrown(context):
        return []
    if not falls and (instead := not_finite.find_later(context)):
        return instead
    for factor in SMALLER[:2] if falls else SMALLER:
        end = context.trial(factor)
        if end <= start - FALL * abs(start) and (not falls or _is_thrown(context, start - end)):
            mine, better = rule.told(rule.rate), rule.told(rule.rate * factor)
            return [
                EXPLANATION.program_finding(
                    message=f"at a learning rate of {mine:.3g} the loss {_said(context)}; at {better:.3g} it falls to "
                    f"{number(end)}",
                    evidence={RATE: mine, BETTER: better},
                    fix=f"a learning rate of {better:.2g}",
                )
            ]
    return []


def _may_be_thrown(context: LossContext) -> bool:
    """Whether any fall at a smaller rate could make this one's a throw: most need no trial of another to tell."""
    start, up = context.trial_start, float(np.max(context.losses(1.0))) - context.trial_start
    return up / UP >= max(FALL * abs(start), (start - context.trial(1.0)) / (1 - ABOVE))


def _is_thrown(context: LossContext, fall: float) -> bool:
    """Whether the loss goes far up before it falls, and has not come down as far as at a smaller rate."""
    peak, end, start = float(np.max(context.losses(1.0))), context.trial(1.0), context.trial_start
    return peak - start >= UP * fall and end - (start - fall) >= ABOVE * fall


def _said(context: LossContext) -> str:
    peak, start, end = float(np.max(context.losses(1.0))), context.trial_start, context.trial(1.0)
    if math.isinf(end):
        return f"of {number(start)} overflows within 30 steps"
    went = f"goes up to {number(peak)}" if end < start else "does not fall"
    return f"{went} in 30 steps, from {number(start)} to {number(end)}"
