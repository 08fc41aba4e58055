"""The mean of the inputs is so large that it alone decides the learning rate.

The inputs vary little around a large mean. The mean's direction has a curvature of its own, so large that the
learning rate it allows is far too small for the directions in which the data differ. The layer learns the mean at
once and then hardly anything.

Formula: h_mean = (2/q)(|m|² + 1), others (2/q) λ(Σ): |m|² over the largest eigenvalue of Σ, and epochs with the
    features centred against epochs without; theory sections 1 and 2.
Source: LeCun, Kanter and Solla 1991
Example: idjax diagnose narrow-normal --batch-size 8 --learning-rate 0.1
Fix: --normalize center, or feature or sample: subtract the mean inside the model and add it back at the output.
Apart: unequal-scales and collinear are what is left after centring. Under Adam the same mean is adam-bounce.
"""

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import ORDER, before_and_after, epochs_with, times_slower
from idjax.diagnosis.explanation import Explanation
from idjax.moments.spectrum import largest_eigenvalue
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding

DOMINANT = 3.0
"""|m|² over the largest variance from which the mean has the largest eigenvalue, well apart from the others."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """The mean's curvature dominates, learning is too slow at the best rate, and centring alone cures most of it."""
    if context.learned or context.adaptive or context.before is None:
        return None
    ratio = dominance(context)
    if ratio < DOMINANT:
        return None
    epochs = before_and_after(context, "center")
    if epochs is None:
        return None
    slow, fast = epochs
    return EXPLANATION.finding(
        message=f"the mean of the inputs has {count(ratio)} times the curvature of anything that varies: even at a "
        f"well-chosen rate {count(slow)} epochs, centred {count(fast)}",
        evidence={
            "mean squared over largest variance": ratio,
            "condition number": context.problem.condition_number,
            "epochs at a well-chosen rate": slow,
            "epochs at a well-chosen rate, centred": fast,
        },
        cost=times_slower(context, slow, fast),
        fix=f"--normalize {cure(context)}, which is undone at the output",
    )


def cure(context: Context) -> str:
    """The simplest normaliser that takes the mean out and learns in time, or what takes it out."""
    for normalize in ORDER[1:]:
        if epochs_with(context, normalize) <= context.budget:
            return normalize
    return "center, feature or sample"


def dominance(context: Context) -> float:
    """|m|² over the largest eigenvalue of the covariance, of the inputs as the layer sees them."""
    train = context.problem.train
    return float(train.mean_x @ train.mean_x / largest_eigenvalue(train.covariance_xx))
