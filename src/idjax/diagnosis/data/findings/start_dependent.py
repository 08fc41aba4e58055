"""Whether it is learned in time hangs on the random start.

From some random starts the layer is learned within the budget, from others not: a start may happen to be right along
the directions that are slow.

Formula: epochs to learn from sixteen random starts, of which some are within the budget and others not; theory
    section 4.
Source: LeCun, Bottou, Orr and Müller 1998, section 4.6
Example: idjax diagnose five-rows.csv --target y --learning-rate 1e-5 --epochs 200001 --batch-size 5
Fix: What makes the slow directions faster; another seed is luck.
Apart: Where other findings say what is slow it is their consequence; they are those of the slowest of these starts.
"""

import dataclasses

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.explanation import Explanation, slowing
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "consequence")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """The budget lies between the fewest and the most epochs over random starts."""
    if not context.hangs_on_start:
        return None
    starts = context.epochs_of_starts
    causes = slowing(found)
    within = int(np.count_nonzero(starts <= context.budget))
    most = f"{count(float(np.max(starts)))}" if np.isfinite(np.max(starts)) else "more than ever arrives"
    return EXPLANATION.finding(
        kind="consequence" if causes else "cause",
        message=f"it hangs on the start: {count(float(np.min(starts)))} to {most} epochs over {len(starts)} random "
        f"starts, of which {within} are within the budget",
        evidence={
            "fewest epochs": float(np.min(starts)),
            "median of the epochs": float(np.median(starts)),
            "most epochs": float(np.max(starts)),
            "starts within the budget": within,
        },
        cost=1.0,
        fix="cure the cause" if causes else None,
        causes=causes,
    )


def unlucky(context: Context) -> Context:
    """The context of the slowest of the random starts, where the given one learns in time and that does not."""
    if not context.learned or not context.hangs_on_start:
        return context
    return dataclasses.replace(context, settings=context.random_starts[int(np.argmax(context.epochs_of_starts))])
