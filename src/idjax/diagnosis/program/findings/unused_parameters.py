"""Parameters do not reach the loss.

The loss is not a function of them, so that their gradient is 0 and they never move. A layer was made and not called, or
what it gave was not used.

Formula: no path from the parameter to the loss.
Source: the graph of the program
Example: an encoder whose output is computed, and the loss taken of something else
Fix: Use what the layer gives, or delete it.
Apart: no-gradient is about parameters with a path on which the slope is 0.
"""

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.report.formatting import listed
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """All parameters that the loss does not depend on."""
    reached = context.graph.bits(context.graph.program.outs[0])
    names = tuple(name for index, name in enumerate(context.given.names) if not reached >> index & 1)
    if not names:
        return []
    return [
        EXPLANATION.program_finding(
            message=f"{listed(names)}: the loss does not depend on {'it' if len(names) == 1 else 'them'}",
            evidence={"parameters": list(names)},
            cost=1.0,
            fix="use what these layers give, or delete them",
            parameters=names,
        )
    ]
