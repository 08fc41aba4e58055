"""The loss looks small, but the layer does no better than the mean would.

Always answering the mean of the targets has a loss of their variance. Where they vary little around a large mean that
is a small number, and a small loss says nothing.

Formula: explained variance 1 - MSE/mean_j Var(y_j), against what counts as learned; theory section 4.
Example: idjax diagnose narrow-normal --batch-size 8 --learning-rate 0.01
Fix: Look at the explained variance; cure the cause that is named.
Apart: Always because of what keeps the explained variance down.
"""

import math

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.explanation import Explanation, slowing
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding

SMALL = 0.01
"""Share of the mean square of the targets under which a loss looks small."""
UNEXPLAINED = 0.9
"""Share of what counts as learned under which it misleads."""

EXPLANATION = Explanation.of(__name__, __doc__, "consequence")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """An error far below the targets' mean square at the end, and an explained variance under the target."""
    causes = slowing(found)
    if context.learned or not causes:
        return None
    raw = context.moments.raw
    power = context.variance + float(raw.mean_y @ raw.mean_y) / raw.outputs
    explained = float(context.before.explained_variance[-1])
    error = (1 - explained) * context.variance
    if not math.isfinite(explained) or explained >= UNEXPLAINED * context.level or error > SMALL * power:
        return None
    return EXPLANATION.finding(
        message=f"a squared error of {error:.2g} looks small, but always answering the mean has "
        f"{context.variance:.2g}: explained variance {explained:.2g}, {count(context.level)} is learned",
        evidence={"squared error": error, "variance of the targets": context.variance, "explained variance": explained},
        cost=1.0,
        fix="judge by explained variance, and cure the cause",
        causes=causes,
    )
