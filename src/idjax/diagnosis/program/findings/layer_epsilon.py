"""Epsilon is larger than a layer's gradients, which then moves slower than the others.

Adam and its relatives divide by the size of a weight's gradient plus epsilon, so that all layers move alike. A layer
whose gradients are below epsilon does not: it takes steps of η g/ε.

Formula: root mean square gradient of the kernel over all rows < ε; docs/models.md (M11).
Source: Kingma and Ba 2014
Example: idjax diagnose --model mypackage.models:factory --optimizer adam --epsilon 1e-3
Fix: A smaller epsilon, or what makes the gradients small.
Apart: layer-float-stall is about updates against the spacing of the weights.
"""

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.layer_facts import ProgramContext
from idjax.report.formatting import count
from idjax.results.program import LayerFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: ProgramContext, found: tuple[LayerFinding, ...]) -> list[LayerFinding]:
    """Layers with gradients under epsilon, if the optimizer has one."""
    epsilon = context.settings.numbers.get("epsilon")
    if epsilon is None:
        return []
    small = [layer for layer in context.layers if 0 < layer.gradient < epsilon]
    return [
        EXPLANATION.layer_finding(
            message=f"{layer.path}: epsilon, {epsilon:.2g}, is {count(epsilon / layer.gradient)} times the gradient, "
            f"{layer.gradient:.2g}: its weights move by {layer.gradient / epsilon:.2g} of the learning rate a step",
            evidence={"epsilon": epsilon, "root mean square gradient": layer.gradient},
            cost=epsilon / layer.gradient,
            fix=f"an epsilon (eps) of {layer.gradient / 100:.1g}",
            layers=(layer.path,),
        )
        for layer in small
    ]
