"""The learning rate is beyond what is stable, or so near that noise decides.

Above 2 over the largest curvature full-batch descent diverges. With minibatches the noise of the batches makes it
diverge earlier: the smaller the batch, the lower the limit.

Formula: η against the largest rate stable in mean square; theory (30), (53).
Source: Mulayoff and Michaeli 2024; Ma, Bassily and Belkin 2018
Example: idjax diagnose unit-uniform --learning-rate 5 --batch-size 8
Fix: --learning-rate as the message says, or a larger --batch-size.
Apart: heavy-tails is raised instead where Gaussian rows would be stable; noise-floor where the rate is stable by far
    and label noise keeps the loss up.
"""

import math

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import fastest_finding, fix, times_slower, with_momentum_kept
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import times_words
from idjax.results.diagnosis import Finding

NEAR = 0.5
"""Share of the largest stable learning rate from which slowness is put down to the rate."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Beyond the stable rate, or so near it that a smaller one is three times faster."""
    if context.learned or context.tails_diverge:
        return None
    if context.adaptive or context.followed:
        trouble = f"is so large that {context.settings.optimizer} does not settle"
        return fastest_finding(context, EXPLANATION, trouble, larger=False)
    limit, rate = context.gaussian_rate(context.settings), context.settings.step_size
    chosen = with_momentum_kept(context)
    better, now, then = chosen.settings.step_size, context.epochs(), chosen.epochs
    if rate >= limit:
        message = f"training diverges: the learning rate {rate:.3g} is beyond the largest stable one, {limit:.3g}"
        cost = math.inf
    elif rate > NEAR * limit and then * 3 <= now and math.isfinite(then):
        message = (
            f"the learning rate {rate:.3g} is so near the largest stable one, {limit:.3g}, that noise decides: "
            f"{times_words(now)} rather than {times_words(then)} at {better:.3g}"
        )
        cost = times_slower(context, now, then)
    else:
        return None
    return EXPLANATION.finding(
        message=message,
        evidence={
            "learning rate": rate,
            "largest stable learning rate": limit,
            "well-chosen learning rate": better,
            "epochs at the well-chosen rate": then,
        },
        cost=cost,
        fix=fix(context, ({"learning_rate": rate} for rate in (better, better / 4))),
    )
