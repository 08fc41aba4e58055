"""The graph of a loss on a block of rows, and which axes of its values are rows.

An axis is of rows if it changes when the loss is traced once more with another number of them. Where that cannot be
done, as of losses without arguments, nothing is known of rows.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.trace.given import GivenLoss, explained
from idjax.diagnosis.trace.graph import Atom, Graph
from idjax.diagnosis.trace.inlining import graph_of
from idjax.types import IdjaxError

WHOLE = 128
"""Rows up to which all are looked at together; of more, in blocks."""
BLOCK = 128
MOST_BLOCKS = 64
"""Blocks that are looked at: of more rows some, evenly spaced."""


@dataclasses.dataclass(frozen=True, eq=False)
class Traced:
    """A program and its rows.

    rows:    how many there are, 0 if unknown; block: how many the graph takes.
    holds:   of the arguments, which have rows first.
    axes:    of each value, those of its axes that are rows.
    """

    given: GivenLoss
    graph: Graph
    rows: int
    block: int
    holds: tuple[bool, ...]
    axes: dict[int, tuple[int, ...]]

    def rows_of(self, atom: Atom) -> tuple[int, ...]:
        """The axes of a value that are rows."""
        return self.axes.get(atom, ()) if isinstance(atom, int) else ()

    def classes_of(self, atom: Atom) -> int:
        """How many numbers each row has on the last axis of a value; 1 where that axis is the rows'."""
        shape = self.graph.shape(atom)
        return shape[-1] if len(shape) > 1 and len(shape) - 1 not in self.rows_of(atom) else 1

    def places(self) -> list[np.ndarray]:
        """The rows of each block, evenly spaced over all, so that rows in order do not come in blocks of one kind."""
        count = max(1, self.rows // self.block) if self.rows else 1
        spaced = np.arange(count * self.block) * self.rows // max(1, count * self.block)
        blocks = list(spaced.reshape(self.block, count).T)
        return blocks[:: -(-count // MOST_BLOCKS)]

    def blocks(self) -> Iterator[list[Any]]:
        """The arguments of each block."""
        for chosen in self.places():
            yield self.cut(chosen)

    def cut(self, chosen: np.ndarray) -> list[Any]:
        """The arguments with these of their rows, picked and put on the host: JAX compiles either for each shape."""
        return [
            jax.device_put(np.asarray(leaf)[chosen] if holds else leaf)
            for leaf, holds in zip(self.given.args, self.holds, strict=True)
        ]


def trace(given: GivenLoss) -> Traced:
    """The graph of the loss on a block of its rows.

    Raises:
      IdjaxError: where the loss cannot be called so, is no scalar, or is given nothing to look at.
    """
    for name, leaf in zip(given.arg_names, given.args, strict=True):
        if np.size(leaf) == 0:
            raise IdjaxError(f"{name} is empty, of shape {np.shape(leaf)}: give a batch with rows")
    for rows, holds in _candidates(given):
        block = rows if rows <= WHOLE else BLOCK
        if rows < 2 or (other := _other(given, holds, block)) is None:
            continue
        graph = _graph(given, holds, block)
        return Traced(given, graph, rows, block, holds, _changed(graph, other))
    holds = tuple(np.ndim(leaf) > 0 and not _is_key(leaf) for leaf in given.args)
    graph = _graph(given, holds, None)
    return Traced(given, graph, 0, 0, (False,) * len(holds), {})


def _candidates(given: GivenLoss) -> Iterator[tuple[int, tuple[bool, ...]]]:
    """Numbers of rows that there may be, with the arguments that have so many, those of the most axes first."""
    sizes: dict[int, tuple[int, int]] = {}
    for leaf in given.args:
        if np.ndim(leaf) > 0 and not _is_key(leaf):
            most, count = sizes.get(len(leaf), (0, 0))
            sizes[len(leaf)] = (max(most, np.ndim(leaf)), count + 1)
    for rows in sorted(sizes, key=lambda size: sizes[size], reverse=True):
        yield rows, tuple(np.ndim(leaf) > 0 and not _is_key(leaf) and len(leaf) == rows for leaf in given.args)


def _is_key(leaf: Any) -> bool:
    old = getattr(leaf, "dtype", None) == np.uint32 and np.shape(leaf) == (2,)
    return old or (isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _graph(given: GivenLoss, holds: tuple[bool, ...], block: int | None) -> Graph:
    with explained():
        closed = jax.make_jaxpr(given.loss)(given.params, _shaped(given, holds, block))
    outs = closed.out_avals
    if len(outs) != 1:
        raise IdjaxError(f"the loss returned {len(outs)} arrays: return one number, or (loss, aux) with has_aux=True")
    if outs[0].shape != () or not jnp.issubdtype(outs[0].dtype, jnp.floating):
        raise IdjaxError(
            f"the loss returned {outs[0].dtype} of shape {outs[0].shape}: return the mean, one real number"
        )
    return graph_of(closed, len(given.params), holds)


def _shaped(given: GivenLoss, holds: tuple[bool, ...], block: int | None) -> list[Any]:
    return [
        jax.ShapeDtypeStruct((block, *np.shape(leaf)[1:]), jax.dtypes.canonicalize_dtype(leaf.dtype))
        if held and block is not None
        else jax.tree.map(jnp.asarray, leaf)
        for leaf, held in zip(given.args, holds, strict=True)
    ]


def _other(given: GivenLoss, holds: tuple[bool, ...], block: int) -> Graph | None:
    """The graph for another number of rows, if the loss takes it."""
    for rows in dict.fromkeys((block - 1, block // 2, block + 1)):
        if rows > 0:
            try:
                return _graph(given, holds, rows)
            except Exception:  # anyone's code; what is wrong with the call itself is told by the trace as given
                continue
    return None


def _changed(graph: Graph, other: Graph) -> dict[int, tuple[int, ...]]:
    """The axes of each value that are longer in one graph than in the other; none where the programs differ."""
    pairs = itertools.zip_longest(graph.program.every(), other.program.every())
    if any(a is None or b is None or a.primitive != b.primitive or a.outs != b.outs for a, b in pairs):
        return {}
    axes = {}
    for value, shaped in graph.shapes.items():
        sizes = zip(shaped.shape, other.shapes[value].shape, strict=False)
        axes[value] = tuple(axis for axis, (a, b) in enumerate(sizes) if a != b)
    return axes
