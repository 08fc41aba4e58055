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
from idjax.diagnosis.data.counterfactual import ORDER, best, changed, fix
from idjax.diagnosis.explanation import Explanation, Fix, slowing
from idjax.report.formatting import count, explained
from idjax.results.diagnosis import Finding

MANY = 10.0
"""Times the budget from which more epochs are no remedy."""

EXPLANATION = Explanation.of(__name__, __doc__, "consequence")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Not learned within the budget: how long it would take, or that it is not known, and what would learn."""
    if context.learned or context.tails_diverge:
        return None
    before, epochs = context.before, context.takes
    causes = slowing(found)
    cure: Fix | None = None
    if math.isfinite(epochs):
        message = f"it takes {count(epochs)} epochs, of {count(context.budget)} that were given"
        budget = math.ceil(1.1 * epochs)
        if epochs <= MANY * context.budget:
            cure = Fix(f"--budget {budget}: {count(epochs)} epochs predicted", None, epochs)
    elif causes:
        return None
    else:
        known = min(before.known_until / context.steps_per_epoch, context.budget)
        how = "followed" if context.followed else "predicted"
        until = "at all with these settings" if context.never else f"within the {count(known)} epochs that were {how}"
        message = f"not learned {until}: explained variance {explained(float(before.explained_variance[-1]))} there"
    if not causes and not epochs <= MANY * context.budget:
        others = [best(context, normalize) for normalize in ORDER]
        cure = fix(context, (changed(context, other.settings) for other in others)) or cure
        message += f"; plain SGD was predicted on {len(others)} normalisations of the inputs, each at its best rate"
    return EXPLANATION.finding(
        kind="consequence" if causes else "cause",
        message=message,
        evidence={"epochs to learn": epochs, "budget": context.budget},
        cost=epochs / context.budget,
        fix=cure or ("cure the cause" if causes else None),
        causes=causes,
    )
