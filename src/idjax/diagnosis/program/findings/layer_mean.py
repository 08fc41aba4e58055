"""The mean of a layer's inputs has more curvature than all that varies in them.

The layer's inputs are the same large vector plus a little that differs. The direction of that vector has a curvature
which sets the largest stable learning rate, and what differs is learned as many times more slowly.

Formula: |m|²/tr Σ ≥ 10 and λ_max(M)/λ_max(M_c) ≥ 10, M_c with the mean subtracted: by the latter the layer's largest
    stable rate falls; docs/models.md (M1), (M8).
Source: LeCun, Kanter and Solla 1991; Martens and Grosse 2015
Example: idjax diagnose --model mypackage.models:factory
Fix: Subtract the mean before the layer (and add Wᵀm to the bias), or put a LayerNorm or BatchNorm there.
Apart: layer-scale is about size around the mean. A ReLU's own mean, 0.47 times what varies, is not reported.
"""

import math

from idjax.diagnosis.cures.inputs import DOMINANT, centred, effect, layer_normed
from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.layer_facts import ProgramContext, named
from idjax.diagnosis.trace.layer_moments import ends
from idjax.report.formatting import count, listed
from idjax.results.program import LayerFacts, LayerFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: ProgramContext, found: tuple[LayerFinding, ...]) -> list[LayerFinding]:
    """Each input, shared by several layers or not, whose mean outweighs what varies and the bias's own input, 1."""
    told = [
        _finding(context, layers) for layers in context.shown_by(lambda layer: DOMINANT <= layer.mean_share < math.inf)
    ]
    return [finding for finding in told if finding.cost >= DOMINANT]


def _finding(context: ProgramContext, layers: tuple[LayerFacts, ...]) -> LayerFinding:
    first = layers[0]
    moments = context.moments[first.path]
    cured = effect("mean subtracted", context.ends(first), centred(moments), moments.noise)
    names = listed(named(layers))
    return EXPLANATION.layer_finding(
        message=f"{names}: the mean of the inputs is {count(first.mean_share)} times all that varies, and its "
        f"curvature {count(1 / cured.top)} times what it is once centred",
        evidence={
            "mean squared over variance": first.mean_share,
            "root mean square of the mean": float((moments.mean @ moments.mean / len(moments.mean)) ** 0.5),
            "root mean square deviation": float((moments.covariance.trace() / len(moments.mean)) ** 0.5),
            "condition number": first.condition_number,
            "condition number, mean subtracted": cured.condition_after,
            "condition number, LayerNorm": ends(layer_normed(moments), moments.noise).condition_number,
        },
        cost=1 / cured.top,
        fix=f"subtract the mean of the inputs before {names}, or put nn.LayerNorm (or BatchNorm) there",
        layers=named(layers),
        effect=cured,
    )
