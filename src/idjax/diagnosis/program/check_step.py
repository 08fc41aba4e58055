"""A check of a training step: which parameters it changed, whether they are finite, whether the loss fell."""

import copy
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.report.formatting import listed
from idjax.results.program import StepCheck
from idjax.types import IdjaxError


def check_step(step: Callable, state: Any, batch: Any) -> StepCheck:
    """One call of a training step, checked: the parameters that did not change or broke, and whether the loss fell.

    Args:
      step: step(state, batch); it returns the new state, alone or with others, of which a number is taken for the loss.
        A step of NNX may change the model in place and return the loss.
      state: a TrainState, a nest of arrays, or an nnx.Module or tuple with one.
      batch: what the step takes besides.

    Returns:
      The parameters that did not change, those that are not finite, and the loss before and after.

    Raises:
      IdjaxError: for a state without real numbers, and a step that returns no state.

    Example:
      >>> def step(params, x):
      ...     loss, slope = jax.value_and_grad(lambda w: jnp.sum((x @ w) ** 2))(params["w"])
      ...     return {"w": params["w"] - 0.01 * slope, "b": params["b"]}, loss
      >>> found = check_step(step, {"w": jnp.ones(2), "b": jnp.ones(1)}, jnp.eye(2))
      >>> found.unchanged, found.fell
      (('b',), True)
    """
    before = _numbers(state)
    if not before:
        raise IdjaxError("the state holds no real numbers: give what the step takes first, with the parameters in it")
    after, losses = _called(step, _copied(state), batch)
    told = _numbers(after)
    if told.keys() != before.keys():
        raise IdjaxError("the step returned no state like the one it was given: return the new state first")
    unchanged = tuple(name for name, values in before.items() if np.array_equal(values, told[name]))
    broken = tuple(name for name, values in told.items() if not np.isfinite(values).all())
    losses += _called(step, after, batch)[1]
    first, second = (losses[0], losses[-1]) if len(losses) > 1 else (float("nan"), float("nan"))
    return StepCheck(_verdict(unchanged, broken, len(before), first, second), unchanged, broken, first, second)


def _verdict(unchanged: tuple[str, ...], broken: tuple[str, ...], count: int, first: float, second: float) -> str:
    if broken:
        return f"not finite after one step: {listed(broken)}"
    if len(unchanged) == count:
        why = "a jax.jit where nnx.jit was meant, a state that is not returned"
        return f"no parameter changed: the step throws its update away ({why}), or there is no gradient"
    fell = "" if np.isnan(first) else f"; the loss of the batch {'fell' if second < first else 'did not fall'}"
    return (f"unchanged: {listed(unchanged)}" if unchanged else "every parameter changed") + fell


def _called(step: Callable, state: Any, batch: Any) -> tuple[Any, list[float]]:
    """The state after a call, and the numbers that were returned beside it."""
    made = step(*state, batch) if isinstance(state, tuple) and _modules(state) else step(state, batch)
    parts: list[Any] = list(made) if isinstance(made, tuple) and not hasattr(made, "_fields") else [made]
    losses = [float(part) for part in parts if _is_number(part) and jnp.ndim(part) == 0] if not _modules(made) else []
    if _modules(state):
        return state, losses
    like = jax.tree.structure(state)
    return next((part for part in parts if jax.tree.structure(part) == like), None), losses


def _is_number(part: Any) -> bool:
    return isinstance(part, float | np.generic | jax.Array) and jnp.issubdtype(jnp.result_type(part), jnp.floating)


def _modules(state: Any) -> list[Any]:
    nnx = sys.modules.get("flax.nnx")
    if nnx is None:
        return []
    return [part for part in (state if isinstance(state, tuple) else (state,)) if isinstance(part, nnx.Module)]


def _copied(state: Any) -> Any:
    """A copy that the step may write into, or donate."""
    return (
        copy.deepcopy(state)
        if _modules(state)
        else jax.tree.map(lambda leaf: jnp.array(leaf) if isinstance(leaf, jax.Array | np.ndarray) else leaf, state)
    )


def _numbers(state: Any) -> dict[str, np.ndarray]:
    """The parameters by their paths: params of a TrainState, the Params of modules, else all real numbers."""
    if modules := _modules(state):
        nnx = sys.modules["flax.nnx"]
        nest: Any = [nnx.to_pure_dict(nnx.state(module, nnx.Param)) for module in modules]
        nest = nest[0] if len(nest) == 1 else nest
    else:
        nest = getattr(state, "params", state)
    leaves = jax.tree_util.tree_leaves_with_path(nest)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in leaves
        if isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating)
    }
