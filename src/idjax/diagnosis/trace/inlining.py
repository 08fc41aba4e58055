"""The inlining of a jaxpr into the nodes of a `Graph`."""

import itertools
import os
import sysconfig
from collections.abc import Sequence
from typing import Any

import jax
from jax.extend import core

from idjax.diagnosis.trace.graph import Atom, Graph, Node, Program, carry_of

INLINED = frozenset(
    ("jit", "pjit", "closed_call", "core_call", "core_closed_call", "remat", "remat2", "checkpoint",
     "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
)  # fmt: skip
"""Calls whose equations are the caller's own."""


def graph_of(closed: core.ClosedJaxpr, learned: int, data: Sequence[bool]) -> Graph:
    """The graph of a jaxpr whose first inputs are parameters.

    Args:
      closed: of the loss, flat values in.
      learned: how many inputs are parameters.
      data: of the inputs after them, which hold rows; where none does, whatever the loss closes over counts as rows.
    """
    builder = _Builder()
    ins = tuple(builder.value(var.aval) for var in closed.jaxpr.invars)
    for bit, atom in enumerate(ins):
        builder.needs[atom] = 1 << bit
    rows = sum(1 << (learned + index) for index, holds in enumerate(data) if holds)
    constants = tuple(builder.constant(value) for value in closed.consts)
    if not rows:
        rows = 1 << len(ins)
        builder.needs.update({atom: rows for atom in constants if builder.shapes[atom].shape})
    builder.data, builder.learned = rows, (1 << learned) - 1
    nodes, outs = builder.inlined(closed.jaxpr, (*constants, *ins), ())
    program, stacked = Program(tuple(nodes), ins, tuple(outs)), frozenset(builder.stacked)
    known = builder.shapes, builder.needs, builder.learned, rows, stacked, builder.constants
    return Graph(program, *known, builder.overruled)


class _Builder:
    """Numbers the values while equations are inlined."""

    def __init__(self) -> None:
        self._count = itertools.count()
        self.shapes: dict[int, jax.ShapeDtypeStruct] = {}
        self.needs: dict[int, int] = {}
        self.stacked: set[int] = set()
        self.constants: dict[int, Any] = {}
        self.learned = self.data = 0
        self.overruled = False

    def value(self, aval: Any) -> int:
        number = next(self._count)
        self.shapes[number] = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        return number

    def constant(self, value: Any) -> int:
        number = self.value(jax.typeof(value))
        self.constants[number] = value
        return number

    def inlined(
        self, jaxpr: core.Jaxpr, given: Sequence[Atom], calls: tuple[str, ...], where: str = ""
    ) -> tuple[list[Node], list[Atom]]:
        """The nodes of a jaxpr called with these values for its constants and inputs, and its outputs."""
        bound: dict[Any, Atom] = dict(zip((*jaxpr.constvars, *jaxpr.invars), given, strict=True))
        nodes: list[Node] = []

        def atom(var: Any) -> Atom:
            return var if isinstance(var, core.Literal) else bound[var]

        for equation in jaxpr.eqns:
            ins = tuple(map(atom, equation.invars))
            here = user_line(equation) or where
            inner = _called(equation)
            if inner is not None and self._may_inline(equation, ins):
                name = str(equation.params.get("name", ""))
                given = (*map(self.constant, getattr(inner, "consts", ())), *ins)
                more, outs = self.inlined(
                    getattr(inner, "jaxpr", inner), given, (*calls, name) if name else calls, here
                )
                nodes += more
            else:
                outs = [self.value(var.aval) for var in equation.outvars]
                nodes.append(self._node(equation, ins, tuple(outs), calls, here))
            bound.update(zip(equation.outvars, outs, strict=True))
        return nodes, [atom(var) for var in jaxpr.outvars]

    def _may_inline(self, equation: Any, ins: tuple[Atom, ...]) -> bool:
        """Whether a call is the caller's own: derivative rules are kept unless a parameter goes in."""
        if not equation.primitive.name.startswith("custom"):
            return True
        inlined = any(self._parameter(atom) for atom in ins)
        self.overruled |= inlined
        return inlined

    def _parameter(self, atom: Atom) -> bool:
        needs = self._of(atom)
        return bool(needs & self.learned) and not needs & self.data

    def _of(self, *atoms: Atom) -> int:
        needs = 0
        for atom in atoms:
            needs |= self.needs.get(atom, 0) if isinstance(atom, int) else 0
        return needs

    def _is_stacked(self, atom: Atom) -> bool:
        return isinstance(atom, int) and atom in self.stacked

    def _node(
        self, equation: Any, ins: tuple[Atom, ...], outs: tuple[int, ...], calls: tuple[str, ...], where: str
    ) -> Node:
        primitive, needs = equation.primitive, self._of(*ins)
        body, inner = None, _called(equation)
        if primitive.name == "scan":
            body = self._scanned(equation, ins, calls, where)
        elif inner is not None:  # a custom derivative rule of something that no parameter goes into
            body = self._body(inner, [(self._of(atom), False) for atom in ins], calls, where)
        self.needs.update(dict.fromkeys(outs, needs))
        self.stacked.update(outs if any(map(self._is_stacked, ins)) else ())

        def run(*values: Any) -> list[Any]:
            bound = primitive.get_bind_params(equation.params)
            functions, params = bound if isinstance(bound, tuple) else ((), bound)  # a pair in JAX 0.8
            with equation.ctx.manager:
                made = primitive.bind(*functions, *values, **params)
            return list(made) if primitive.multiple_results else [made]

        name = str(equation.params.get("name", "")) if inner is not None else ""
        calls = (*calls, name) if name else calls
        return Node(next(self._count), primitive.name, ins, outs, equation.params, run, where, calls, body)

    def _scanned(self, equation: Any, ins: tuple[Atom, ...], calls: tuple[str, ...], where: str) -> Program:
        """The body of a scan, whose carry depends on all that goes in."""
        first, then = carry_of(equation.params)
        known = [
            (self._of(*ins) if first <= index < then else self._of(atom), index >= then or self._is_stacked(atom))
            for index, atom in enumerate(ins)
        ]
        return self._body(equation.params["jaxpr"], known, calls, where)

    def _body(self, inner: Any, known: list[tuple[int, bool]], calls: tuple[str, ...], where: str) -> Program:
        """A program inside of a node: of each value that goes in its needs, and whether steps have their own."""
        jaxpr = getattr(inner, "jaxpr", inner)
        given = tuple(self.value(var.aval) for var in jaxpr.invars)
        for atom, (needs, stacked) in zip(given, known, strict=True):
            self.needs[atom] = needs
            self.stacked.update([atom] if stacked else [])
        constants = map(self.constant, getattr(inner, "consts", ()))
        nodes, outs = self.inlined(jaxpr, (*constants, *given), calls, where)
        return Program(tuple(nodes), given, tuple(outs))


def _called(equation: Any) -> Any:
    """The jaxpr of a call that is inlined, or None."""
    if equation.primitive.name not in INLINED:
        return None
    return next((equation.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in equation.params), None)


_LIBRARIES = (
    *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")),
    os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
)


def user_line(equation: Any) -> str:
    """The innermost line of an equation outside of the libraries, as train.py:12; empty if there is none."""
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        name = frame.file_name
        if not name.startswith((*_LIBRARIES, "<frozen")) and "site-packages" not in name:
            return f"{os.path.basename(name)}:{frame.line_num}"
    return ""
