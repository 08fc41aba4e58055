"""A softmax or sigmoid is applied to what one gave already.

Probabilities are between 0 and 1. The loss takes them for logits, and its own softmax makes them almost equal again:
the loss stays close to that of a guess, and gradients are small.

Formula: the argument of the loss's softmax or sigmoid is the output of another, with nothing learned between.
Source: the documentation of optax.softmax_cross_entropy: "unnormalized log probabilities"
Example: optax.softmax_cross_entropy(nn.softmax(logits), labels)
Fix: Give the loss the logits: leave the model's last softmax out, as `found.cure` does.
Apart: A softmax inside the model, as of attention, has a layer behind it.
"""

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.graph import Node
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.outputs import second_softmax
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """The second of two, where nothing learned stands between."""
    twice = second_softmax(context.graph, context.end)
    return [] if twice is None else [_finding(*twice)]


def _finding(kind: str, first: Node, second: Node) -> ProgramFinding:
    there = f" ({first.where})" if first.where and first.where != second.where else ""
    return EXPLANATION.program_finding(
        message=f"the loss takes the {kind} of what is a {kind}'s output already{there}",
        evidence={"first": first.where or kind, "second": second.where or kind},
        fix=f"give the loss the logits: leave out the model's last {kind}, or the loss's (from_logits=False)",
        where=second.where,
    )
