"""Evaluation of a graph, itself a function of JAX: values on the way can be looked at, or replaced.

A watcher is called with the values that go into and come out of its node, and what it returns is returned with the
outputs: of a node in a scan, stacked over the steps. An edit is called with what would go into its node, and returns
what goes in instead, or `Outs` that come out in place of the node's own, and a nest of its own numbers that is returned
as what a watcher saw is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from idjax.diagnosis.trace.graph import Atom, Graph, Node, Program, carry_of

Watcher = Callable[[list[Any], list[Any]], Any]


class Outs(NamedTuple):
    """Values that come out of a node, which is not run."""

    values: list[Any]


Edit = Callable[[list[Any], Any], tuple[list[Any] | Outs, Any]]


class Edits(NamedTuple):
    """Edits by node, and the numbers that each is given: of a node in a scan with own numbers a step, stacked."""

    edits: Mapping[Node, Edit]
    given: Mapping[Node, Any]


NO_EDITS = Edits({}, {})


def changing(place: int, change: Callable[[Any], Any]) -> Edit:
    """An edit that changes one of the values that go into its node, which keeps its type."""

    def edit(ins: list[Any], _: Any) -> tuple[list[Any], Any]:
        made = list(ins)
        made[place] = change(ins[place]).astype(ins[place].dtype)
        return made, ()

    return edit


def evaluate(
    graph: Graph,
    values: Sequence[Any],
    watchers: Mapping[Node, Watcher] | None = None,
    edits: Edits = NO_EDITS,
    shifts: Mapping[int, Any] | None = None,
) -> tuple[list[Any], dict[Node, Any]]:
    """The outputs of a graph for these inputs, and what was seen at each node that is watched or edited.

    shifts are added to values outside of scans as soon as they are made.
    """
    walk = _Walk(graph, dict(graph.constants), watchers or {}, edits.edits, shifts or {})
    return walk.through(graph.program, values, edits.given)


class _Walk(NamedTuple):
    """One evaluation; values in the body of a scan have names of their own, and see those outside of it."""

    graph: Graph
    env: dict[int, Any]
    watchers: Mapping[Node, Watcher]
    edits: Mapping[Node, Edit]
    shifts: Mapping[int, Any]

    def through(self, program: Program, values: Sequence[Any], given: Mapping[Node, Any]) -> tuple[list[Any], dict]:
        env, seen = self.env, {}

        def read(atom: Atom) -> Any:
            return env[atom] if isinstance(atom, int) else atom.val

        env.update(zip(program.ins, values, strict=True))
        for node in program.nodes:
            ins = list(map(read, node.ins))
            if node in self.edits:
                ins, seen[node] = self.edits[node](ins, given.get(node))
            if isinstance(ins, Outs):
                ins, outs = [], ins.values
            elif node.primitive == "scan":
                outs, inside = self._scan(node, ins, given)
                seen |= inside
            else:
                outs = node.run(*ins)
            if node in self.watchers:
                seen[node] = self.watchers[node](ins, outs)
            env.update(zip(node.outs, outs, strict=True))
            env.update({out: env[out] + self.shifts[out] for out in node.outs if out in self.shifts})
        return list(map(read, program.outs)), seen

    def _scan(self, node: Node, ins: list[Any], given: Mapping[Node, Any]) -> tuple[list[Any], dict]:
        """The scan again, with what is seen in a step as further outputs; left as it is where nothing is."""
        body = node.body
        assert body is not None
        watched = [inner for inner in body.every() if inner in self.watchers or inner in self.edits]
        if not watched:
            return node.run(*ins), {}
        first, then = carry_of(node.params)
        own = {inner: given[inner] for inner in watched if inner in given and is_stacked(self.graph, inner)}
        shared = {inner: numbers for inner, numbers in given.items() if inner not in own}

        def step(carry: Any, sliced: Any) -> tuple[Any, Any]:
            rows, numbers = sliced
            walk = self._replace(env=dict(self.env), shifts={})
            numbers = shared | dict(zip(own, numbers, strict=True))
            outs, seen = walk.through(body, (*ins[:first], *carry, *rows), numbers)
            order[:] = seen
            return tuple(outs[: then - first]), (tuple(outs[then - first :]), list(seen.values()))

        order: list[Node] = []
        carry, (made, inside) = jax.lax.scan(
            step,
            tuple(ins[first:then]),
            (tuple(ins[then:]), list(own.values())),
            length=node.params["length"],
            reverse=node.params["reverse"],
        )
        return [*carry, *made], dict(zip(order, inside, strict=True))


def is_stacked(graph: Graph, node: Node) -> bool:
    """Whether each step of a scan has a parameter of its own for this node."""
    return any(isinstance(atom, int) and atom in graph.stacked and graph.is_parameter(atom) for atom in node.ins)
