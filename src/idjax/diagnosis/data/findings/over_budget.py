"""It will be learned, but not within the epochs given.

The prediction says how many epochs it takes. Where another finding makes it slow, this is its consequence; where none
does, more epochs are all that is needed.

Formula: predicted epochs to learn against --budget (--epochs if not given); theory section 4.
Example: idjax diagnose unit-uniform --budget 20
Fix: More epochs, or what the other findings say.
Apart: A cause only where there is no other.
"""

import math

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "consequence")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """More epochs than given, though finitely many."""
    if context.learned or context.before is None or context.tails_diverge:
        return None
    epochs = context.epochs()
    causes = tuple(finding.code for finding in found if finding.kind == "cause" and finding.cost > 1)
    if not math.isfinite(epochs):
        if causes or not math.isfinite(context.before.explained_variance[-1]):
            return None
        message = f"not learned within {count(context.budget)} epochs, and as far as is predicted"
    else:
        message = f"it takes {count(epochs)} epochs, of {count(context.budget)} that were given"
    more = f"--budget {math.ceil(1.1 * epochs)}" if math.isfinite(epochs) else "more epochs"
    return EXPLANATION.finding(
        kind="consequence" if causes else "cause",
        message=message,
        evidence={"epochs to learn": epochs, "budget": context.budget},
        cost=epochs / context.budget,
        fix=f"cure the cause; as it is, {more}" if causes else more,
        causes=causes,
    )
