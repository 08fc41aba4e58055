"""Adam moves all weights together and bounces along the mean of the inputs.

Inputs with a large mean pull all weights into an output the same way, so Adam moves them together and the output
overshoots by about η |m|_1, until the size of its gradients has grown to hold it at the edge of stability. That size
then slows every other direction, whatever the variance and whatever the learning rate.

Formula: loss stalls at (η |m|_1 (1 - β1)/(2 (1 + β1)))²; slow modes keep the rate 2 (1 + β1) λ/((1 - β1) |m|_1),
    without η; theory (81)-(85).
Source: Cohen et al. 2022 on the adaptive edge of stability
Example: idjax diagnose narrow-normal --optimizer adam --batch-size 8
Fix: --normalize center, feature or sample; a decaying --schedule lowers the stall but not the time.
Apart: mean-dominated is the same mean under SGD, adam-epsilon and noise-floor need no mean.
"""

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import ORDER, fastest_in_time, fix, with_normalizers
from idjax.diagnosis.data.findings.mean_dominated import dominance
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding

DOMINANT = 10.0

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Not learned by an adaptive optimizer at any rate, the mean's curvature dominates, and centring cures most of it.

    A stall below what may be left is no cause: it is not spoken of.
    """
    if context.learned or not context.adaptive or fastest_in_time(context) is not None:
        return None
    ratio = dominance(context)
    if ratio < DOMINANT:
        return None
    cure = fix(context, with_normalizers(context, *ORDER[1:]))
    if cure is None or cure.epochs > context.budget:
        return None
    train, settings = context.problem.train, context.settings
    beta = settings.numbers.get("beta_1", 0.0)
    size = float(np.sum(np.abs(train.mean_x)) + 1)
    stall = (settings.step_size * size * (1 - beta) / (2 * (1 + beta))) ** 2
    share = stall / float(np.mean(np.diagonal(train.covariance_yy)))
    told = f", and at this one the loss stalls near {stall:.2g}, {count(share)} times the variance of the targets"
    stalls = told if share > 1 - context.level else ""
    return EXPLANATION.finding(
        message=f"the mean of the inputs ({count(ratio)} times the largest variance) makes {settings.optimizer} "
        f"bounce: no learning rate learns the rest in time{stalls}; without the mean {count(cure.epochs)} epochs",
        evidence={
            "mean squared over largest variance": ratio,
            "predicted stall of the loss, share of the variance": share,
            "beta_1": beta,
            "epochs without the mean": cure.epochs,
        },
        cost=context.takes / context.budget,
        fix=cure,
    )
