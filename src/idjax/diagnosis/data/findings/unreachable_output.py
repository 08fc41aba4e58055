"""The output's activation cannot produce the targets.

ReLU has no negative outputs, a sigmoid none outside 0 to 1, tanh none outside -1 to 1. Targets beyond are never
reached, and towards the ends gradients vanish.

Formula: mean squared distance of the targets from the activation's range, over their variance, against 1 - (what
    counts as learned).
Source: Glorot and Bengio 2010 on saturation
Example: idjax diagnose narrow-normal --activation sigmoid
Fix: --activation linear, or scale the targets into the range.
Apart: It does not depend on rate or budget.
"""

import math
from collections.abc import Iterator

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import changed, fix, tuned
from idjax.diagnosis.explanation import Explanation
from idjax.moments.normalize import encode, fit
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding
from idjax.types import ACTIVATION_RANGES

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """The targets' distance from the activation's range alone is more than may be left."""
    activation = context.settings.activation
    if activation not in ACTIVATION_RANGES:
        return None
    low, high = ACTIVATION_RANGES[activation]
    fitted = fit(context.settings.normalize, context.moments.raw)
    targets = np.asarray(encode(context.settings.normalize, fitted, *context.sample)[1])  # as the layer sees them
    beyond = np.maximum(low - targets, 0) + np.maximum(targets - high, 0)
    variance = float(np.mean(np.var(targets, axis=0)))
    share = float(np.mean(beyond**2)) / variance if variance > 0 else 0.0
    if share <= 1 - context.settings.learned_at:
        return None
    return EXPLANATION.finding(
        message=f"{np.mean(beyond > 0):.1%} of the targets lie outside the range of {activation}, which leaves an "
        f"error of at least {count(share)} of their variance",
        evidence={
            "activation": activation,
            "smallest target": float(targets.min()),
            "largest target": float(targets.max()),
            "least error, share of the variance": share,
        },
        cost=math.inf,
        fix=fix(context, _linear(context)) or "--activation linear, or scale the targets into its range",
    )


def _linear(context: Context) -> Iterator[dict[str, object]]:
    """A linear output: all else as given, then by plain SGD at a rate of its own."""
    yield {"activation": "linear"}
    yield changed(context, tuned(context).settings)
