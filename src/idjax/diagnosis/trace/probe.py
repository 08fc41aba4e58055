"""Where numbers or derivatives go wrong: every value of a program looked at, once something is known to be wrong."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.trace.graph import Graph, Node
from idjax.diagnosis.trace.traced import Traced
from idjax.diagnosis.trace.walk import evaluate


def value_culprit(traced: Traced, args: list[Any]) -> tuple[Node | None, str, list[int]]:
    """The equation that first makes NaN or infinity on the way to a loss that is not finite; what; in which rows."""
    graph = traced.graph
    nodes = [node for node in graph.program.nodes if node.outs]

    def watcher(node: Node) -> Any:
        return lambda ins, outs: [
            [jnp.isfinite(value) if jnp.issubdtype(jnp.result_type(value), jnp.inexact) else jnp.ones((), bool)
             for value in map(jnp.asarray, values)]
            for values in (ins, outs[:1])
        ]  # fmt: skip

    def run(params: list[Any], args: list[Any]) -> Any:
        flags = evaluate(graph, [*params, *args], {node: watcher(node) for node in nodes})[1]
        return {
            node: ([part.all() for part in ins], [part.all() for part in outs], _by_row(traced, node, outs[0]))
            for node, (ins, outs) in flags.items()
        }

    seen = jax.device_get(jax.jit(run)(traced.given.params, args))
    needed = _needed(graph)
    for node in nodes:
        ins, outs, rows = seen[node]
        if node in needed and all(ins) and not all(outs):
            if _is_masked(graph, node, seen):
                continue
            value = _first_value(traced, args, node)
            return node, "NaN" if np.isnan(value) else "infinity", np.flatnonzero(~np.atleast_1d(rows)).tolist()
    return None, "", []


def _by_row(traced: Traced, node: Node, finite: Any) -> Any:
    rows = traced.rows_of(node.outs[0])
    if len(rows) != 1:
        return jnp.ones(0, bool)
    return finite.all(axis=tuple(axis for axis in range(finite.ndim) if axis != rows[0]))


def _needed(graph: Graph) -> set[Node]:
    """The nodes that the loss depends on."""
    wanted, needed = set(graph.program.outs), set()
    for node in reversed(graph.program.nodes):
        if wanted & set(node.outs):
            needed.add(node)
            wanted.update(atom for atom in node.ins if isinstance(atom, int))
    return needed


def _is_masked(graph: Graph, node: Node, seen: dict[Node, Any]) -> bool:
    """Whether what follows is finite again: an infinity that is masked out, or the smallest of nothing."""
    users = [user for out in node.outs for user in graph.program.users.get(out, [])]
    return bool(users) and all(all(seen[user][1]) or _is_masked(graph, user, seen) for user in users if user in seen)


def _first_value(traced: Traced, args: list[Any], node: Node) -> float:
    _, seen = evaluate(traced.graph, [*traced.given.params, *args], {node: lambda ins, outs: outs[0]})
    values = np.asarray(seen[node], np.float64).ravel()
    return float(values[~np.isfinite(values)][0])


def cotangents(traced: Traced, args: list[Any]) -> dict[int, np.ndarray]:
    """Of every learned value outside of scans: its largest derivative of the loss, and whether all are finite."""
    graph = traced.graph
    real = [
        out
        for node in graph.program.nodes
        for out in node.outs
        if graph.is_learned(out) and jnp.issubdtype(graph.shapes[out].dtype, jnp.floating)
    ]
    zeros = {out: jnp.zeros(graph.shape(out), graph.shapes[out].dtype) for out in real}

    @jax.jit
    def run(params: list[Any], args: list[Any]) -> Any:
        def total(shifts: dict[int, Any], params: list[Any]) -> Any:
            return evaluate(graph, [*params, *args], shifts=shifts)[0][0]

        slopes, own = jax.grad(total, (0, 1))(zeros, params)
        told = slopes | dict(zip(graph.program.ins, own, strict=False))
        return {atom: jnp.stack([jnp.abs(value).max(), jnp.isfinite(value).all()]) for atom, value in told.items()}

    return jax.device_get(run(traced.given.params, args))


def gradient_culprit(traced: Traced, args: list[Any]) -> Node | None:
    """The equation whose derivative is not finite, where what comes back to it is."""
    found = cotangents(traced, args)
    for node in reversed(traced.graph.program.nodes):
        outs = [found[out][1] for out in node.outs if out in found]
        ins = [found[atom][1] for atom in node.ins if isinstance(atom, int) and atom in found]
        if outs and all(outs) and not all(ins) and not _explained(traced.graph, node, found):
            return node
    return None


def _explained(graph: Graph, node: Node, found: dict[int, np.ndarray]) -> bool:
    """Whether all that is not finite behind a node comes back through others that its inputs go into."""
    bad = [atom for atom in node.ins if isinstance(atom, int) and atom in found and not found[atom][1]]
    return all(
        any(out in found and not found[out][1] for user in graph.program.users[atom] if user is not node
            for out in user.outs)
        for atom in bad
    )  # fmt: skip


def blocking_nodes(traced: Traced, args: list[Any], leaves: list[int]) -> dict[Node, list[int]]:
    """The operations that pass no gradient on to these parameters, though some comes to them, and which they are."""
    graph, found = traced.graph, cotangents(traced, args)
    quiet: dict[int, bool] = {atom: found[atom][0] == 0 for atom in graph.program.ins if atom in found}
    blocking: dict[Node, list[int]] = {}
    for node in graph.program.nodes:
        given = [atom for atom in node.ins if isinstance(atom, int)]
        behind = {atom: [leaf for leaf in leaves if graph.bits(atom) >> leaf & 1] for atom in given}
        ways = [atom for atom in given if behind[atom]]
        # A branch of a value that has a gradient, as the largest logit of a softmax, holds nothing back.
        silent = all(quiet.get(atom, True) for atom in ways)
        for out in node.outs:
            quiet[out] = silent and (out not in found or found[out][0] == 0)
        if any(quiet.get(atom, True) for atom in ways) and any(out in found and found[out][0] > 0 for out in node.outs):
            for atom in ways:
                if quiet.get(atom, True):
                    blocking.setdefault(_first_step(graph, node, atom), []).extend(behind[atom])
    return {node: sorted(set(behind)) for node, behind in blocking.items()}


def _first_step(graph: Graph, node: Node, atom: int) -> Node:
    """The operation that made whole numbers or truths of real ones, behind one that makes real numbers of them."""
    while not jnp.issubdtype(graph.shapes[atom].dtype, jnp.floating):
        maker = graph.program.makers.get(atom)
        learned = [given for given in maker.ins if graph.is_learned(given)] if maker is not None else []
        if maker is None or not learned or not isinstance(learned[0], int):
            return node
        node, atom = maker, learned[0]
    return node
