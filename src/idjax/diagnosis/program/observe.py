"""Observation of a model in one pass over the rows: the inputs of every layer, the loss, its gradient."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.program.batch import blocks, cut
from idjax.diagnosis.program.functional import Functional, Listener, Params, explained
from idjax.diagnosis.program.layer_moments import Gathered, gather, token_counts
from idjax.diagnosis.program.rows import CalledLayer, CallInput
from idjax.types import IdjaxError, OnProgress, Progress


class Observed(NamedTuple):
    """Of all rows: the mean loss and its gradient, moments of each layer's inputs, counts of each embedding's tokens.

    overflowed: layers whose input was not finite.
    """

    loss: float
    gradient: Params
    gathered: dict[str, Gathered]
    tokens: dict[str, np.ndarray]
    overflowed: tuple[str, ...]


def listen(whole: Functional, batch: tuple[Any, Any], loss: Callable) -> Listener:
    """A listener that knows the layers, from a trace without numbers; what is wrong with a call is told here."""
    listener = Listener()
    inputs, targets = cut(batch, slice(0, 2))
    with explained():
        outputs = jax.eval_shape(lambda params: whole.run(params, inputs, listener), whole.params)
    if not listener.layers:
        raise IdjaxError("the model calls no Dense, Conv or Embed layer of Flax: there is nothing to look at")
    for layer in listener.layers.values():
        weights_of(whole.params, layer)
    try:
        value = jax.eval_shape(loss, outputs, targets)
    except Exception as error:
        line = str(error).strip().splitlines()[0]
        raise IdjaxError(f"the loss cannot take (outputs, targets): {line}") from error
    if not isinstance(value, jax.ShapeDtypeStruct):
        raise IdjaxError(f"the loss returned a {type(value).__name__}: return the mean, one number")
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise IdjaxError(f"the loss returned {value.dtype} of shape {value.shape}: return the mean, one real number")
    return listener


def observe(
    whole: Functional, batch: tuple[Any, Any], loss: Callable, listener: Listener, rows: int, progress: OnProgress
) -> Observed:
    """Inputs of all layers, the loss and its gradient, block by block."""

    @jax.jit
    def block(params: Params, inputs: Any, targets: Any) -> tuple[Any, Params]:
        def total(params: Params) -> tuple[jax.Array, dict[str, CallInput]]:
            here = Listener()
            value = loss(whole.run(params, inputs, here), targets)
            return value, jax.lax.stop_gradient(here.heard)

        return jax.value_and_grad(total, has_aux=True)(params)

    params, value = full(whole.params), 0.0
    gradient = jax.tree.map(jnp.zeros_like, params)
    gathered: dict[str, Gathered] = {}
    tokens: dict[str, np.ndarray] = {}
    overflowed: dict[str, None] = {}
    for begin, end in blocks(rows):
        progress(Progress(begin, rows, "rows"))
        with explained():
            (part, heard), slope = block(params, *cut(batch, slice(begin, end)))
        share = (end - begin) / rows
        value += share * float(part)
        gradient = jax.tree.map(lambda whole, part, share=share: whole + share * part, gradient, slope)
        for name, layer in listener.layers.items():
            if layer.kind == "embed":
                tokens[name] = token_counts(tokens.get(name), np.asarray(heard[name].rows), layer)
                continue
            given, channels = (
                np.asarray(part, np.float32 if part.dtype == jnp.bfloat16 else None) for part in heard[name]
            )
            if np.isfinite(channels).all():
                gathered[name] = gather(gathered.get(name), given, channels)
            else:
                overflowed[name] = None
    return Observed(value, gradient, gathered, tokens, tuple(overflowed))


def full(params: Params) -> Params:
    """Parameters of few digits in float32: derivatives are about the model, not about its rounding."""
    few = (jnp.bfloat16, jnp.float16)
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype in few else leaf, params)


def weights_of(params: Params, layer: CalledLayer) -> jax.Array:
    """A layer's kernel or embedding, of parameters or of what is nested as they are."""
    nest: Any = params
    for part in (*layer.key, layer.weight):
        if not isinstance(nest, Mapping) or part not in nest:
            raise IdjaxError(f"params have no {layer.weight} for {layer.name}: pass all of what init returned")
        nest = nest[part]
    return nest
