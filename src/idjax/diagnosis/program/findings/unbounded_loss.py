"""The loss has no minimum: it falls without end as the outputs grow.

A loss that is linear in the outputs, or one that is to be maximised with its sign forgotten, is made smaller by larger
outputs, whatever the targets are. It falls and falls, and nothing is learned.

Formula: moved against its gradient by 100 and by 1,000 times their size, outputs lower the loss in proportion or more.
Source: the definition of cross-entropy, -Σ y log softmax(z)
Example: -jnp.mean(jnp.sum(outputs * one_hot, -1)), where log_softmax is missing
Fix: log_softmax of the outputs first, the square of a difference, or the minus sign.
Apart: Losses without targets, as of critics, and ones weighted by signed rewards are meant to be so.
"""

import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.endless import EndlessFall, endless_fall
from idjax.diagnosis.trace.graph import Node
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.outputs import is_logarithm
from idjax.report.formatting import number
from idjax.results.program import FewRows, ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """Whether moving the outputs far down the slope goes on lowering the loss."""
    if not context.finite or not context.end.comparisons or _is_meant(context):
        return []
    fall = endless_fall(context, context.args)
    return [_finding(context, fall)] if fall is not None else []


def seen_in_training(tried: FewRows) -> ProgramFinding:
    """The finding where no move of the outputs tells, but a training does: of another term of the loss."""
    return EXPLANATION.program_finding(
        message=f"the loss has no minimum: trained on {tried.rows} rows it falls from {number(tried.start)} to "
        f"{number(tried.bottomless)}, and on",
        evidence={"loss at the start": tried.start, "lowest loss": tried.bottomless},
        fix="look for a term with its sign changed, such as a divergence that is subtracted",
    )


def _is_meant(context: LossContext) -> bool:
    """Whether labels or weights of both signs multiply the outputs, or targets are no probabilities."""
    for comparison in context.end.comparisons:
        if comparison.kind != "product":
            continue
        targets = context.compared(comparison)[1]
        if (targets < 0).any() or (is_logarithm(context.graph, comparison.output) and (targets > 1).any()):
            return True
    return any(_is_signed(context, node) for node in context.graph.program.nodes if node.primitive == "mul")


def _is_signed(context: LossContext, node: Node) -> bool:
    """Whether this weighs what was learned by an argument of both signs that is no input of a layer."""
    graph = context.graph
    if sum(map(graph.is_learned, node.ins)) != 1 or node.outs[0] in context.end.feeding:
        return False
    weights = [atom for atom in node.ins if graph.is_data(atom) and not graph.is_learned(atom)]
    leaves = context.argument_leaves(weights[0]) if weights else []
    compared = [leaf for comparison in context.end.comparisons for leaf in context.argument_leaves(comparison.target)]
    arrays = [np.asarray(context.given.args[leaf]) for leaf in leaves if leaf not in compared]
    return any(array.dtype.kind == "f" and (array < 0).any() and (array > 0).any() for array in arrays)


def _finding(context: LossContext, fall: EndlessFall) -> ProgramFinding:
    comparison = context.end.comparisons[0]
    why = "it is linear in the outputs" if fall.linear else "larger errors make it smaller"
    if not fall.linear:
        fix = "minimise its negative: change the sign of the loss"
    elif comparison.kind == "difference":
        fix = "square the difference of outputs and targets"
    elif context.traced.classes_of(comparison.output) > 1:
        fix = "take log_softmax of the outputs before they meet the labels"
    else:
        fix = "take a cross-entropy of outputs and labels, of one output optax.sigmoid_binary_cross_entropy"
    return EXPLANATION.program_finding(
        message=f"the loss has no minimum: {why}",
        evidence={"fall of the loss, outputs moved by 100 times their size": fall.by[0], "by 1,000 times": fall.by[1]},
        fix=fix,
        where=comparison.node.where,
    )
