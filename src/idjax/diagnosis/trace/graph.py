"""The jaxpr of a loss as a flat list of nodes: calls are inlined, each with the user's own line and what it depends on.

Every value is a number of its own, also where one function is called twice. What a value depends on is a set of the
program's inputs, kept as the bits of an integer: parameters first, then the leaves of the arguments.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core

BOXES = frozenset(("while", "cond", "pallas_call", "shard_map", "pure_callback", "io_callback", "custom_linear_solve"))
"""Control flow that is run as it is, and not looked into."""

Atom = int | core.Literal
"""A value of the program, or a number that is written into it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One equation.

    run:    values of `ins` → values of `outs`.
    where:  the user's line, as train.py:12.
    calls:  names of the functions of JAX that it is part of, outermost first, as ("softmax",).
    body:   the equations of a scan, or those behind a custom derivative rule, which are run by that rule.
    """

    index: int
    primitive: str
    ins: tuple[Atom, ...]
    outs: tuple[int, ...]
    params: dict[str, Any]
    run: Callable[..., list[Any]]
    where: str
    calls: tuple[str, ...]
    body: "Program | None" = None

    def __lt__(self, other: "Node") -> bool:
        """Nodes are in order, as keys of a nest have to be."""
        return self.index < other.index


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """Nodes in the order of the program, its inputs and its outputs."""

    nodes: tuple[Node, ...]
    ins: tuple[int, ...]
    outs: tuple[Atom, ...]

    @functools.cached_property
    def makers(self) -> dict[int, Node]:
        """The node that makes each value."""
        return {out: node for node in self.nodes for out in node.outs}

    @functools.cached_property
    def users(self) -> dict[int, list[Node]]:
        """The nodes that each value goes into."""
        users: dict[int, list[Node]] = {}
        for node in self.nodes:
            for atom in dict.fromkeys(atom for atom in node.ins if isinstance(atom, int)):
                users.setdefault(atom, []).append(node)
        return users

    def every(self) -> Iterator[Node]:
        """All nodes, those of bodies after the node that they belong to."""
        for node in self.nodes:
            yield node
            if node.body is not None:
                yield from node.body.every()


LAYOUT = frozenset(
    ("reshape", "transpose", "convert_element_type", "broadcast_in_dim", "squeeze", "expand_dims", "copy", "rev",
     "stop_gradient", "reduce_precision", "sharding_constraint", "optimization_barrier", "name", "copy_p")
)  # fmt: skip
"""Nodes that give out what goes in, in another layout."""


def carry_of(scan: dict[str, Any]) -> tuple[int, int]:
    """Where the carry of a scan begins and ends among its inputs, by its parameters."""
    if "ft_in" in scan:  # from JAX 0.12 on
        constants, carry, _ = (len(tuple(part)) for part in scan["ft_in"].unpack())
    else:
        constants, carry = scan["num_consts"], scan["num_carry"]
    return constants, constants + carry


def origin(program: Program, atom: Atom, through: frozenset[str] = LAYOUT) -> Node | None:
    """The node that made a value, layout apart; None for an input."""
    node = program.makers.get(atom) if isinstance(atom, int) else None
    while node is not None and node.primitive in through:
        first = node.ins[0]
        node = program.makers.get(first) if isinstance(first, int) else None
    return node


def number(atom: Atom) -> float | None:
    """The number that is written into the program here, if it is one."""
    if isinstance(atom, int) or jax.numpy.size(atom.val) != 1:
        return None
    return float(jax.numpy.asarray(atom.val).reshape(()))


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A program and what is known of its values before any number is computed.

    shapes:   of each value, with its dtype.
    needs:    bits of the inputs that a value depends on; learned and data are the bits of parameters and of rows.
    stacked:  values in a scan of which each step has its own.
    constants: values that are known.
    overruled: whether a derivative rule that a parameter goes into was inlined, so that the walk's derivative may be
               another than the program's.
    """

    program: Program
    shapes: dict[int, jax.ShapeDtypeStruct]
    needs: dict[int, int]
    learned: int
    data: int
    stacked: frozenset[int]
    constants: dict[int, Any]
    overruled: bool

    def bits(self, atom: Atom) -> int:
        """The inputs that a value depends on."""
        return self.needs.get(atom, 0) if isinstance(atom, int) else 0

    def is_learned(self, atom: Atom) -> bool:
        """Whether a value depends on a parameter."""
        return bool(self.bits(atom) & self.learned)

    def is_data(self, atom: Atom) -> bool:
        """Whether a value depends on the rows."""
        return bool(self.bits(atom) & self.data)

    def is_parameter(self, atom: Atom) -> bool:
        """Whether a value is made of parameters alone: one of them in another layout, or a product of some."""
        return self.is_learned(atom) and not self.is_data(atom)

    def leaves(self, atom: Atom) -> tuple[int, ...]:
        """Indices of the parameters that a value is made of."""
        bits = self.bits(atom) & self.learned
        return tuple(index for index in range(bits.bit_length()) if bits >> index & 1)

    def shape(self, atom: Atom) -> tuple[int, ...]:
        """The shape of a value."""
        return self.shapes[atom].shape if isinstance(atom, int) else tuple(jax.numpy.shape(atom.val))
