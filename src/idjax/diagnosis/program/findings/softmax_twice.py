"""A softmax or sigmoid is applied to what one gave already.

Probabilities are between 0 and 1. The loss takes them for logits, and its own softmax makes them almost equal again:
the loss stays close to that of a guess, and gradients are small.

Formula: the argument of the loss's softmax or sigmoid is the output of another, with nothing learned between.
Source: the documentation of optax.softmax_cross_entropy: "unnormalized log probabilities"
Example: optax.softmax_cross_entropy(nn.softmax(logits), labels)
Fix: Give the loss the logits: leave the model's last softmax out.
Apart: A softmax inside the model, as of attention, has a layer behind it.
"""

import math

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.graph import LAYOUT, Node, origin
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.outputs import LOG_SIGMOIDS, exponentials, kind_of
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
THROUGH = LAYOUT | {"neg", "abs"}


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """The second of two, where nothing learned stands between."""
    program, tail = context.graph.program, context.end.feeding
    for node, before in exponentials(context.graph):
        first = origin(program, before)
        if first is not None and node.outs[0] not in tail and kind_of(context.graph, first) in ("softmax", "sigmoid"):
            return [_finding(kind_of(context.graph, first), first, node)]
    for node in program.nodes:
        first = origin(program, node.ins[0], THROUGH) if node.ins else None
        if first is None or kind_of(context.graph, first) != "sigmoid" or node.outs[0] in tail:
            continue
        soft = any(word in call for call in node.calls for word in LOG_SIGMOIDS)
        if (soft and not set(first.calls) & set(node.calls)) or _of_logits(context, node):
            return [_finding("sigmoid", first, node)]
    return []


def _of_logits(context: LossContext, node: Node) -> bool:
    """log(1 + exp(-|x|)), or another sigmoid."""
    if kind_of(context.graph, node) == "sigmoid":
        return True
    users = context.graph.program.users.get(node.outs[0], [])
    return node.primitive == "exp" and any(user.primitive == "log1p" for user in users)


def _finding(kind: str, first: Node, second: Node) -> ProgramFinding:
    there = f" ({first.where})" if first.where and first.where != second.where else ""
    return EXPLANATION.program_finding(
        message=f"the loss takes the {kind} of what is a {kind}'s output already{there}",
        evidence={"first": first.where or kind, "second": second.where or kind},
        cost=math.inf,
        fix=f"give the loss the logits: leave out the model's last {kind}, or the loss's (from_logits=False)",
        where=second.where,
    )
