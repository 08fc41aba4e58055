"""The learning rate is beyond 2 over the largest curvature at the start.

Full-batch descent then moves away along the top eigenvector; the layer that owns it is named. Training may catapult
to flatter places and go on, or diverge.

Formula: η > 2/h₁ with h₁ the largest eigenvalue of the Gauss-Newton matrix, its residual under 1%; SGD only;
    docs/models.md (M3).
Source: LeCun, Simard and Pearlmutter 1993; Lewkowycz et al. 2020
Example: idjax diagnose --model mypackage.models:factory --learning-rate 10
Fix: --learning-rate as the message says, or warm up.
Apart: A consequence where a layer's inputs or weights make the curvature large.
"""

import math

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.program.context import ProgramContext
from idjax.report.formatting import count
from idjax.results.program import LayerFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: ProgramContext, found: tuple[LayerFinding, ...]) -> list[LayerFinding]:
    """SGD beyond the largest stable rate, of an eigenvalue that is a true one."""
    curvature, rate = context.curvature, context.settings.step_size
    if curvature is None or context.adaptive or not curvature.top[0].resolved or rate < curvature.largest_rate:
        return []
    limit = curvature.largest_rate
    owner = max(context.layers, key=lambda layer: layer.top_share)
    return [
        EXPLANATION.layer_finding(
            message=f"the learning rate {rate:.3g} is {count(rate / limit)} times the largest stable one, {limit:.3g}: "
            f"{owner.path} has {owner.top_share:.0%} of the direction that is unstable",
            evidence={"learning rate": rate, "largest stable learning rate": limit, "share": owner.top_share},
            cost=math.inf,
            fix=f"--learning-rate {limit / 2:.2g}",
            layers=(owner.path,),
        )
    ]
