"""The targets are the same in every row.

There is nothing to learn from the inputs: a bias that gives the one answer is the best there is, and a loss that falls
to 0 says nothing.

Formula: the variance of the targets over the rows is 0.
Source: the definition of explained variance
Example: a batch of one class, or a column of targets that was never filled
Fix: Look at how the targets are made; shuffle the rows if they come in classes.
Apart: broadcast-loss and no-gradient end at a constant answer too, with targets that vary.
"""

import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.outputs import is_logarithm
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
FEWEST = 8


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """Targets that are arguments, of at least 8 rows."""
    for comparison in context.end.comparisons:
        if comparison.kind == "product" and not is_logarithm(context.graph, comparison.output):
            continue
        leaves = context.argument_leaves(comparison.target)
        if context.traced.rows < FEWEST or not leaves:
            return []
        arrays = [np.asarray(context.given.args[leaf]) for leaf in leaves]
        if all((array == array[:1]).all() for array in arrays):
            names = ", ".join(context.given.arg_names[leaf] for leaf in leaves)
            return [
                EXPLANATION.program_finding(
                    message=f"{names}: the targets are the same in every row",
                    evidence={"rows": context.traced.rows},
                    fix=f"look at how {names} is made; shuffle the rows if they come in classes",
                    where=comparison.node.where,
                )
            ]
    return []
