"""The activity penalty keeps the outputs small.

The penalty pays for every output that is not 0, and the identity's outputs are as large as the data: what the training
loss settles at is a compromise, and no rate or number of epochs brings the outputs nearer to the targets.

Formula: with L2 the best weights are those of least squares over 1 + α q, whose explained variance is below the level;
    theory (39). With L1, and where that is not known, the same run without the penalty learns in time.
Source: Tikhonov 1963; Tibshirani 1996
Example: idjax diagnose unit-uniform --activity-l2 1 --learning-rate 0.1
Fix: Leave the penalty out, or make it small beside 1/q.
Apart: step-too-small learns with the penalty in place; other causes are looked for without it.
"""

import dataclasses
import math

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import changed, fix, tuned
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import listed, percent
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
FREE: dict[str, object] = {"activity_l1": 0.0, "activity_l2": 0.0}


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Not learned, and without the penalty in time; or the best that the penalty leaves is below the level."""
    settings = context.settings
    strengths = {name: strength for name in FREE if (strength := getattr(settings, name))}
    if context.learned or not strengths:
        return None
    best = _best(context)
    if not best < context.level and not context.epochs(**FREE) <= context.budget:
        return None
    told = listed([f"{name[-2:].upper()} of {strength:g}" for name, strength in strengths.items()])
    most = (
        "" if math.isnan(best) else f": the best weights under it explain {percent(max(best, 0.0), 3)} of the targets"
    )
    return EXPLANATION.finding(
        message=f"the activity penalty, {told}, keeps the outputs from the targets{most}",
        evidence={**strengths, **({} if math.isnan(best) else {"explained variance of the best weights": best})},
        cost=math.inf,
        fix=fix(context, (FREE, changed(context, tuned(context).settings))) or "leave the penalty out",
    )


def without(context: Context) -> Context:
    """The context of these data without the penalty."""
    return dataclasses.replace(context, settings=context.changed(FREE))


def _best(context: Context) -> float:
    """The explained variance of the weights that minimise the loss with its penalty; NaN with L1, of no closed form."""
    if context.settings.activity_l1:
        return math.nan
    problem = context.problem
    return 1 - float(problem.on_judged.residual @ problem.judged_shares + problem.lost) / problem.variance
