"""Parameters have a gradient of 0 in every row, and never move.

On the way from them to the loss stands an operation that passes no gradient: a ReLU that is never above 0, a softmax
over one unit, which is 1 whatever goes in, argmax, rounding, a comparison, or stop_gradient.

Formula: all kernels whose gradient is 0 in all rows, and the last operation towards the loss with a slope that is 0.
Source: Lu et al. 2019 on dead ReLU units
Example: nn.softmax(nn.Dense(1)(x)) with labels 0 and 1
Fix: sigmoid for one unit; no activation at the output of a regression; a soft version of the operation.
Apart: A kernel that starts at 0 holds back those before it for one step: that is not reported.
"""

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.graph import Node
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.outputs import kind_of
from idjax.diagnosis.trace.probe import blocking_nodes
from idjax.report.formatting import listed
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
STEPS = frozenset(("argmax", "argmin", "round", "sign", "floor", "ceil", "gt", "lt", "ge", "le", "eq", "ne",
                   "convert_element_type", "sort", "top_k"))  # fmt: skip


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """Each operation behind which kernels have no gradient."""
    reached = context.graph.bits(context.graph.program.outs[0])
    still = [index for index in context.kernels if context.is_still(index) and reached >> index & 1]
    if not still or not context.finite:
        return []
    told = []
    for node, leaves in blocking_nodes(context.traced, context.args, still).items():
        said = _said(context, node)
        if said is not None:
            told.append(_finding(context, node, leaves, *said))
    return told[-1:]


def _said(context: LossContext, node: Node) -> tuple[str, str] | None:
    """Words for an operation that is known to pass no gradient, and the cure."""
    kind = kind_of(context.graph, node)
    within = [call for call in node.calls if "softmax" in call]
    if kind == "softmax" or within:
        one = all(context.graph.shape(atom)[-1:] == (1,) for atom in (node.ins[0], node.outs[0]))
        one = one and node.primitive != "stop_gradient"  # of the largest, whatever the number of units
        words = "a softmax over one unit is 1 whatever goes in"
        return (words, "use a sigmoid for one unit, or two units") if one else None
    if kind == "relu":
        return "the ReLU is 0 in every row", "leave the ReLU out at an output; elsewhere smaller or unshifted inputs"
    if kind in ("tanh", "sigmoid"):
        return f"the {kind} is saturated in every row", "smaller inputs or weights before it"
    if kind == "stop_gradient":
        return "stop_gradient lets none through", "take stop_gradient out, or leave these parameters out of training"
    if kind in ("clamp", "min", "max"):
        return f"{kind} cuts every row off", "keep the outputs within the bounds, or leave the bounds out"
    if kind in STEPS:
        name = "conversion to integers" if kind == "convert_element_type" else kind
        return (
            f"{name} has no slope",
            "compare with a soft version: softmax in place of argmax, sigmoid in place of steps",
        )
    return None


def _finding(context: LossContext, node: Node, leaves: list[int], words: str, fix: str) -> ProgramFinding:
    names = tuple(context.given.names[leaf] for leaf in leaves)
    return EXPLANATION.program_finding(
        message=f"{listed(context.layer_names(leaves) or names)}: no gradient, since {words}",
        evidence={"parameters": list(names)},
        fix=fix,
        where=node.where,
        parameters=names,
        layers=context.layer_names(leaves),
    )
