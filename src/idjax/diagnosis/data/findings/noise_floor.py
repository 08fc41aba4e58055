"""The batches' noise keeps the error above the target.

Label noise kicks the weights at every update. They settle where kicks and learning balance, at an error that goes
with the learning rate over the batch size: with a constant rate no number of epochs gets below it.

Formula: S = (1 - L)⁻¹ (σ²/B) noise; to first order the excess error is η σ² tr(M)/(2 B q) times 2; theory (54).
Source: Robbins and Monro 1951; Bottou, Curtis and Nocedal 2018, section 4.2
Example: idjax diagnose noisy.csv --target y --batch-size 1 --learning-rate 0.1
Fix: A smaller --learning-rate, a larger --batch-size, or --schedule cosine, which ends at a rate of 0.
Apart: With the full batch at the same rate the target is reached, and the rate is far from its stable limit.
"""

import math
from collections.abc import Iterator

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import fix
from idjax.diagnosis.explanation import Explanation, slowing
from idjax.prediction.learning_rates import two_digits
from idjax.results.diagnosis import Finding

FLAT = 1.2
"""Fall of the error over the second half of the run under which it counts as settled."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Never reaches the target with these batches, and would with all rows at once."""
    if context.learned or context.steps_per_epoch == 1 or slowing(found):
        return None
    settings = context.settings
    floor = 1 - float(context.before.explained_variance[-1])
    if not math.isfinite(floor):  # an end that is not known is no floor
        return None
    if context.adaptive:
        error = 1 - context.before.explained_variance
        if not np.isfinite(error).all() or error[len(error) // 2] > FLAT * error[-1]:
            return None
    elif math.isfinite(context.epochs()) or context.before.stall or math.isinf(context.epochs(batch_size=context.rows)):
        return None
    cure = fix(context, _calmer(context))
    if context.adaptive and (cure is None or cure.epochs > context.budget):
        return None
    return EXPLANATION.finding(
        message=f"the noise of batches of {settings.batch_size} keeps the error at {floor:.3g} of the variance, where "
        f"{1 - context.level:.3g} may be left: "
        + ("at this constant rate no number of epochs is enough" if context.never else "it has settled there"),
        evidence={
            "error it settles at, share of the variance": floor,
            "target": 1 - context.level,
            "batch size": settings.batch_size,
            "learning rate": settings.step_size,
        },
        cost=math.inf,
        fix=cure,
    )


def _calmer(context: Context) -> Iterator[dict[str, object]]:
    """Smaller rates, then larger batches."""
    settings = context.settings
    for share in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01):
        yield {"learning_rate": two_digits(share * settings.step_size)}
    for times in (4, 16, 64, 256):
        yield {"batch_size": min(times * settings.batch_size, context.rows)}
