"""The targets are of another size than the outputs that a start gives.

Outputs begin at a size of about 1. Towards targets of a million they have a long way to go: gradients are a million
times larger than initialisers and optimizers are made for, and steps of Adam, which do not grow with them, take as
many more.

Formula: root mean square of the targets at least 50 times that of the outputs at the start, and 50; or a 1,000th. Not
    where the program learns well as given: where after 300 steps on a block, at the rate given or the smaller one of
    step-too-large, the loss is a quarter of that with the targets of other rows, or less.
Source: LeCun, Bottou, Orr and Müller 1998, section 4.5
Example: jnp.mean((outputs - y) ** 2) with y to a million
Fix: Subtract the mean of the targets and divide by their deviation; undo both when predicting.
Apart: unreachable-output is about targets that the last activation cannot give.
"""

import math

import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.outputs import activation
from idjax.report.formatting import count
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
LARGE, SMALL = 50.0, 1e-3


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """The first difference of outputs and targets that are far apart in size."""
    for comparison in context.end.comparisons:
        bounded = activation(context.graph, comparison.output)
        if comparison.kind != "difference" or (bounded is not None and np.isfinite(bounded[2])):
            continue
        given, wanted = context.size_of(comparison)
        large = wanted >= LARGE * max(1.0, given)
        if not large and not (0 < wanted <= SMALL * given and given < LARGE):
            continue
        targets = context.compared(comparison)[1]
        mean, deviation = float(targets.mean()), float(targets.std())
        times = max(wanted / given, given / wanted) if given > 0 else math.inf
        said = f"{count(times)} times {'larger' if large else 'smaller'} than the outputs at the start"
        shift = f"subtract {mean:.3g} from the targets and divide by {deviation:.3g}"
        return [
            EXPLANATION.program_finding(
                message=f"the targets are of size {wanted:.3g}, {said if given > 0 else 'and the outputs begin at 0'}",
                evidence={"root mean square target": wanted, "root mean square output": given},
                cost=times,
                fix=shift if deviation > 0 else "",
                where=comparison.node.where,
            )
        ]
    return []
