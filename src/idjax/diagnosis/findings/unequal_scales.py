"""unequal-scales: features of very different size."""

import numpy as np

from idjax.diagnosis.case import Case
from idjax.diagnosis.conditioning import before_and_after
from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.wording import count
from idjax.outcomes import Finding

UNEQUAL = 3.0
"""Largest over smallest standard deviation from which scales count as unequal."""

EXPLANATION = Explanation(
    code="unequal-scales",
    kind="cause",
    title="Features differ so much in size that no learning rate suits all",
    means="Each feature's variance is a curvature. The largest limits the learning rate; features of small variance "
    "then learn slower by the ratio of the variances.",
    formula="epochs with each feature standardised against epochs with features centred, each at a well-chosen rate; "
    "evidence is the largest and smallest standard deviation; theory section 3.",
    source="LeCun, Bottou, Orr and Müller 1998, section 4.3",
    example="idjax diagnose measurements.csv --target price --learning-rate 0.01",
    fix="--normalize feature: divide every feature by its standard deviation inside the model.",
    apart="mean-dominated goes away by centring, collinear stays after scaling. Adam divides each weight's gradient by "
    "its size, and is not slowed by scales.",
)


def find(case: Case, found: tuple[Finding, ...]) -> Finding | None:
    """Scales differ, centring is not enough, and standardising each feature cures most of it."""
    if case.learned or case.adaptive or case.before is None:
        return None
    deviation = np.sqrt(np.diagonal(case.moments.raw.covariance_xx))
    varying = deviation[deviation > 0]
    if not len(varying) or varying.max() < UNEQUAL * varying.min():
        return None
    epochs = before_and_after(case, "feature")
    if epochs is None:
        return None
    slow, fast = epochs
    names = case.columns.feature_names
    largest, smallest = (
        int(index) for index in (deviation.argmax(), np.where(deviation > 0, deviation, np.inf).argmin())
    )
    return Finding(
        code="unequal-scales",
        kind="cause",
        message=f"feature {names[largest]} varies {count(deviation[largest] / deviation[smallest])} times as much as "
        f"{names[smallest]}: centred, {count(slow)} epochs at a well-chosen rate; each standardised, {count(fast)}",
        evidence={
            "largest deviation": float(deviation[largest]),
            "smallest deviation": float(deviation[smallest]),
            "largest in": names[largest],
            "smallest in": names[smallest],
            "epochs, centred": slow,
            "epochs, each standardised": fast,
        },
        cost=slow / fast,
        fix="--normalize feature, which is undone at the output",
    )
