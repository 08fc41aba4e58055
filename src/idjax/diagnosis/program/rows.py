"""Inputs of a Flax layer's call as the rows that its kernel multiplies: vectors, or a convolution's patches.

A layer is y = a W (+ b) at every position, whatever its name: rows are those a, one a position, (n, p).
"""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from jaxtyping import Array, Num

MOST_VALUES = 2**22
"""Numbers that a call gives at most, 16 MiB: of more, positions drawn with a fixed seed."""

DENSE = (nn.Dense, nnx.Linear)
GENERAL = (nn.DenseGeneral, nnx.LinearGeneral)
CONV = (nn.Conv, nnx.Conv)
EMBED = (nn.Embed, nnx.Embed)
KNOWN = (*DENSE, *GENERAL, *CONV, *EMBED)
OTHERS = (nn.ConvTranspose, nn.ConvLocal, nn.Einsum, nnx.ConvTranspose, nnx.Einsum)
"""Layers with a kernel whose inputs are not looked at."""


class CallInput(NamedTuple):
    """The input of a call of a layer.

    rows:      (n, p), or for an embedding the tokens, (n,).
    channels:  (m, c), the input as it came; the same as rows but for convolutions.
    """

    rows: Num[Array, "n ..."]
    channels: Num[Array, "m ..."]


class CalledLayer(NamedTuple):
    """A layer that was called: where its parameters are, how wide it is.

    key: of its parameters in the model's; a name is the key with slashes, and a number for later calls.
    epsilon: relative spacing of the numbers that its input came in.
    """

    name: str
    key: tuple[str | int, ...]
    kind: Literal["dense", "conv", "embed", "attention"]
    inputs: int
    outputs: int
    weight: str
    bias: bool
    epsilon: float


def looked_at(module: Any, method: str) -> bool:
    """Whether this is a call of a layer that `rows_of` knows."""
    return isinstance(module, KNOWN) and method == "__call__" and not _batched(module) and not _stretched(module)


def has_kernel(module: Any) -> bool:
    """Whether this is a layer of Flax with weights that multiply, looked at or not."""
    return isinstance(module, (*KNOWN, *OTHERS))


def layer_of(module: Any, name: str, key: tuple[str | int, ...], attention: bool, rows: CallInput) -> CalledLayer:
    """The description of a module that was called, without Flax in it."""
    embed = isinstance(module, EMBED)
    features = module.features if hasattr(module, "features") else module.out_features
    return CalledLayer(
        name=name,
        key=key,
        kind="attention" if attention else "embed" if embed else "conv" if isinstance(module, CONV) else "dense",
        inputs=module.num_embeddings if embed else rows.rows.shape[1],
        outputs=features if isinstance(features, int) else math.prod(features),
        weight="embedding" if embed else "kernel",
        bias=bool(getattr(module, "use_bias", False)),
        epsilon=0.0 if embed or rows.rows.dtype.kind in "iub" else float(jnp.finfo(rows.rows.dtype).eps),
    )


def rows_of(module: Any, x: Num[Array, "..."]) -> CallInput:
    """The rows that the module's kernel multiplies in a call with input x."""
    if isinstance(module, EMBED):
        tokens = _drawn(jnp.ravel(x), 1)
        return CallInput(tokens, tokens)
    if isinstance(module, CONV):
        return _patches(module, x)
    if isinstance(module, GENERAL):
        axes = (module.axis,) if isinstance(module.axis, int) else tuple(module.axis)
        x = jnp.moveaxis(x, axes, range(-len(axes), 0))
        width = math.prod(x.shape[-len(axes) :])
    else:
        width = x.shape[-1]
    rows = _drawn(x.reshape(-1, width), width)
    return CallInput(rows, rows)


def _batched(module: Any) -> bool:
    """Dense layers with a kernel for each of some positions, which have no one second moment."""
    return bool(getattr(module, "batch_dims", ()) or getattr(module, "batch_axis", {}))


def _stretched(module: Any) -> bool:
    """Convolutions with holes in their input, which are transposed ones."""
    stretch = getattr(module, "input_dilation", None)
    return stretch not in (None, 1) and any(
        hole != 1 for hole in (stretch if isinstance(stretch, tuple) else [stretch])
    )


def _patches(module: Any, x: jax.Array) -> CallInput:
    """Every patch that the kernel is laid over; those of the groups of a grouped convolution one after the other."""
    sizes = (module.kernel_size,) if isinstance(module.kernel_size, int) else tuple(module.kernel_size)
    rank = len(sizes)

    def each(value: Any) -> tuple[int, ...]:
        return (1 if value is None else value,) * rank if value is None or isinstance(value, int) else tuple(value)

    strides, holes = each(module.strides), each(module.kernel_dilation)
    x = x.reshape(-1, *x.shape[-rank - 1 :])
    channels = _drawn(x.reshape(-1, x.shape[-1]), x.shape[-1])
    groups, width = module.feature_group_count, math.prod(sizes) * x.shape[-1]
    # Of many patches only those of some images are formed.
    images = max(1, MOST_VALUES // (width * max(1, math.prod(x.shape[1:-1]) // math.prod(strides))))
    x = x[np.linspace(0, len(x) - 1, min(images, len(x))).astype(int)]
    x, padding = _padded(x, module.padding, sizes, holes)
    names = (0, rank + 1, *range(1, rank + 1))
    patches = jax.lax.conv_general_dilated_patches(
        x, sizes, strides, padding, rhs_dilation=holes,
        dimension_numbers=jax.lax.ConvDimensionNumbers(names, (rank + 1, rank, *range(rank)), names),
    )  # fmt: skip
    rows = patches.reshape(-1, width // groups)
    return CallInput(_drawn(rows, rows.shape[1]), channels)


def _padded(x: jax.Array, padding: Any, sizes: tuple[int, ...], holes: tuple[int, ...]) -> tuple[jax.Array, Any]:
    """The input with what Flax itself pads, and the padding that is left to XLA."""
    if padding in ("CIRCULAR", "REFLECT"):
        reach = [(size - 1) * hole + 1 for size, hole in zip(sizes, holes, strict=True)]
        pads = [(0, 0), *(((r - 1) // 2, r // 2) for r in reach), (0, 0)]
        return jnp.pad(x, pads, mode="wrap" if padding == "CIRCULAR" else "reflect"), "VALID"
    if padding == "CAUSAL":
        return jnp.pad(x, [(0, 0), (holes[0] * (sizes[0] - 1), 0), (0, 0)]), "VALID"
    if isinstance(padding, int):
        return x, [(padding, padding)] * len(sizes)
    if isinstance(padding, str):
        return x, padding
    return x, [(pad, pad) if isinstance(pad, int) else tuple(pad) for pad in padding]


def _drawn(rows: jax.Array, width: int) -> jax.Array:
    """All rows, or as many as are allowed, in their order."""
    most = max(1, MOST_VALUES // width)
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))]
