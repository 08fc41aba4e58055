"""The end of a program: what the last layers give, the activation behind it, and the targets it is compared with."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp

from idjax.diagnosis.trace.graph import LAYOUT, Atom, Graph, Node, number, origin
from idjax.diagnosis.trace.layers import Layer

ACTIVATION_RANGES = {"relu": (0.0, math.inf), "tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0)}
LOGARITHMS = frozenset(("log", "log1p"))
LOG_SIGMOIDS = frozenset(("log_sigmoid", "softplus", "logaddexp"))


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """A node where what was learned first meets what was not, outside of layers: output against target.

    kind: a difference; a product of the output with weights or labels; an index that picks from the output.
    """

    node: Node
    kind: Literal["difference", "product", "index"]
    output: int
    target: int


@dataclasses.dataclass(frozen=True, eq=False)
class Ending:
    """The end of a program: its outputs and the targets that they meet.

    outputs: values that the last layers give, biases added, before any activation.
    inputs:  bits of the arguments that go into layers.
    feeding: values that a layer further on depends on.
    """

    outputs: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    inputs: int
    feeding: frozenset[int]


def ending(graph: Graph, layers: Sequence[Layer]) -> Ending:
    """The end of a program, by its graph alone."""
    program = graph.program
    owners = {layer.node for layer in layers}
    for node in program.nodes:
        if node.body is not None and any(inner in owners for inner in node.body.every()):
            owners.add(node)
    inner = _feeding(graph, owners)
    inputs = 0
    for layer in layers:
        inputs |= graph.bits(layer.node.ins[layer.rows]) & graph.data
    given = {layer.node: layer.output for layer in layers}
    last = [
        out
        for node in program.nodes
        if node in owners
        for out in ((given[node],) if node in given else node.outs)
        if graph.is_data(out) and out not in inner and jnp.issubdtype(graph.shapes[out].dtype, jnp.floating)
    ]
    return Ending(tuple(last), tuple(_comparisons(graph, inner, inputs)), inputs, frozenset(inner))


def _feeding(graph: Graph, owners: set[Node]) -> set[int]:
    """The values that a layer further on depends on."""
    feeding: set[int] = set()
    for node in reversed(graph.program.nodes):
        if node in owners or any(out in feeding for out in node.outs):
            feeding.update(atom for atom in node.ins if isinstance(atom, int))
    return feeding


def _comparisons(graph: Graph, inner: set[int], inputs: int) -> list[Comparison]:
    """Where outputs first meet data, in the order of the program."""
    met: set[int] = set()
    found = []
    for node in graph.program.nodes:
        behind = any(atom in met for atom in node.ins if isinstance(atom, int))
        comparison = None if behind or any(out in inner for out in node.outs) else _comparison(graph, node, inputs)
        if comparison is not None:
            found.append(comparison)
        if behind or comparison is not None:
            met.update(node.outs)
    return found


def _comparison(graph: Graph, node: Node, inputs: int) -> Comparison | None:
    learned = [atom for atom in node.ins if graph.is_learned(atom) and graph.is_data(atom)]
    others = [atom for atom in node.ins if graph.is_data(atom) and not graph.is_learned(atom)]
    if len(learned) != 1 or len(others) != 1 or not isinstance(learned[0], int) or not isinstance(others[0], int):
        return None
    if node.primitive == "gather" and node.ins[0] == learned[0]:
        return Comparison(node, "index", learned[0], others[0])
    if node.primitive == "sub":
        return Comparison(node, "difference", learned[0], others[0])
    if node.primitive in ("mul", "dot_general"):
        # Inputs times outputs may be a gate: of an autoencoder's labels, their logarithm is taken.
        fresh = graph.bits(others[0]) & graph.data & ~inputs
        if fresh or is_logarithm(graph, learned[0]):
            return Comparison(node, "product", learned[0], others[0])
    return None


def is_logarithm(graph: Graph, atom: Atom) -> bool:
    """Whether a value is a logarithm of probabilities, its sign and layout apart."""
    node = origin(graph.program, atom)
    while node is not None and node.primitive == "neg":
        node = origin(graph.program, node.ins[0])
    if node is None:
        return False
    named = any(any(word in call for word in (*LOG_SIGMOIDS, "log_softmax")) for call in node.calls)
    return named or node.primitive in LOGARITHMS


def activation(graph: Graph, atom: Atom) -> tuple[str, float, float, Node] | None:
    """The bounded activation that a value comes from, and its least and most: affine maps by numbers are followed."""
    node, scale, shift = origin(graph.program, atom), 1.0, 0.0
    while node is not None:
        name = kind_of(graph, node)
        if name in ACTIVATION_RANGES:
            low, high = sorted(scale * end + shift for end in ACTIVATION_RANGES[name])
            return name, low, high, node
        numbers = [number(given) for given in node.ins]
        if node.primitive not in ("add", "sub", "mul", "div", "neg") or numbers.count(None) != 1:
            return None
        given = next((value for value in numbers if value is not None), 0.0)
        first = numbers[0] is None
        if node.primitive == "div" and not first:
            return None
        step, move = {
            "add": (1.0, given), "sub": (1.0, -given) if first else (-1.0, given), "mul": (given, 0.0),
            "div": (1 / given if given else math.nan, 0.0), "neg": (-1.0, 0.0),
        }[node.primitive]  # fmt: skip
        # What was found so far is applied to what this node gives.
        scale, shift = scale * step, scale * move + shift
        node = origin(graph.program, node.ins[0 if first else 1])
    return None


def kind_of(graph: Graph, node: Node) -> str:
    """The activation that a node is, or the primitive's name."""
    if node.primitive.startswith("custom") and node.body is not None:
        inside = [inner for inner in node.body.nodes if inner.primitive not in ("broadcast_in_dim", "copy")]
        return kind_of(graph, inside[0]) if len(inside) == 1 else node.primitive
    if node.primitive == "max" and any(number(atom) == 0 for atom in node.ins):
        return "relu"
    if node.primitive == "div" and _is_softmax(graph, node):
        return "softmax"
    return {"logistic": "sigmoid"}.get(node.primitive, node.primitive)


