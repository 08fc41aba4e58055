"""Updates are smaller than the spacing of the weights, and are rounded away.

Numbers near w are u(w) apart; an update below u/2 leaves the weight as it was. With noisy batches part of the mean
update gets through, in a full batch nothing does. Gradients of float16 weights are float16 too: below 3e-8 they are 0,
above 65,504 infinite.

Formula: |η g| < u(w)/2; with batches the share p(ζ/u) passes; theory (121)-(125); of float16 gradients (126).
Source: Goldberg 1991; Gupta et al. 2015; Micikevicius et al. 2018
Example: idjax diagnose unit-uniform --dtype bfloat16 --learning-rate 0.001
Fix: --loss-scale where float16 gradients vanish or overflow, --rounding stochastic or master (a float32 copy of the
    weights), --dtype float32 or float64.
Apart: A cause where the same run in float64 learns in time; else the consequence of what makes the steps small.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import FULL, fix
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import count, times_words
from idjax.results.diagnosis import Finding

if TYPE_CHECKING:
    from idjax.diagnosis.data.gradients import StoredGradients

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Rounding of the weights, or of their gradients, stops training, or makes it miss the budget."""
    settings = context.settings
    if context.learned or settings.dtype == "float64":
        return None
    now, exact = context.epochs(), context.epochs(**{**FULL, "dtype": "float64"})
    stall = context.before.stall
    in_time = exact <= context.budget < now
    gradients = None
    if settings.dtype == "float16":
        from idjax.diagnosis.data.gradients import gradients_of  # JAX's, which few diagnoses need

        gradients = gradients_of(context)
    stalls = stall or (gradients and gradients.suffer)
    if not in_time and not (stalls and math.isinf(now) and math.isfinite(exact)):
        return None
    causes = tuple(finding.code for finding in found if finding.kind == "cause")
    at = f" from step {count(stall.steps)} on, at a loss of {stall.loss:.3g}" if stall else ""
    cure = fix(context, _exacter(settings.dtype, gradients))
    # What is told is what the cure takes away; without one, what is seen.
    of_gradients = "loss_scale" in (cure.changes or {}) if cure else gradients and gradients.suffer
    what = gradients.in_words if gradients and of_gradients else f"updates are rounded away in {settings.dtype}"
    return EXPLANATION.finding(
        kind="cause" if in_time or not causes else "consequence",
        message=f"{what}{at}: {times_words(exact)} in float64",
        evidence={
            "epochs in float64": exact,
            "epochs": now,
            **({"stalls at step": stall.steps, "stalls at loss": stall.loss} if stall else {}),
            **(gradients.evidence if gradients else {}),
        },
        cost=math.inf if math.isinf(now) else now / exact,
        fix=cure,
        causes=() if in_time else causes,
    )


def _exacter(dtype: str, gradients: "StoredGradients | None") -> Iterator[dict[str, Any]]:
    """Changes that keep more of an update, what costs least first: scales where the gradients at the start ask for one,
    and else last, for gradients that vanish later.
    """
    if dtype == "float32":
        yield {**FULL, "dtype": "float64"}
        return
    scales = [{"loss_scale": scale} for scale in (gradients.scales if gradients else ())]
    if gradients and gradients.suffer:
        yield from scales
    yield {"rounding": "master"}
    yield {"rounding": "stochastic"}
    yield from (scale | {"rounding": "master"} for scale in scales)
    yield FULL
