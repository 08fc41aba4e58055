"""The narrowest hidden layer lets too little through.

Linear layers together are a matrix of no higher rank than their narrowest one. The best of this rank keeps the largest
principal parts of what the best layer answers, whatever the optimizer, and the rest stays unexplained.

Formula: the sum of the r largest eigenvalues of Σ_yx Σ_xx⁺ Σ_xy over the trace of Σ_yy; deep.md.
Source: Baldi and Hornik 1989, "Neural networks and principal component analysis"
Example: idjax diagnose digits.npy --hidden 2
Fix: A wider layer, or a smaller share that counts as learned.
Apart: For layers with activations this is no bound but a note.
"""

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.explanation import Explanation
from idjax.moments.moments import Moments
from idjax.report.formatting import percent
from idjax.results.diagnosis import Finding

NARROW = 0.99
"""Share of what the best layer explains from which it is not the width that limits."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, _found: tuple[Finding, ...]) -> Finding | None:
    """Linear layers that cannot reach the level for their width; a note of what width alone costs for other layers."""
    settings, raw = context.settings, context.moments.raw
    if not settings.hidden or settings.loss != "mse":
        return None
    narrow = min(settings.hidden)
    most = explained_by_rank(raw, narrow)
    if most >= context.level or most > NARROW * explained_by_rank(raw, raw.outputs):
        return None
    layer = settings.hidden.index(narrow) + 1
    bound = f"let at most {percent(most, 3)} of the variance through"
    if not settings.linear:
        bound = f"would {bound} between linear layers; activations may let more"
    return EXPLANATION.finding(
        kind="cause" if settings.linear else "note",
        message=f"{narrow} units of hidden layer {layer} {bound}",
        evidence={"units": narrow, "explained variance at most": most, "level": context.level},
        cost=float("inf") if settings.linear else 1.0,
        fix=None,
    )


def explained_by_rank(moments: Moments, rank: int) -> float:
    """The explained variance of the best affine map whose matrix has this rank.

    Example:
      >>> x = np.diag([3.0, 2.0, 1.0]), np.zeros(3)
      >>> round(explained_by_rank(Moments.of_pair(9, 1.0, (x[1], x[0]), None), 2), 4)
      0.8333
    """
    cross = moments.covariance_xy
    answered = cross.T @ np.linalg.pinv(moments.covariance_xx, hermitian=True) @ cross
    kept = np.linalg.eigvalsh(answered)[::-1][:rank]
    total = float(np.trace(moments.covariance_yy))
    return float(np.sum(np.maximum(kept, 0)) / total) if total > 0 else 0.0
