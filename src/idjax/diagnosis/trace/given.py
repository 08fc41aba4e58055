"""A loss and what it is called with, of any library, as a function of flat lists of arrays."""

import contextlib
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.types import IdjaxError

MOST_NUMBERS = 32
"""Numbers in a nest that are settings; of more, rows."""


@dataclasses.dataclass(frozen=True, eq=False)
class GivenLoss:
    """loss(params, args) → a scalar, both as lists of arrays.

    whole:      the same, all that the loss returns, with aux where it has one.
    names:      paths of the parameters; arg_names of the arrays in the arguments, as x or batch/image.
    nested:     parameters from the list, as the user nests them; bare: without what is not learned, for optimizers.
    again:      the loss called with other parameters and arguments, which may have no values yet.
    """

    loss: Callable[[list[Any], list[Any]], Any]
    whole: Callable[[list[Any], list[Any]], Any]
    params: list[Any]
    names: tuple[str, ...]
    args: list[Any]
    arg_names: tuple[str, ...]
    nested: Callable[[list[Any]], Any]
    bare: Callable[[list[Any]], Any]
    again: Callable[..., "GivenLoss"]


def given_loss(
    loss: Any, params: Any, args: tuple[Any, ...], has_aux: bool = False, *, traced: bool = False
) -> GivenLoss:
    """The loss as a function of arrays.

    Args:
      loss, params, args, has_aux: as for jax.value_and_grad; params may be a TrainState or an nnx.Module too.
      traced: whether the parameters may have no values yet, as under jit; they are not looked at then.

    Raises:
      IdjaxError: for parameters without real numbers, and arguments that are no numbers.
    """
    if not callable(loss):
        raise IdjaxError(f"the loss is of type {type(loss).__name__}: give the function that you differentiate")
    if hasattr(loss, "init") and hasattr(loss, "apply"):
        raise IdjaxError(f"the loss is a model, {type(loss).__name__}: give a function of params and arrays")
    params, nest = _parts(params)
    found, tree = jax.tree_util.tree_flatten_with_path(params, is_leaf=lambda leaf: leaf is None)
    state = isinstance(params, Mapping) and "params" in params  # beside linen's parameters, statistics of BatchNorm
    learned = [
        index
        for index, (path, leaf) in enumerate(found)
        if _is_real(path, leaf) and (not state or getattr(path[0], "key", "") == "params")
    ]
    if not learned:
        raise IdjaxError("params hold no real numbers: give what init returned, or the model itself")
    if not traced:
        _require_finite(found, learned)
    leaves = [leaf for _, leaf in found]
    given, arg_tree = jax.tree_util.tree_flatten_with_path(args, is_leaf=lambda leaf: leaf is None)
    _require_arrays(loss, given)
    arrays = [index for index, (path, leaf) in enumerate(given) if _is_array(_arg_name(loss, path), leaf)]
    arg_leaves = [leaf for _, leaf in given]

    def nested(values: list[Any]) -> Any:
        return nest(jax.tree.unflatten(tree, _put(leaves, learned, values)))

    def whole(values: list[Any], inputs: list[Any]) -> Any:
        made: Any = loss(nested(values), *jax.tree.unflatten(arg_tree, _put(arg_leaves, arrays, inputs)))
        if has_aux and not (isinstance(made, tuple) and len(made) == 2):
            raise IdjaxError(f"has_aux: the loss returned a {type(made).__name__}: return (loss, aux)")
        return made

    return GivenLoss(
        loss=lambda values, inputs: whole(values, inputs)[0] if has_aux else whole(values, inputs),
        whole=whole,
        params=[jnp.asarray(leaves[index]) for index in learned],
        names=tuple(_path(found[index][0]) for index in learned),
        args=[arg_leaves[index] for index in arrays],
        arg_names=tuple(_arg_name(loss, given[index][0]) for index in arrays),
        nested=nested,
        bare=lambda values: jax.tree.unflatten(tree, _put([None] * len(leaves), learned, values)),
        again=lambda params, *args: given_loss(loss, params, args, has_aux, traced=True),
    )


def _put(leaves: list[Any], places: list[int], values: list[Any]) -> list[Any]:
    made = list(leaves)
    for place, value in zip(places, values, strict=True):
        made[place] = value
    return made


