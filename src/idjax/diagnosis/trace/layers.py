"""Layers of a graph: products of a parameter with what is none, whatever library wrote them, and their inputs as rows.

A layer is y = a W (+ b) at every position: a dot_general, a convolution of any kind, or a gather of vectors.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from idjax.diagnosis.trace.graph import LAYOUT, Graph, Node, Program
from idjax.diagnosis.trace.walk import is_stacked

KERNELS = ("kernel", "embedding", "weight", "weights", "w", "value", "embeddings")
"""Last names of paths that say nothing which the layer's own name does not."""


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """One layer, of a scan with stacked parameters all of its steps.

    leaves:   indices of the parameters that the kernel is made of; bias: of those that are added.
    output:   what the layer gives, its bias added.
    kernel:   which of the node's inputs is the kernel, of this shape; rows: which is what it multiplies.
    steps:    of the scan that it is in, if each has a kernel of its own; 0 if not.
    repeats:  how often it is called with one kernel, by scans around it.
    epsilon:  relative spacing of the numbers that its input comes in.
    """

    node: Node
    name: str
    kind: Literal["dense", "conv", "embed"]
    leaves: tuple[int, ...]
    bias: tuple[int, ...]
    output: int
    kernel: int
    rows: int
    shape: tuple[int, ...]
    inputs: int
    outputs: int
    channels: int
    steps: int
    repeats: int
    epsilon: float

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, or in a scan with own kernels that of each step, as block[3]."""
        return tuple(f"{self.name}[{step}]" for step in range(self.steps)) or (self.name,)

    @property
    def output_axes(self) -> tuple[int, ...]:
        """The axes of the kernel that its outputs are along."""
        if self.kind == "conv":
            return (self.node.params["dimension_numbers"].rhs_spec[0],)
        if self.kind == "embed":
            return tuple(range(1, len(self.shape)))
        numbers = self.node.params["dimension_numbers"]
        taken = {*numbers[0][self.kernel], *numbers[1][self.kernel]}
        return tuple(axis for axis in range(len(self.shape)) if axis not in taken)


def find_layers(graph: Graph, names: Sequence[str]) -> tuple[Layer, ...]:
    """All layers in the order of the program; names are the paths of the parameters."""
    found: list[Layer] = []

    def within(program: Program, lengths: tuple[int, ...]) -> None:
        for node in program.nodes:
            if node.primitive == "scan":
                assert node.body is not None
                within(node.body, (*lengths, node.params["length"]))
            elif (sides := _sides(graph, node)) is not None:
                found.append(_layer(graph, program, node, sides, lengths, names))

    within(graph.program, ())
    return tuple(_numbered(found))


def _sides(graph: Graph, node: Node) -> tuple[int, int] | None:
    """Which input is the kernel and which the rows, if the node is a layer."""
    if node.primitive == "gather":
        return (0, 1) if graph.is_parameter(node.ins[0]) and graph.is_data(node.ins[1]) else None
    if node.primitive not in ("dot_general", "conv_general_dilated"):
        return None
    left, right = (graph.is_parameter(atom) for atom in node.ins[:2])
    if left == right or node.params.get("batch_group_count", 1) != 1:
        return None
    return (0, 1) if left else (1, 0)


def _layer(
    graph: Graph, program: Program, node: Node, sides: tuple[int, int], lengths: tuple[int, ...], names: Sequence[str]
) -> Layer:
    kernel, rows = node.ins[sides[0]], node.ins[sides[1]]
    shape, size = graph.shape(kernel), math.prod(graph.shape(kernel))
    if node.primitive == "gather":
        kind, inputs = "embed", shape[0]
        outputs = channels = size // max(1, inputs)
    elif node.primitive == "dot_general":
        kind, contracted, batch = "dense", *(part[sides[0]] for part in node.params["dimension_numbers"])
        inputs = channels = math.prod(shape[axis] for axis in contracted)
        outputs = size // max(1, inputs * math.prod(shape[axis] for axis in batch))
    else:
        numbers = node.params["dimension_numbers"]
        kind, outputs = "conv", shape[numbers.rhs_spec[0]]
        inputs, channels = size // outputs, graph.shape(rows)[numbers.lhs_spec[1]]
    steps = lengths[-1] if lengths and is_stacked(graph, node) else 0
    dtype = graph.shapes[rows].dtype if isinstance(rows, int) else np.dtype(np.float32)
    leaves = graph.leaves(kernel)
    bias, output = _bias(graph, program, node)
    return Layer(
        node=node,
        name=joined_name([names[leaf] for leaf in leaves]),
        kind=kind,
        leaves=leaves,
        bias=bias,
        output=output,
        kernel=sides[0],
        rows=sides[1],
        shape=shape,
        inputs=inputs,
        outputs=outputs,
        channels=channels,
        steps=steps,
        repeats=math.prod(lengths) // max(1, steps),
        epsilon=float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0,
    )


def joined_name(paths: Sequence[str]) -> str:
    """The name of a layer of parameters with these paths: dense1 of params/dense1/kernel, cell/{hf,hi} of several.

    Example:
      >>> joined_name(["params/dense1/kernel"]), joined_name(["cell/hf/kernel", "cell/hi/kernel"])
      ('dense1', 'cell/{hf,hi}')
    """
    parts = [path.removeprefix("params/").split("/") for path in paths]
    parts = [path[:-1] if len(path) > 1 and path[-1] in KERNELS else path for path in parts]
    if len(parts) == 1:
        return "/".join(parts[0])
    shared = 0
    while all(len(path) > shared + 1 and path[shared] == parts[0][shared] for path in parts):
        shared += 1
    rest = ",".join(dict.fromkeys("/".join(path[shared:]) for path in parts))
    return "/".join([*parts[0][:shared], f"{{{rest}}}" if "," in rest else rest])


def _bias(graph: Graph, program: Program, node: Node) -> tuple[tuple[int, ...], int]:
    """The parameters that are added to a layer's output, and what comes of that."""
    atom = node.outs[0]
    while len(users := program.users.get(atom, [])) == 1:
        (later,) = users
        if later.primitive == "add":
            other = next((given for given in later.ins if given != atom), None)
            if other is not None and graph.is_parameter(other):
                return graph.leaves(other), later.outs[0]
            break
        if later.primitive not in LAYOUT:
            break
        atom = later.outs[0]
    return (), node.outs[0]


