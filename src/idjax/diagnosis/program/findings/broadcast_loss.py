"""Every output is compared with every target, not with its own.

Outputs of shape (N, 1) minus targets of shape (N,) are broadcast to (N, N). The best that can be learned is the mean of
the targets for every row.

Formula: an elementwise operation of outputs and targets whose result has the rows twice; permuting the targets leaves
    the loss as it is.
Source: NumPy's rules of broadcasting
Example: jnp.mean((nn.Dense(1)(x) - y) ** 2) with y of shape (N,)
Fix: Give both one shape: outputs[:, 0], or y[:, None]; `found.cure` compares each output with its own target.
Apart: Losses between rows, as contrastive ones, compare outputs with outputs.
"""

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.graph import Atom
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.outputs import Comparison
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """The first comparison that is broadcast over the rows."""
    comparison = context.between_all_rows
    return [] if comparison is None else [_finding(context, comparison)]


def _finding(context: LossContext, comparison: Comparison) -> ProgramFinding:
    shapes = [context.told_shape(_before(context, atom)) for atom in (comparison.output, comparison.target)]
    result = context.told_shape(comparison.node.outs[0])
    return EXPLANATION.program_finding(
        message=f"outputs of shape {shapes[0]} against targets of shape {shapes[1]} are broadcast to {result}: "
        "each output is compared with every target, and the best answer is their mean",
        evidence={"outputs": shapes[0], "targets": shapes[1], "compared": result},
        fix="give both one shape, such as outputs.squeeze(-1) or targets[:, None]",
        where=comparison.node.where,
    )


def _before(context: LossContext, atom: Atom) -> Atom:
    """The value before it was given further axes."""
    node = context.graph.program.makers.get(atom) if isinstance(atom, int) else None
    while node is not None and node.primitive in ("broadcast_in_dim", "reshape", "convert_element_type"):
        atom = node.ins[0]
        node = context.graph.program.makers.get(atom) if isinstance(atom, int) else None
    return atom
