"""Updates are smaller than the spacing of the weights, and are rounded away.

Numbers near w are u(w) apart; an update below u/2 leaves the weight as it was. With noisy batches part of the mean
update gets through, in a full batch nothing does.

Formula: |η g| < u(w)/2; with batches the share p(ζ/u) passes; theory (121)-(125).
Source: Goldberg 1991; Gupta et al. 2015
Example: idjax diagnose unit-uniform --dtype bfloat16 --learning-rate 0.001
Fix: --dtype float32 or float64, --rounding stochastic, or --rounding master (a float32 copy of the weights).
Apart: A cause where the same run in float64 learns in time; else the consequence of what makes the steps small.
"""

import math

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import fix
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import count, times_words
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Rounding of the weights stops training, or makes it miss the budget."""
    settings = context.settings
    if context.learned or settings.dtype == "float64":
        return None
    now, exact = context.epochs(), context.epochs(dtype="float64", rounding="nearest")
    stall = context.before.stall
    in_time = exact <= context.budget < now
    if not in_time and not (stall and math.isinf(now) and math.isfinite(exact)):
        return None
    causes = tuple(finding.code for finding in found if finding.kind == "cause")
    at = f" from step {count(stall.steps)} on, at a loss of {stall.loss:.3g}" if stall else ""
    return EXPLANATION.finding(
        kind="cause" if in_time or not causes else "consequence",
        message=f"updates are rounded away in {settings.dtype}{at}: {times_words(exact)} in float64",
        evidence={
            "epochs in float64": exact,
            "epochs": now,
            **({"stalls at step": stall.steps, "stalls at loss": stall.loss} if stall else {}),
        },
        cost=math.inf if math.isinf(now) else now / exact,
        fix=fix(context, _exacter(settings.dtype)),
        causes=() if in_time else causes,
    )


def _exacter(dtype: str) -> list[dict[str, object]]:
    """Changes that keep more of an update, what costs least first."""
    if dtype == "bfloat16":
        return [{"rounding": "master"}, {"rounding": "stochastic"}, {"dtype": "float32", "rounding": "nearest"}]
    return [{"dtype": "float64", "rounding": "nearest"}]
