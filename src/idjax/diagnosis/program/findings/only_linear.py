"""Layers follow each other without a nonlinearity, and the target is not linear.

A product of matrices is one matrix: however many layers there are, the program is as strong as one. An activation was
left out, or is linear.

Formula: all operations between inputs and outputs are linear, with two layers or more in a row; trained on three
    quarters of the rows with a ReLU between its layers, the loss of the rest is lower by a quarter at least.
Source: Minsky and Papert 1969; Baldi and Hornik 1989
Example: nn.Dense(1)(nn.Dense(16)(x)) with y = sin(x)
Fix: An activation after each layer but the last.
Apart: Of a target that is linear, as of a linear autoencoder, nothing is said.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.graph import LAYOUT, Node, origin
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.walk import NO_EDITS, Edits, changing, evaluate
from idjax.report.formatting import listed, number, percent
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
LINEAR = LAYOUT | {"add", "sub", "neg", "add_any", "reduce_sum", "concatenate", "slice", "split", "pad", "cumsum",
                   "reduce_window_sum"}  # fmt: skip
PRODUCTS = frozenset(("mul", "dot_general", "conv_general_dilated"))
OF_FIRST = frozenset(("div", "gather", "dynamic_slice"))
FOLDS, STEPS, RATES, MOST_BLOCKS = 4, 300, (1e-1, 1e-2, 1e-3), 4
LOWER = 0.75
"""The loss of rows held out, with activations over as given, from which on the target is not linear."""
MOST = 0.75
"""Of the quarters: those in which it has to be lower, as a few rows may be learned by heart."""
LARGE = 2**20
"""Parameters from which on one fold and a fifth of the steps have to do."""


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """A linear program that is better with activations."""
    inner = context.inner
    if not inner or not context.finite or context.traced.rows < 2 * FOLDS or not _is_linear(context):
        return []
    given = held_out(context, NO_EDITS)
    bent = held_out(context, Edits({layer.node: changing(layer.rows, jax.nn.relu) for layer in inner}, {}))
    if not (given > 0).all() or np.mean(bent < given) < MOST or bent.mean() > LOWER * given.mean():
        return []
    explained = _explained(context)
    told = "" if math.isnan(explained) else f", and a linear one explains {percent(explained)} of the targets at most"
    before = [layer.name for layer in context.layers if layer.output in context.end.feeding]
    return [
        EXPLANATION.program_finding(
            message=f"the program is linear: there is no activation between its {len(context.layers)} layers{told}",
            evidence={
                "loss of rows held out, as given": float(given.mean()),
                "with ReLU between the layers": float(bent.mean()),
                **({} if math.isnan(explained) else {"explained variance of the best linear program": explained}),
            },
            cost=float(given.mean() / bent.mean()),
            fix=f"put an activation, as nn.relu, after {listed(before)}: trained so on {1 - 1 / FOLDS:.0%} of the "
            f"rows, the loss of the others is {number(bent.mean())}, not {number(given.mean())}",
            where=inner[0].node.where,
            layers=tuple(layer.name for layer in context.layers),
        )
    ]


def _is_linear(context: LossContext) -> bool:
    """Whether all that is between the first layers and the last is linear in the rows."""
    if any(layer.kind == "embed" for layer in context.layers):
        return False
    owners = {layer.node for layer in context.layers}
    nodes = [
        node
        for top in context.graph.program.nodes
        if any(out in context.end.feeding for out in top.outs)
        or (top.body is not None and owners & set(top.body.every()))
        for node in (top, *(top.body.every() if top.body is not None else ()))
    ]
    return all(_keeps_linear(context, node) for node in nodes)


def _keeps_linear(context: LossContext, node: Node) -> bool:
    """Whether a node is linear in what was learned; statistics of the batch count as numbers."""
    graph = context.graph

    def varies(atom: Any) -> bool:
        return graph.is_data(atom) and bool(context.traced.rows_of(atom))

    if not any(varies(atom) and graph.is_learned(atom) for atom in node.ins):
        return True
    if node.primitive in PRODUCTS or node.primitive in OF_FIRST:
        return sum(map(varies, node.ins)) == 1 and (node.primitive in PRODUCTS or varies(node.ins[0]))
    return node.primitive in LINEAR or (node.primitive == "scan" and node.body is not None)


def held_out(context: LossContext, edits: Edits) -> np.ndarray:
    """The loss of a quarter of the rows, trained by Adam on the others, at the best of some rates: of each quarter."""
    import optax

    optimizer: Any = optax.scale_by_adam()
    graph = context.graph
    large = sum(np.size(leaf) for leaf in context.given.params) > LARGE
    steps, folds, rates = (STEPS // 5, 1, RATES[2:]) if large else (STEPS, FOLDS, RATES)

    def loss(params: list[Any], args: list[Any]) -> Any:
        return evaluate(graph, [*params, *args], edits=edits)[0][0]

    @jax.jit
    def run(params: list[Any], blocks: list[Any], rest: list[Any], rate: Any) -> Any:
        def step(carry: Any, count: Any) -> Any:
            params, state = carry
            slope = jax.grad(loss)(params, [block[count % len(block)] for block in blocks])
            updates, state = optimizer.update(slope, state)
            return ([leaf - rate * change for leaf, change in zip(params, updates, strict=True)], state), None

        trained = jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(steps))[0][0]
        return loss(trained, rest)

    def of(blocks: list[Any], rest: list[Any]) -> float:
        ends = [float(run(context.given.params, blocks, rest, rate)) for rate in rates]
        return min((end for end in ends if math.isfinite(end)), default=math.inf)

    return np.array([of(*rows) for rows in _folds(context, folds)])


def _folds(context: LossContext, count: int) -> list[tuple[list[Any], list[Any]]]:
    """Blocks of rows to train on, one after another, and a block of others; rows are repeated to fill them."""
    traced = context.traced
    parts = np.array_split(np.random.default_rng(0).permutation(traced.rows), FOLDS)
    made = []
    for place in range(count):
        others = np.concatenate([part for index, part in enumerate(parts) if index != place])
        blocks = np.resize(others, (max(1, min(MOST_BLOCKS, len(others) // traced.block)), traced.block))
        cut = zip(*(traced.cut(rows) for rows in blocks), strict=True)
        made.append(([jnp.stack(leaves) for leaves in cut], traced.cut(np.resize(parts[place], traced.block))))
    return made


def _explained(context: LossContext) -> float:
    """The share of the targets' variance that least squares on the inputs explains; NaN where that is not known."""
    graph, rows = context.graph, context.traced.rows
    compared = [comparison for comparison in context.end.comparisons if comparison.kind == "difference"]
    raw = all(
        origin(graph.program, layer.node.ins[layer.rows]) is None
        for layer in context.layers if layer not in context.inner
    )  # fmt: skip
    if not compared or not raw:
        return math.nan
    order = np.concatenate(context.traced.places())
    given = [context.given.args[leaf] for leaf in context.input_leaves]
    x = np.concatenate([np.asarray(leaf, np.float64).reshape(rows, -1)[order] for leaf in given], 1)
    targets = context.compared(compared[0])[1]
    if len(targets) != len(x) or 2 * x.shape[1] > len(x):
        return math.nan
    x, y = x - x.mean(0), targets.reshape(len(x), -1) - targets.reshape(len(x), -1).mean(0)
    left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(1 - (left**2).sum() / (y**2).sum()) if (y**2).sum() > 0 else math.nan
