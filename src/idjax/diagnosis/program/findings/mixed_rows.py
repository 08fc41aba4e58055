"""An output depends on other rows than its own.

Rows of a batch are examples that have nothing to do with each other. Where an axis is mistaken for another, an example
is told by its neighbours: the loss may fall, and what is learned is of no use for one example alone.

Formula: outputs of other rows move when one row of the inputs is put in place of another, statistics of the batch held.
Source: the definition of a mean over independent examples
Example: jax.nn.softmax(logits, axis=0), or a reshape where a transpose was meant
Fix: The axis of the classes in a softmax (axis=-1), that of time in attention; transpose in place of reshape.
Apart: Means and deviations of a batch, as of BatchNorm, losses between rows and graphs of rows are meant.
"""

import math
from typing import Any

import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.graph import Node, carry_of, origin
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.outputs import exponentials
from idjax.diagnosis.trace.walk import Edits, evaluate
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
MOVED = 1e-4
"""Of the size of the outputs: what an output moves by more than rounding does."""
FIXES = {
    "reshape": ("a reshape puts numbers of other rows into a row", "transpose the axes in place of the reshape"),
    "softmax": ("a softmax goes over the rows", "softmax over the classes, axis=-1"),
    "attention": (
        "attention goes over the rows",
        "attend along the axis of time, the one after the rows",
    ),
    "scan": ("a recurrent cell goes along the rows", "let it go along the axis of time: rows are examples"),
}


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """The first operation that mixes rows, where outputs are seen to depend on other rows."""
    if not context.finite or context.traced.rows < 4 or _has_graph(context):
        return []
    mixing = [(node, kind) for node in context.graph.program.nodes if (kind := _kind(context, node))]
    if not mixing or not (share := _moved(context, {node for node, _ in mixing})):
        return []
    node, kind = mixing[0]
    words, fix = FIXES[kind]
    return [
        EXPLANATION.program_finding(
            message=f"{words}: {share:.0%} of the other rows' outputs change with one row of the inputs",
            evidence={"share of other rows whose outputs change": share},
            fix=fix,
            where=node.where,
        )
    ]


def _has_graph(context: LossContext) -> bool:
    """Whether an argument says which rows belong together: a matrix of rows, or places of rows that are picked."""
    given = zip(context.given.args, context.traced.holds, strict=True)
    if any(holds and context.traced.rows in np.shape(leaf)[1:2] for leaf, holds in given):
        return True
    return any(node.primitive == "gather" and _picks_rows(context, node) for node in context.graph.program.nodes)


def _picks_rows(context: LossContext, node: Node) -> bool:
    """Whether whole rows are picked: of labels, which pick a number of each row, the rows' own places go in too."""
    graph, (picked, places) = context.graph, node.ins[:2]
    of_rows = 0 in context.traced.rows_of(picked) and graph.shape(picked)[0] == context.traced.block
    return of_rows and bool(graph.bits(places)) and node.params["dimension_numbers"].start_index_map == (0,)


def _kind(context: LossContext, node: Node) -> str:
    """How a node mixes rows, if it does."""
    graph, rows = context.graph, context.traced.rows_of
    if not node.ins or not graph.is_data(node.ins[0]) or len(rows(node.outs[0])) > 1:
        return ""
    before, after = rows(node.ins[0]), rows(node.outs[0])
    if node.primitive == "reshape" and len(before) == len(after) == 1:
        ahead = zip((graph.shape(node.ins[0]), graph.shape(node.outs[0])), (before[0], after[0]), strict=True)
        sizes = {math.prod(shape[:axis]) for shape, axis in ahead}
        return "reshape" if len(sizes) > 1 else ""
    if node.primitive == "reduce_sum" and before and not after and node in _sums_of_exponentials(context):
        return "softmax"
    if not _has_time(context):
        return ""
    if node.primitive == "dot_general" and after:
        contracted = node.params["dimension_numbers"][0]
        sides = zip(node.ins, contracted, strict=False)
        return "attention" if all(set(rows(atom)) & set(axes) for atom, axes in sides) else ""
    if node.primitive == "scan" and after and graph.is_learned(node.outs[0]):
        first, then = carry_of(node.params)
        return "scan" if then > first and any(0 in rows(atom) for atom in node.ins[then:]) else ""
    return ""


def _has_time(context: LossContext) -> bool:
    """Whether rows have an axis beside that of their features: a matrix may be one series."""
    return any(np.ndim(context.given.args[leaf]) > 2 for leaf in context.input_leaves)


def _sums_of_exponentials(context: LossContext) -> set[Node]:
    """The sums over rows that a softmax over several classes divides by."""
    graph = context.graph
    made = {node for node, _ in exponentials(graph)}
    return {
        node
        for node in graph.program.nodes
        if node.primitive == "reduce_sum" and origin(graph.program, node.ins[0]) in made
        and math.prod(graph.shape(node.outs[0])) > 1
    }  # fmt: skip


def _moved(context: LossContext, mixing: set[Node]) -> float:
    """The share of other rows whose outputs move with the inputs of one row, statistics of the batch held."""
    graph, rows, block = context.graph, context.traced.rows_of, context.traced.block
    looked = {*context.end.outputs, *(comparison.output for comparison in context.end.comparisons)}
    atoms = [atom for atom in looked if len(rows(atom)) == 1 and graph.shape(atom)[rows(atom)[0]] == block]
    makers = {graph.program.makers[atom]: atom for atom in atoms if atom in graph.program.makers}
    held = {
        out: node
        for node in graph.program.nodes if node not in mixing and any(map(rows, node.ins))
        for out in node.outs if graph.is_data(out) and not rows(out)
    }  # fmt: skip
    users = dict.fromkeys(user for atom in held for user in graph.program.users.get(atom, ()))
    watchers: dict[Node, Any] = {node: lambda ins, outs: outs for node in (*makers, *held.values())}

    def put(node: Node) -> Any:
        return lambda ins, old: ([old.get(str(atom), value) for atom, value in zip(node.ins, ins, strict=True)], 0)

    seen = evaluate(graph, [*context.given.params, *context.args], watchers)[1]
    old = {str(atom): seen[node][node.outs.index(atom)] for atom, node in held.items()}
    edits = Edits({node: put(node) for node in users}, dict.fromkeys(users, old))
    after = evaluate(graph, [*context.given.params, *_with_row_put(context)], watchers, edits)[1]
    shares = [_share(np.asarray(seen[n][n.outs.index(a)]), np.asarray(after[n][n.outs.index(a)]), rows(a)[0])
              for n, a in makers.items()]  # fmt: skip
    return max(shares, default=0.0)


def _with_row_put(context: LossContext) -> list[Any]:
    """The arguments of the first block with the inputs of the middle row in place of those of the first."""
    args, middle = list(context.args), context.traced.block // 2
    for leaf in context.input_leaves:
        args[leaf] = args[leaf].at[0].set(args[leaf][middle])
    return args


def _share(before: np.ndarray, after: np.ndarray, axis: int) -> float:
    """The share of rows other than the first that moved."""
    change = np.moveaxis(np.abs(after - before), axis, 0).reshape(before.shape[axis], -1).max(1)
    return float(np.mean(change[1:] > MOVED * (np.abs(before).max() or 1.0)))