def _parts(params: Any) -> tuple[Any, Callable[[Any], Any]]:
    """A nest of arrays with the parameters, and the function that makes the loss's first argument of it."""
    if hasattr(params, "apply_gradients") and hasattr(params, "params"):
        params = params.params
    nnx = sys.modules.get("flax.nnx")
    if nnx is not None and isinstance(params, nnx.Module):
        graph, own, rest = nnx.split(params, nnx.Param, ...)
        # Each call has a copy: what it writes, as statistics, is forgotten after it.
        return nnx.to_pure_dict(own), lambda values: nnx.merge(
            graph, _stated(nnx, own, values), jax.tree.map(lambda leaf: leaf, rest)
        )
    if isinstance(params, type):
        raise IdjaxError(f"params is the class {params.__name__}: make one, {params.__name__}(...)")
    return params, lambda values: values


def _stated(nnx: Any, own: Any, values: Any) -> Any:
    state = jax.tree.map(lambda leaf: leaf, own)
    nnx.replace_by_pure_dict(state, values)
    return state


def _is_real(path: Any, leaf: Any) -> bool:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise IdjaxError(f"params: {_path(path)} is of type ShapeDtypeStruct: give arrays, as init returns them")
    if isinstance(leaf, float | np.floating):  # that of a module, as a layer's epsilon, is a setting
        return not (path and isinstance(path[-1], jax.tree_util.GetAttrKey))
    return isinstance(leaf, np.ndarray | jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)


def _is_array(name: str, leaf: Any) -> bool:
    if not isinstance(leaf, np.ndarray | np.generic | jax.Array):
        return False
    key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    if not (key or jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool):
        raise IdjaxError(f"{name} is of type {leaf.dtype}: give numbers")
    return True


def _require_arrays(loss: Any, given: list[tuple[Any, Any]]) -> None:
    """Raises for lists of numbers, in which each number would be an argument of its own."""
    loose = [path for path, leaf in given if isinstance(leaf, int | float) and len(path) > 1]
    if len(loose) > MOST_NUMBERS:
        name = _arg_name(loss, loose[0][:1])
        raise IdjaxError(f"{name} is a list of numbers: give an array, np.asarray({name})")


def _require_finite(found: list[tuple[Any, Any]], learned: list[int]) -> None:
    for index in learned:
        path, leaf = found[index]
        if not np.isfinite(np.asarray(leaf, np.float32)).all():
            raise IdjaxError(f"params: {_path(path)} is not finite: give parameters from before training diverged")


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/") or "params"


def _arg_name(loss: Callable, path: Any) -> str:
    """An argument's own name in place of its number."""
    try:
        names = list(inspect.signature(loss).parameters.values())[1:]
    except (TypeError, ValueError):
        names = []
    index, rest = int(getattr(path[0], "idx", 0)), jax.tree_util.keystr(path[1:], simple=True, separator="/")
    named = index < len(names) and names[index].kind is not inspect.Parameter.VAR_POSITIONAL
    name = names[index].name if named else f"args[{index}]"
    return f"{name}/{rest}" if rest else name


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns what JAX and the libraries raise when a loss is called wrongly into one line that says what to pass.

    Raises:
      IdjaxError: for whatever the call raised.
    """
    try:
        yield
    except IdjaxError:
        raise
    except Exception as error:  # a loss is anyone's code: whatever it raises is told in one line
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        first = f"no {first}" if isinstance(error, KeyError) else first
        first = re.sub(r"\s*\(https?://\S+\)", "", first).rstrip(".:")
        raise IdjaxError(f"calling the loss failed: {first}; {_remedy(error)}") from error


def _remedy(error: Exception) -> str:
    """Advice on what to pass instead, by the error."""
    text, name = str(error), type(error).__name__
    if name == "InvalidRngError" or "needs PRNG" in text or "PRNGKey" in text or "non-None rng" in text.lower():
        return "pass rngs to the model inside the loss, or its flag for evaluation (train=False, deterministic=True)"
    if name in ("TraceContextError", "ModifyScopeVariableError", "UnexpectedTracerError") or "mutate" in text.lower():
        return "a loss may not change what is outside of it: return new state as aux, with has_aux=True"
    if isinstance(error, jax.errors.ConcretizationTypeError | jax.errors.TracerArrayConversionError):
        return "the loss must be traceable, as under jax.jit: jnp in place of np, jnp.where in place of if"
    if name in ("ScopeCollectionNotFound", "ScopeVariableNotFoundError"):
        return "pass all of model.init's collections, {'params': ..., 'batch_stats': ...}"
    if name in ("ScopeParamNotFoundError", "ScopeParamShapeError"):
        return "the parameters are not this model's for these inputs: pass model.init(key, inputs)"
    if isinstance(error, TypeError) and "argument" in text:
        return "give loss, params and arguments exactly as to jax.value_and_grad"
    return "check that jax.value_and_grad(loss)(params, *args) runs"
