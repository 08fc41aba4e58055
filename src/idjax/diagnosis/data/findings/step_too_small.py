"""The learning rate is far below what these data allow.

The curvature of the loss is the scale of the learning rate. Data of small size, many outputs (the loss is a mean over
them) or a loss in original units make the curvature small, and the usual rates with it.

Formula: η against the largest stable rate, 2/h_1 with h = (2/q) λ for the full batch and less for minibatches, in the
    units in which the loss is measured; theory sections 3, 5 and 6. Under Adam a weight moves at most η a step.
Source: LeCun, Simard and Pearlmutter 1993
Example: idjax diagnose narrow-normal --normalize center --learning-rate 0.01
Fix: --learning-rate as the message says.
Apart: Raised where the rate alone makes training three times faster; what no rate cures is mean-dominated,
    unequal-scales or collinear. An update that is rounded away for being small is a float-stall because of this.
"""

import math

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import times_slower
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding

FASTER = 3.0
"""How many times faster a well-chosen rate has to be."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Not learned in time, and three times faster with a well-chosen learning rate alone."""
    if context.learned or context.before is None:
        return None
    if context.adaptive:
        # Where it bounces no rate helps: that is said already.
        return None if any(finding.code == "adam-bounce" for finding in found) else _under_adam(context)
    settings = context.settings
    tuned = context.tuned(momentum=settings.momentum, nesterov=settings.nesterov)
    rate = float(tuned["learning_rate"])  # type: ignore[arg-type]
    now, then = context.epochs(), context.epochs(**tuned)
    if settings.step_size * FASTER > rate or then * FASTER > now or math.isinf(then):
        return None
    times = rate / settings.step_size
    units = ""
    if settings.normalize != "none" and settings.loss_space == "original":
        units = "; the loss is in original units, which scales gradients by the variance of the data"
    return EXPLANATION.finding(
        message=f"the learning rate {settings.step_size:.3g} is {count(times)} times below a well-chosen one, "
        f"{rate:.3g}: {count(now)} epochs to learn rather than {count(then)}{units}",
        evidence={
            "learning rate": settings.step_size,
            "well-chosen learning rate": rate,
            "largest stable learning rate": context.max_rate(),
            "epochs": now,
            "epochs at the well-chosen rate": then,
        },
        cost=times_slower(context, now, then),
        fix=f"--learning-rate {rate:.2g}",
    )


def _under_adam(context: Context) -> Finding | None:
    """A weight moves at most η a step, and has so far to go."""
    settings = context.settings
    far = np.abs(context.problem.reference.kernel - context.start.kernel).max()
    steps = context.budget * context.steps_per_epoch
    needed = settings.learned_at**0.5 * far  # the rest of the error may stay
    if settings.step_size * steps >= needed:
        return None
    rate = 10 * needed / steps
    return EXPLANATION.finding(
        message=f"{settings.optimizer} moves a weight by at most the learning rate {settings.step_size:.3g} a step: "
        f"{count(steps)} steps are not enough to go {far:.2g}",
        evidence={"learning rate": settings.step_size, "steps": steps, "distance to go": float(far)},
        cost=needed / (settings.step_size * steps),
        fix=f"--learning-rate {rate:.2g}",
    )
