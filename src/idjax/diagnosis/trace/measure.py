"""One compiled pass over the rows: the loss, its gradient, and what is watched on the way."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.trace.given import explained
from idjax.diagnosis.trace.graph import Graph, Node, Program
from idjax.diagnosis.trace.layers import Layer, input_rows
from idjax.diagnosis.trace.outputs import Ending
from idjax.diagnosis.trace.traced import Traced
from idjax.diagnosis.trace.units import Unit, watch_unit
from idjax.diagnosis.trace.walk import Watcher, evaluate
from idjax.types import OnProgress, Progress

SAMPLE = 1024
"""Vectors that are kept of what goes into a layer."""
MOST_VALUES = 2**22
"""Numbers of an output that are kept in a block."""

FEW_NUMBERS = 2**22
"""Numbers of a program below which compiling it takes longer than all passes."""


class Pass(NamedTuple):
    """Of one block: the loss, its gradient by parameters and by shifts of the outputs, what was seen."""

    loss: Any
    gradient: list[Any]
    slopes: dict[int, Any]
    seen: dict[Node, Any]


class Watch(NamedTuple):
    """A watcher of a node, and how the host reads what it saw."""

    watch: Watcher
    read: Callable[[Any], Any] = lambda seen: seen


Runner = Callable[..., Pass]
"""The program, compiled once: called with the arguments of a block, and what is added to the outputs."""


def runner(traced: Traced, watches: Mapping[Node, Watch], outputs: Sequence[int]) -> Runner:
    """The program compiled with its gradient and what is looked at."""
    graph, loss, watchers = traced.graph, traced.given.loss, {node: one.watch for node, one in watches.items()}

    def total(params: list[Any], shifts: dict[int, Any], args: list[Any]) -> Any:
        outs, seen = evaluate(graph, [*params, *args], watchers, shifts=shifts)
        return outs[0], jax.lax.stop_gradient(seen)

    options = {"xla_backend_optimization_level": 0} if _is_small(graph) else {}

    @functools.partial(jax.jit, compiler_options=options)
    def run(params: list[Any], args: list[Any], shifts: dict[int, Any]) -> Any:
        (value, seen), (slope, slopes) = jax.value_and_grad(total, (0, 1), has_aux=True)(params, shifts, args)
        if graph.overruled:  # the user's own rules, in place of what they were inlined to
            slope = jax.grad(loss)(params, args)
        return value, slope, slopes, seen

    zeros = {atom: np.zeros(graph.shape(atom), graph.shapes[atom].dtype) for atom in outputs}

    def one_pass(args: list[Any], shifts: Mapping[int, Any] | None = None) -> Pass:
        moved = {atom: np.asarray(shift, zeros[atom].dtype) for atom, shift in (shifts or {}).items()}
        with explained():
            return Pass(*run(traced.given.params, args, zeros | moved))

    return one_pass


def _is_small(graph: Graph) -> bool:
    """Whether few numbers are through before a compiler has made the most of them."""
    return jax.default_backend() == "cpu" and numbers(graph, graph.program) < FEW_NUMBERS


def numbers(graph: Graph, program: Program) -> int:
    """The numbers that a program makes, steps of scans counted one by one."""
    made = 0
    for node in program.nodes:
        made += sum(math.prod(graph.shape(out)) for out in node.outs)
        if node.body is not None:
            made += node.params.get("length", 1) * numbers(graph, node.body)
    return made


def look_at_layer(graph: Graph, layer: Layer, blocks: int, on_host: bool) -> Watch:
    """Some of the vectors that go into a layer, and statistics of all of them by channel.

    on_host: a dense layer's are made by NumPy, which has nothing to compile, of all that goes in.
    """
    most = max(8, -(-SAMPLE // (blocks * layer.repeats)))

    def watch(ins: list[Any], outs: list[Any]) -> dict[str, Any]:
        if layer.kind == "embed":
            tokens = ins[layer.rows][..., 0].ravel()
            counts = jnp.zeros(layer.inputs, jnp.int32).at[tokens].add(1)
            return {"counts": counts, "largest": tokens.max(initial=0)}
        return _statistics(*(part.astype(jnp.float32) for part in input_rows(layer, ins[layer.rows], most)))

    def read(seen: np.ndarray) -> dict[str, np.ndarray]:
        shape = graph.shape(layer.node.ins[layer.rows])
        steps = seen.shape[: seen.ndim - len(shape)]  # of the scans that it is in
        each = [_statistics(*input_rows(layer, one, most)) for one in seen.reshape(-1, *shape).astype(np.float64)]
        return {name: np.array([told[name] for told in each]).reshape(*steps, *each[0][name].shape) for name in each[0]}

    return Watch(lambda ins, outs: ins[layer.rows], read) if on_host and layer.kind == "dense" else Watch(watch)


def _statistics(rows: Any, channels: Any) -> dict[str, Any]:
    mean = channels.mean(0)
    return {
        "rows": rows,
        "mean": mean,
        "second": ((channels - mean) ** 2).mean(0),
        "low": channels.min(0),
        "high": channels.max(0),
    }


class MeasuredLoss(NamedTuple):
    """Of all blocks: the mean loss and gradient, and what was seen in each block at each node."""

    loss: float
    gradient: list[Any]
    first: Pass
    seen: dict[Node, list[Any]]


@np.errstate(over="ignore", invalid="ignore")  # of a loss that is not finite
def measure(traced: Traced, run: Runner, watches: Mapping[Node, Watch], progress: OnProgress) -> MeasuredLoss:
    """One pass over the blocks."""
    total, gradient, first = 0.0, None, None
    seen: dict[Node, list[Any]] = {}
    count = len(traced.places())
    for index, args in enumerate(traced.blocks()):
        progress(Progress(index, count, "rows"))
        made = run(args)
        first = first or made
        total += float(made.loss) / count
        if count == 1:
            gradient = made.gradient
        else:  # on the host, for JAX would compile as many programs as there are shapes
            shares = [np.asarray(slope) / slope.dtype.type(count) for slope in made.gradient]
            gradient = shares if gradient is None else [np.add(*pair) for pair in zip(gradient, shares, strict=True)]
        for node, value in made.seen.items():
            seen.setdefault(node, []).append(watches[node].read(jax.tree.map(np.asarray, value)))
    assert first is not None
    assert gradient is not None
    return MeasuredLoss(total, gradient, first, seen)


def watches_of(traced: Traced, layers: Sequence[Layer], units: Sequence[Unit], end: Ending) -> dict[Node, Watch]:
    """All that is looked at in a pass; of comparisons what is compared, as far as it is small."""
    graph, blocks = traced.graph, len(traced.places())
    small = _is_small(graph)
    watches = {layer.node: look_at_layer(graph, layer, blocks, small) for layer in layers}
    watches |= {unit.node: Watch(watch_unit(unit, traced)) for unit in units}

    def compared(output: int, target: int) -> Watch:
        return Watch(lambda ins, outs: (ins[output], ins[target]))

    for comparison in end.comparisons:
        ins = comparison.node.ins
        if all(np.prod(graph.shape(atom)) <= MOST_VALUES for atom in (comparison.output, comparison.target)):
            watches[comparison.node] = compared(ins.index(comparison.output), ins.index(comparison.target))
    return watches