def _numbered(layers: Sequence[Layer]) -> list[Layer]:
    """Later calls of a layer with a number."""
    calls: dict[str, int] = {}
    told = []
    for layer in layers:
        calls[layer.name] = calls.get(layer.name, 0) + 1
        name = layer.name if calls[layer.name] == 1 else f"{layer.name} (call {calls[layer.name]})"
        told.append(dataclasses.replace(layer, name=name))
    return told


def input_rows(layer: Layer, x: Array, most: int) -> tuple[Array, Array]:
    """Some of the vectors that the kernel multiplies, (n, p), and all of the input with its channels last, (m, c)."""
    if layer.kind == "conv":
        channels = jnp.moveaxis(x, layer.node.params["dimension_numbers"].lhs_spec[1], -1)
        return _patches(layer, x, most), channels.reshape(-1, layer.channels)
    contracted = layer.node.params["dimension_numbers"][0][layer.rows]
    others = [axis for axis in range(x.ndim) if axis not in contracted]
    rows = x.transpose(*others, *contracted).reshape(-1, layer.inputs)  # of NumPy, too
    return rows[_evenly(len(rows), most)], rows


def _evenly(count: int, most: int) -> np.ndarray:
    """Places of at most so many rows: of all, or of some drawn with a fixed seed, in their order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def _patches(layer: Layer, x: Array, most: int) -> Array:
    """Patches that the kernel is laid over, at places drawn with a fixed seed; of all groups one after another."""
    given = layer.node.params
    numbers, strides, spread = given["dimension_numbers"], given["window_strides"], given["rhs_dilation"]
    holes = [(*pad, hole - 1) for pad, hole in zip(given["padding"], given["lhs_dilation"], strict=True)]
    x = jax.lax.pad(jnp.transpose(x, numbers.lhs_spec), jnp.zeros((), x.dtype), [(0, 0, 0), (0, 0, 0), *holes])
    sizes = [layer.shape[axis] for axis in numbers.rhs_spec[2:]]
    window = zip(x.shape[2:], sizes, strides, spread, strict=True)
    positions = [(extent - (size - 1) * hole - 1) // stride + 1 for extent, size, stride, hole in window]
    drawn = _evenly(len(x) * math.prod(positions), most)
    row, *corners = (place[:, None] for place in np.unravel_index(drawn, (len(x), *positions)))
    channel, *offsets = (offset.reshape(1, -1) for offset in np.indices((x.shape[1], *sizes)))
    steps = zip(corners, offsets, strides, spread, strict=True)
    reached = [corner * stride + offset * hole for corner, offset, stride, hole in steps]
    return x[(row, channel, *reached)].reshape(-1, layer.inputs)
