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

import math

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.findings.mean_dominated import cure, dominance
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding

DOMINANT = 10.0

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Not learned by an adaptive optimizer, and the mean's curvature dominates."""
    if context.learned or not context.adaptive or context.before is None:
        return None
    ratio = dominance(context)
    if ratio < DOMINANT:
        return None
    beta = context.settings.numbers.get("beta_1", 0.0)
    train = context.problem.train
    size = float(np.sum(np.abs(train.mean_x)) + 1)
    stall = (context.settings.step_size * size * (1 - beta) / (2 * (1 + beta))) ** 2
    variance = float(np.mean(np.diagonal(train.covariance_yy)))
    slowest = float(np.linalg.eigvalsh(train.covariance_xx)[0])
    rate = 2 * (1 + beta) * slowest / ((1 - beta) * size)
    steps = math.log(1 / max(1 - context.level, 1e-12)) / (2 * rate) if rate > 0 else math.inf
    return EXPLANATION.finding(
        message=f"the mean of the inputs ({count(ratio)} times the largest variance) makes "
        f"{context.settings.optimizer} bounce: the loss stalls near {stall:.2g}, {count(stall / variance)} "
        f"times the variance of the targets, and what varies needs about {count(steps)} steps at any learning rate",
        evidence={
            "mean squared over largest variance": ratio,
            "predicted stall of the loss": stall,
            "variance of the targets": variance,
            "steps for the slowest direction": steps,
            "beta_1": beta,
        },
        cost=context.epochs() / context.budget,
        fix=f"--normalize {cure(context)}, which is undone at the output",
    )
