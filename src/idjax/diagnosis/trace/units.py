"""Units of a program: outputs of ReLU, tanh and sigmoid, and whether they are alive."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from idjax.diagnosis.trace.graph import Atom, Graph, Node, Program
from idjax.diagnosis.trace.layers import Layer
from idjax.diagnosis.trace.outputs import kind_of
from idjax.diagnosis.trace.traced import Traced
from idjax.diagnosis.trace.walk import Watcher

FLAT = 0.15
"""Mean slope, as a share of the largest, below which tanh and sigmoid are saturated."""


@dataclasses.dataclass(frozen=True, eq=False)
class Unit:
    """An activation, relu, tanh or sigmoid, and the layers whose outputs go into it."""

    node: Node
    kind: str
    layers: tuple[str, ...]


def find_units(graph: Graph, layers: Sequence[Layer]) -> tuple[Unit, ...]:
    """All activations of what was learned, in the order of the program; those inside SiLU and the like are left out."""
    found: list[Unit] = []

    def within(program: Program) -> None:
        for node in program.nodes:
            if node.primitive == "scan" and node.body is not None:
                within(node.body)
                continue
            kind = kind_of(graph, node)
            given = next((atom for atom in node.ins if isinstance(atom, int) and graph.is_data(atom)), None)
            if kind not in ("relu", "tanh", "sigmoid") or given is None or not graph.is_learned(given):
                continue
            if any(given in later.ins for later in program.users.get(node.outs[0], [])):
                continue  # x times its own sigmoid
            if above := _layers_above(program, given, layers):
                found.append(Unit(node, kind, above))

    within(graph.program)
    return tuple(found)


def _layers_above(program: Program, atom: Atom, layers: Sequence[Layer]) -> tuple[str, ...]:
    """The layers that a value comes from with no other layer between."""
    by_node = {layer.node: layer.name for layer in layers}
    found: dict[str, None] = {}
    waiting, seen = [atom], set()
    while waiting:
        atom = waiting.pop()
        node = program.makers.get(atom) if isinstance(atom, int) else None
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in by_node:
            found[by_node[node]] = None
        else:
            waiting += node.ins
    return tuple(reversed(found))


def watch_unit(unit: Unit, traced: Traced) -> Watcher:
    """Of a ReLU which units are above 0 in any row; of others the mean slope over the steepest."""
    rows = traced.rows_of(unit.node.outs[0]) or (0,)

    def watch(ins: list[Any], outs: list[Any]) -> Any:
        out = outs[0]
        if unit.kind == "relu":
            return jnp.any(out > 0, axis=rows if out.ndim else None)
        slope = 1 - out**2 if unit.kind == "tanh" else 4 * out * (1 - out)
        return jnp.mean(slope.astype(jnp.float32))

    return watch
