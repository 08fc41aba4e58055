"""Features differ so much in size that no learning rate suits all.

Each feature's variance is a curvature. The largest limits the learning rate; features of small variance then learn
slower by the ratio of the variances. The bias is a feature of size 1.

Formula: epochs with each feature standardised against epochs with features centred, each at its own rate and batch;
    evidence is the largest and smallest standard deviation; theory section 3.
Source: LeCun, Bottou, Orr and Müller 1998, section 4.3
Example: idjax diagnose measurements.csv --target price --learning-rate 0.01
Fix: --normalize feature: divide every feature by its standard deviation inside the model.
Apart: mean-dominated goes away by centring, collinear stays after scaling. Adam divides each weight's gradient by its
    size, and is not slowed by scales.
"""

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import UNEQUAL, before_and_after, fix, times_slower, with_normalizers
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import count, times_words
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Scales differ, centring is not enough, and standardising each feature cures most of it."""
    if context.learned or context.adaptive:
        return None
    deviation = np.sqrt(np.diagonal(context.moments.raw.covariance_xx))
    names = [*context.columns.feature_names, "the bias"]
    # The bias is the weight of an input of 1, and that input has a scale too. Under a large mean it is the mean's.
    bias = 0.0 if any(finding.code == "mean-dominated" for finding in found) else 1.0
    scale = np.append(deviation, bias if 0 < UNEQUAL * deviation.max() < bias else 0.0)
    largest, smallest = int(scale.argmax()), int(np.where(scale > 0, scale, np.inf).argmin())
    if not scale[largest] >= UNEQUAL * scale[smallest] > 0:
        return None
    epochs = before_and_after(context, "feature")
    if epochs is None:
        return None
    slow, fast = epochs
    return EXPLANATION.finding(
        message=f"{names[largest]} has {count(float(scale[largest] / scale[smallest]))} times the scale of "
        f"{names[smallest]}: at its best rate and batch {times_words(slow)}, each feature standardised "
        f"{times_words(fast)}",
        evidence={
            "largest deviation": float(scale[largest]),
            "smallest deviation": float(scale[smallest]),
            "largest in": names[largest],
            "smallest in": names[smallest],
            "epochs as they are or centred": slow,
            "epochs, each standardised": fast,
        },
        cost=times_slower(context, slow, fast),
        fix=fix(context, with_normalizers(context, "feature", "pca")),
    )
