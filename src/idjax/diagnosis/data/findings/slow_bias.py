"""The bias is learned last of all.

Under a large mean a change of the bias is nearly made up for by a change of the weights along the mean. What tells
them apart is the smallest curvature of all, so bias and mean offset stay wrong together.

Formula: the bias mode's eigenvalue is about 1/(1 + mᵀ Σ⁻¹ m); theory section 1.
Source: LeCun, Kanter and Solla 1991
Example: idjax diagnose narrow-normal --batch-size 8
Fix: Centre the inputs: the bias is then a direction of its own, with curvature 2/q.
Apart: Always because of a large mean, which has its own finding.
"""

import math

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "consequence")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """A bias mode slower than all others and than the budget, with a cause in the mean."""
    causes = tuple(f.code for f in found if f.code in ("mean-dominated", "adam-bounce"))
    if context.learned or context.before is None or not causes:
        return None
    groups = {group.name: group for group in context.times_of_groups}
    bias = groups.get("bias")
    if bias is None or bias.steps <= context.budget * context.steps_per_epoch:
        return None
    if "slow" in groups and bias.steps < groups["slow"].steps:
        return None
    epochs = bias.steps / context.steps_per_epoch
    return EXPLANATION.finding(
        message=f"the bias {f'needs {count(epochs)} epochs' if math.isfinite(epochs) else 'is not learned'}: under a "
        "large mean it is hard to tell from the weights",
        evidence={"epochs for the bias": epochs, "its share of the loss at the start": bias.share},
        cost=1.0,
        fix="centre the inputs",
        causes=causes,
    )
