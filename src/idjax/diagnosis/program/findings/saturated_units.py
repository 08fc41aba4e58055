"""A tanh or sigmoid is driven to its ends, where its slope is almost 0.

Numbers far from 0 go into it. Gradients that pass are multiplied by the slope, and those of all layers before are as
many times smaller.

Formula: the mean slope over the steepest one below 0.15.
Source: Glorot and Bengio 2010; LeCun, Bottou, Orr and Müller 1998, section 4.4
Example: nn.sigmoid(nn.Dense(64)(x)) with x of 0 to 255
Fix: Smaller weights at the start, or inputs of size 1; a ReLU has no ends.
Apart: A consequence where the layer's inputs or weights are found too large.
"""

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.report.formatting import count, listed
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """Each tanh or sigmoid that is saturated."""
    return [
        EXPLANATION.program_finding(
            message=f"{listed(unit.layers)}: the {unit.kind} behind it is saturated, its slope "
            f"{count(1 / slope) if slope > 0 else 'infinitely many'} times smaller than at 0",
            evidence={"mean slope over the steepest": slope},
            cost=1 / slope if slope > 0 else float("inf"),
            fix=f"smaller weights in {listed(unit.layers)}, or inputs of size 1",
            where=unit.node.where,
            layers=unit.layers,
        )
        for unit, slope in context.flat.items()
    ]
