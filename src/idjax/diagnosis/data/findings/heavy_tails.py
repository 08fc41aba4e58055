"""Rare large rows make minibatches unstable at a rate that is fine for normal data.

A batch's curvature is that of its largest row. Where a few rows are many deviations out, the learning rate that is
stable on average over batches is lower than mean and covariance say.

Formula: largest ρ with (1 - 1/B) M² + E[|a|² a aᵀ]/B ≤ ρ M against that of Gaussian rows; theory (131). Evidence
    names the columns of largest kurtosis (3 for normal data).
Source: Defossez and Bach 2015 for E[|a|² a aᵀ]
Example: idjax diagnose returns.csv --target next --batch-size 4 --learning-rate 0.5
Fix: A smaller --learning-rate, a larger --batch-size, or clip or transform the columns named.
Apart: step-too-large is raised where Gaussian rows would diverge too.
"""

import math

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import fix
from idjax.diagnosis.explanation import Explanation
from idjax.prediction.learning_rates import two_digits
from idjax.report.formatting import count, listed
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Stable for Gaussian rows at this rate and batch, and not for these."""
    if not context.tails_diverge:
        return None
    limit = context.max_rate(context.settings)
    kurtosis = np.nan_to_num(context.columns.inputs.kurtosis)
    worst = [context.columns.feature_names[index] for index in np.argsort(-kurtosis)[:4]]
    return EXPLANATION.finding(
        message=f"rare large rows (kurtosis up to {count(float(kurtosis.max()))}, in {listed(worst, 2)}) make batches "
        f"of {context.settings.batch_size} unstable above a rate of {limit:.2g}, and it is "
        f"{context.settings.step_size:.3g}",
        evidence={
            "largest kurtosis": float(kurtosis.max()),
            "columns": worst,
            "stable learning rate": limit,
            "stable for normal rows": context.gaussian_rate(context.settings),
        },
        cost=math.inf,
        fix=fix(context, ({"learning_rate": two_digits(limit / share)} for share in (5, 20))),
    )