def _is_softmax(graph: Graph, node: Node) -> bool:
    """exp(z)/Σ exp(z)."""
    above, below = (origin(graph.program, atom) for atom in node.ins)
    if above is None or below is None or above.primitive != "exp" or below.primitive != "reduce_sum":
        return False
    return origin(graph.program, below.ins[0]) is above


def exponentials(graph: Graph) -> list[tuple[Node, Atom]]:
    """Every exp(z - max z) that a softmax or a logarithm of one begins with, and its z."""
    found = []
    for node in graph.program.nodes:
        before = origin(graph.program, node.ins[0]) if node.primitive == "exp" else None
        if before is None or before.primitive != "sub":
            continue
        if _is_maximum(graph, before.ins[1]):
            found.append((node, before.ins[0]))
    return found


class SecondSoftmax(NamedTuple):
    """A softmax or sigmoid, its node, and the node of another one of what it gives, with nothing learned between."""

    kind: str
    first: Node
    second: Node


def second_softmax(graph: Graph, end: Ending) -> SecondSoftmax | None:
    """The first softmax or sigmoid at the end of a program that is applied to what one gave already."""
    program, tail = graph.program, end.feeding
    for node, before in exponentials(graph):
        first = origin(program, before)
        if first is not None and node.outs[0] not in tail and kind_of(graph, first) in ("softmax", "sigmoid"):
            return SecondSoftmax(kind_of(graph, first), first, node)
    for node in program.nodes:
        first = origin(program, node.ins[0], LAYOUT | {"neg", "abs"}) if node.ins else None
        if first is None or kind_of(graph, first) != "sigmoid" or node.outs[0] in tail:
            continue
        soft = any(word in call for call in node.calls for word in LOG_SIGMOIDS)
        if (soft and not set(first.calls) & set(node.calls)) or _of_logits(graph, node):
            return SecondSoftmax("sigmoid", first, node)
    return None


def _of_logits(graph: Graph, node: Node) -> bool:
    """log(1 + exp(-|x|)), or another sigmoid."""
    if kind_of(graph, node) == "sigmoid":
        return True
    users = graph.program.users.get(node.outs[0], [])
    return node.primitive == "exp" and any(user.primitive == "log1p" for user in users)


def _is_maximum(graph: Graph, atom: Atom) -> bool:
    """Whether a value is the largest of some, bounded or in place of what is not finite."""
    node = origin(graph.program, atom)
    if node is None or node.primitive not in ("max", "select_n"):
        return node is not None and node.primitive == "reduce_max"
    return any(_is_maximum(graph, given) for given in node.ins)
