"""Epsilon swamps the gradients, and Adam is a slow SGD.

Adam divides by the size of a weight's gradient plus epsilon. Where gradients are smaller than epsilon, as for data of
small size, the step is η/ε times the gradient: plain SGD with a rate that nobody chose.

Formula: root mean square gradient of a weight while nothing is explained, (2/q) √(Var(y) E[a²]), against ε; theory
    (71)-(75). Raised where a smaller epsilon, or larger inputs, are predicted to be a gain.
Source: Kingma and Ba 2014; Keras adds ε before the correction for the start
Example: idjax diagnose tiny.npy --optimizer adam
Fix: --normalize feature, or a smaller --epsilon.
Apart: adam-bounce has gradients far above epsilon.
"""

import math

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import fix, with_normalizers
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """The gradients are under epsilon, of what is left to learn."""
    if context.learned or "epsilon" not in context.settings.numbers or not context.adaptive:
        return None
    train, shares = context.problem.train, context.problem.output_shares
    epsilon = context.settings.numbers["epsilon"]
    # A weight's gradient over rows while all of the targets' variance is unexplained.
    power = train.weight * (np.diagonal(train.covariance_xx) + train.mean_x**2)
    variance = np.mean(np.diagonal(train.covariance_yy))
    gradient = float(2 * shares.max() * math.sqrt(variance) * math.sqrt(float(power.max(initial=0.0))))
    if gradient >= epsilon:
        return None
    cure = fix(context, ({"epsilon": float(f"{gradient / 100:.1g}")}, *with_normalizers(context, "feature")))
    if cure is None:
        return None
    return EXPLANATION.finding(
        message=f"epsilon, {epsilon:.2g}, is {count(epsilon / max(gradient, 1e-300))} times the gradients, "
        f"{gradient:.2g}: {context.settings.optimizer} moves a weight by {gradient / epsilon:.2g} of the rate a step",
        evidence={"epsilon": epsilon, "gradient of a weight": gradient},
        cost=epsilon / max(gradient, 1e-300),
        fix=cure,
    )
