"""Flax models, linen or NNX, as pure functions of their parameters whose calls of layers can be listened to."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from idjax.diagnosis.program.rows import CalledLayer, CallInput, has_kernel, layer_of, looked_at, rows_of
from idjax.types import IdjaxError

Params = dict[Any, Any]
Heard = dict[str, CallInput]
LINEN_CURE = "pass kwargs={'train': True} (or the model's own flag) to normalise by the rows"
NNX_CURE = "call model.set_attributes(use_running_average=False) to normalise by the rows"
ATTENTION = (nn.MultiHeadDotProductAttention, nnx.MultiHeadAttention)


class Listener:
    """Hears the calls of layers while a model is traced: their inputs as rows, and what the layers are."""

    def __init__(self) -> None:
        self.heard: Heard = {}
        self.layers: dict[str, CalledLayer] = {}
        self.unseen: set[str] = set()

    def hear(self, module: Any, key: tuple[str | int, ...], method: str, x: Any, attention: bool) -> None:
        """Notes one call of a layer with input x."""
        name = "/".join(map(str, key)) or type(module).__name__.lower()
        if not looked_at(module, method):
            if has_kernel(module) and method == "__call__":
                self.unseen.add(name)
            return
        rows = rows_of(module, jnp.asarray(x))
        later = sum(layer.key == key for layer in self.layers.values())
        name = f"{name} (call {later + 1})" if later else name
        self.layers[name] = layer_of(module, name, key, attention, rows)
        self.heard[name] = rows


class Functional(NamedTuple):
    """run(params, inputs, listener) → outputs; params is a nest of dicts of arrays."""

    params: Params
    run: Callable[[Params, Any, Listener | None], Any]


def functional(model: Any, params: Any, kwargs: Mapping[str, Any], rngs: Any) -> Functional:
    """The model as a function.

    Args:
      model: a linen module, or an NNX module, which holds parameters of its own.
      params: of linen: {"params": ...} with its other collections, or what is in "params"; of NNX: None, or a state
        or nest of dicts to put in place of the model's own.
      kwargs, rngs: what the call takes besides the inputs; rngs of linen only.

    Raises:
      IdjaxError: for what is not a Flax model, or parameters that are missing.
    """
    if isinstance(model, nn.Module):
        return _linen(model, params, kwargs, rngs)
    if isinstance(model, nnx.Module):
        return _nnx(model, params, kwargs)
    if isinstance(model, type):
        raise IdjaxError(f"the model is the class {model.__name__}: make one, {model.__name__}(...)")
    raise IdjaxError(f"the model is of type {type(model).__name__}: give a flax.linen.Module or a flax.nnx.Module")


def positional(inputs: Any) -> tuple[Any, ...]:
    """A tuple of inputs is several arguments."""
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _linen(model: nn.Module, variables: Any, kwargs: Mapping[str, Any], rngs: Any) -> Functional:
    if not isinstance(variables, Mapping) or not variables:
        raise IdjaxError("a linen model has no parameters of its own: give model.init(key, inputs) as params")
    variables = dict(variables) if "params" in variables else {"params": variables}
    params = variables.pop("params")

    def run(params: Params, inputs: Any, listener: Listener | None = None) -> Any:
        def intercept(call: Callable, args: Any, given: Any, context: nn.module.InterceptorContext) -> Any:
            assert listener is not None
            module, x = context.module, args[0] if args else next(iter(given.values()), None)
            if isinstance(module, nn.BatchNorm):
                running = given.get("use_running_average", args[1] if len(args) > 1 else None)
                if module.use_running_average if running is None else running:
                    _require_statistics(module.path, _nested(variables.get("batch_stats", {}), module.path), LINEN_CURE)
            listener.hear(module, module.path, context.method_name, x, isinstance(module.parent, ATTENTION))
            return call(*args, **given)

        with nn.intercept_methods(intercept) if listener is not None else contextlib.nullcontext():
            # What a call changes, as the statistics of BatchNorm in training, is forgotten after it.
            outputs, _ = model.apply(
                {"params": params, **variables}, *positional(inputs), rngs=rngs, mutable=list(variables), **kwargs
            )
            return outputs

    return Functional(_numbers(nn.meta.unbox(params)), run)


def _nnx(model: nnx.Module, params: Any, kwargs: Mapping[str, Any]) -> Functional:
    for path, module in nnx.iter_modules(model):
        if isinstance(module, nnx.Dropout) and not module.deterministic and module.rate > 0:
            name = "/".join(map(str, path))
            raise IdjaxError(f"{name} drops at random: call model.eval() first, or set deterministic=True")
        if isinstance(module, nnx.BatchNorm) and module.use_running_average:
            _require_statistics(path, {"mean": module.mean[...], "var": module.var[...]}, NNX_CURE)
    graph, own, rest = nnx.split(model, nnx.Param, ...)
    held = nnx.to_pure_dict(own)
    if params is not None:
        given = nnx.to_pure_dict(params) if isinstance(params, nnx.State) else params
        _same_shapes(held, given)
        held = given

    def run(params: Params, inputs: Any, listener: Listener | None = None) -> Any:
        state = jax.tree.map(lambda leaf: leaf, own)
        nnx.replace_by_pure_dict(state, params)
        copy = nnx.merge(graph, state, jax.tree.map(lambda leaf: leaf, rest))
        if listener is not None:
            _listen(copy, listener)
        return copy(*positional(inputs), **kwargs)

    return Functional(_numbers(held), run)


def _nested(nest: Any, path: tuple[Any, ...]) -> Mapping[str, Any]:
    """The part of a nest of dicts at a path; empty if there is none."""
    for part in path:
        nest = nest.get(part, {})
    return nest


def _require_statistics(path: tuple[Any, ...], statistics: Mapping[str, Any], cure: str) -> None:
    """Raises for a BatchNorm in evaluation whose statistics were never updated: training sees another model."""
    mean, variance = (np.asarray(statistics.get(name, np.nan)) for name in ("mean", "var"))  # outside of any trace
    if not mean.any() and (variance == 1).all():
        name = "/".join(map(str, path))
        raise IdjaxError(
            f"{name} normalises nothing: its statistics are as init left them, mean 0 and variance 1; {cure}, or give "
            "those of a model in training"
        )


def _listen(model: nnx.Module, listener: Listener) -> None:
    """Makes each layer of this copy one of a class that tells the listener of its calls."""
    modules = dict(nnx.iter_modules(model))
    for path, module in modules.items():
        if has_kernel(module):
            kind = _told(type(module), path, isinstance(modules.get(path[:-1]), ATTENTION), listener)
            object.__setattr__(module, "__class__", kind)


def _told(kind: type, path: tuple[Any, ...], attention: bool, listener: Listener) -> type:
    """A layer of the kind given that tells the listener of its calls."""

    def call(self: Any, x: Any, *args: Any, **given: Any) -> Any:
        listener.hear(self, path, "__call__", x, attention)
        return kind.__call__(self, x, *args, **given)

    return type(kind.__name__, (kind,), {"__call__": call})


def _numbers(params: Params) -> Params:
    """The parameters as arrays; raises where they are not finite real numbers."""

    def real(path: Any, leaf: Any) -> jax.Array:
        name = f"params: {jax.tree_util.keystr(path, simple=True, separator='/')}"
        array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise IdjaxError(f"{name} is of type {array.dtype}: give arrays of real numbers, as init returns them")
        if not jnp.isfinite(array := jnp.asarray(array)).all():
            raise IdjaxError(f"{name} is not finite: give parameters from before training diverged")
        return array

    return jax.tree_util.tree_map_with_path(real, params, is_leaf=lambda leaf: leaf is None)


def _same_shapes(own: Params, given: Any) -> None:
    """Raises where the parameters given are not those that the model has."""
    if not isinstance(given, Mapping) or jax.tree.structure(own) != jax.tree.structure(given):
        raise IdjaxError("params have other names than the model's own: give nnx.state(model, nnx.Param), or None")
    for (path, ours), theirs in zip(jax.tree_util.tree_leaves_with_path(own), jax.tree.leaves(given), strict=True):
        if jnp.shape(ours) != jnp.shape(theirs):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise IdjaxError(f"params: {name} has shape {jnp.shape(theirs)}, the model's own {jnp.shape(ours)}")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns what Flax and JAX raise when a model is called wrongly into one line that says what to pass.

    Raises:
      IdjaxError: for whatever the call raised.
    """
    try:
        yield
    except IdjaxError:
        raise
    except jax.errors.UnexpectedTracerError as error:
        raise IdjaxError(
            "layers inside scan, vmap, remat, jit or an RNN cannot be looked at: build the model without these"
        ) from error
    except Exception as error:  # a model is anyone's code: whatever it raises is told in one line
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        first = re.sub(r"\s*\(https?://\S+\)", "", first).rstrip(".")
        raise IdjaxError(f"calling the model failed: {first}; {_remedy(error)}") from error


def _remedy(error: Exception) -> str:
    """Advice on what to pass instead, by the error."""
    text = str(error)
    if isinstance(error, flax.errors.InvalidRngError) or "needs PRNG" in text:
        stream = found[1] if (found := re.search(r'PRNG for "(\w+)"', text)) else "dropout"
        return f"pass kwargs={{'train': False}} (or the model's own flag), or rngs={{'{stream}': key}}"
    if isinstance(error, flax.errors.ScopeCollectionNotFound | flax.errors.ScopeVariableNotFoundError):
        return "pass all of model.init's collections as params, {'params': ..., 'batch_stats': ...}"
    if isinstance(error, flax.errors.ScopeParamNotFoundError | flax.errors.ScopeParamShapeError):
        return "the parameters are not this model's for these inputs: pass model.init(key, inputs)"
    if isinstance(error, TypeError) and "unexpected keyword" in text:
        return "leave it out of kwargs"
    if isinstance(error, TypeError) and "argument" in text:
        return "pass what it takes besides the inputs as kwargs={...}; a tuple of inputs is several arguments"
    return "check that the batch is (inputs, targets), rows first, and has the shapes that the model takes"
