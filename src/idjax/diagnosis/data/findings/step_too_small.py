"""The learning rate is far below what these data allow.

The curvature of the loss is the scale of the learning rate. Data of small size, many outputs (the loss is a mean over
them) or a loss in original units make the curvature small, and the usual rates with it.

Formula: η against the largest stable rate, 2/h_1 with h = (2/q) λ for the full batch and less for minibatches, in the
    units in which the loss is measured; theory sections 3, 5 and 6. Adaptive optimizers: their own fastest rate.
Source: LeCun, Simard and Pearlmutter 1993
Example: idjax diagnose narrow-normal --normalize center --learning-rate 0.01
Fix: --learning-rate as the message says.
Apart: Raised where the rate alone makes training three times faster; what no rate cures is mean-dominated,
    unequal-scales or collinear. An update that is rounded away for being small is a float-stall because of this.
"""

import math

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import fastest_finding, fix, times_slower, with_momentum_kept
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import count, times_words
from idjax.results.diagnosis import Finding

FASTER = 3.0
"""How many times faster a well-chosen rate has to be."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Not learned in time, and three times faster with a well-chosen learning rate alone."""
    if context.learned:
        return None
    if context.adaptive or context.followed:
        trouble = f"takes {context.settings.optimizer} too little far in {count(context.budget)} epochs"
        return fastest_finding(context, EXPLANATION, trouble, larger=True)
    settings, chosen = context.settings, with_momentum_kept(context)
    rate, now, then = chosen.settings.step_size, context.epochs(), chosen.epochs
    if settings.step_size * FASTER > rate or then * FASTER > now or math.isinf(then):
        return None
    times = rate / settings.step_size
    units = ""
    if settings.normalize != "none" and settings.loss_space == "original":
        units = "; the loss is in original units, which scales gradients by the variance of the data"
    return EXPLANATION.finding(
        message=f"the learning rate {settings.step_size:.3g} is {count(times)} times below a well-chosen one, "
        f"{rate:.3g}: {times_words(now)} rather than {times_words(then)}{units}",
        evidence={
            "learning rate": settings.step_size,
            "well-chosen learning rate": rate,
            "largest stable learning rate": context.max_rate(settings),
            "epochs": now,
            "epochs at the well-chosen rate": then,
        },
        cost=times_slower(context, now, then),
        fix=fix(context, ({"learning_rate": rate},)),
    )
