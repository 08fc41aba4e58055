"""The mean of the inputs is so large that it alone decides the learning rate.

The inputs vary little around a large mean. The mean's direction has a curvature of its own, so large that the
learning rate it allows is far too small for the directions in which the data differ. The layer learns the mean at
once and then hardly anything.

Formula: epochs with the features centred against epochs without, each at its own best rate and batch, or standardised
    where they vary by less than a third of the bias's input, 1, and |m|² is 10 times the variance; evidence is |m|²
    over the largest eigenvalue of Σ: h_mean = (2/q)(|m|² + 1), others (2/q) λ(Σ); theory sections 1 and 2.
Source: LeCun, Kanter and Solla 1991
Example: idjax diagnose narrow-normal --batch-size 8 --learning-rate 0.1
Fix: --normalize center, or feature or sample: subtract the mean inside the model and add it back at the output.
Apart: unequal-scales and collinear are what is left after centring. Under Adam the same mean is adam-bounce.
"""

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import (
    MUCH,
    ORDER,
    UNEQUAL,
    before_and_after,
    fix,
    times_slower,
    with_normalizers,
)
from idjax.diagnosis.explanation import Explanation
from idjax.moments.spectrum import largest_eigenvalue
from idjax.report.formatting import count, times_words
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """The mean's curvature dominates, learning is too slow at the best rate, and centring cures most of it.

    By itself; of inputs that vary far less than 1, the input of the bias, together with scaling, which alone would not.
    """
    if context.learned or context.adaptive:
        return None
    ratio, epochs, cured = dominance(context), before_and_after(context, "center"), "centred"
    widest = float(np.sqrt(np.diagonal(context.problem.train.covariance_xx)).max())
    if epochs is None and ratio > MUCH and 0 < UNEQUAL * widest < 1:
        epochs, cured = before_and_after(context, "feature"), "standardised"
    if epochs is None:
        return None
    slow, fast = epochs
    return EXPLANATION.finding(
        message=f"the mean of the inputs has {count(ratio)} times the curvature of anything that varies: at its best "
        f"rate and batch {times_words(slow)}, {cured} {times_words(fast)}",
        evidence={
            "mean squared over largest variance": ratio,
            "condition number": context.problem.condition_number,
            "epochs at the best rate and batch": slow,
            f"epochs at the best rate and batch, {cured}": fast,
        },
        cost=times_slower(context, slow, fast),
        fix=fix(context, with_normalizers(context, *ORDER[1:])),
    )


def dominance(context: Context) -> float:
    """|m|² over the largest eigenvalue of the covariance, of the inputs as the layer sees them."""
    train = context.problem.train
    return float(train.mean_x @ train.mean_x / largest_eigenvalue(train.covariance_xx))
