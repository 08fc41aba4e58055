"""Diagnosis of a Flax model: the loss closure that it trains by, given to `diagnose_loss`."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from idjax.diagnosis.program.curable import CurableProgram
from idjax.diagnosis.program.diagnose_loss import diagnosed
from idjax.diagnosis.trace.given import given_loss
from idjax.diagnosis.trace.rule import UpdateRule, update_rule
from idjax.settings import DiagnosisSettings, Settings
from idjax.types import IdjaxError, OnProgress, silent

TARGETS = ("label", "labels", "target", "targets", "y")
"""What the targets are called in a batch that is a mapping."""
OPTAX = {"momentum": "momentum", "beta_1": "b1", "beta_2": "b2", "epsilon": "eps", "weight_decay": "weight_decay"}
OTHER_NAMES = {("rmsprop", "beta_2"): "decay", ("adadelta", "beta_2"): "rho"}


def diagnose_model(
    model: Any,
    params: Any,
    batch: Any,
    loss: Callable[[Any, Any], Any],
    settings: Settings | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    rngs: Any = None,
    codes: Iterable[str] | None = None,
    source: str = "",
    batches: Any = None,
    prove: bool = False,
    progress: OnProgress = silent,
) -> CurableProgram:
    """`diagnose_loss` of a Flax model and a loss of its outputs: why training will fail or be slow, and the cure.

    Args:
      model: a flax.linen module, or a flax.nnx module.
      params: what linen's init returned, all collections, or a TrainState, whose optimizer is then looked at; None for
        NNX, whose modules hold their own.
      batch: (inputs, targets), or a mapping of both, with the rows first. A tuple of inputs is several arguments.
      loss: of (outputs, targets) → the mean over the rows, a scalar.
      settings: optimizer, learning rate, epsilon and momentum of the run; the rest is not used.
      kwargs, rngs: what the model takes besides the inputs, such as {"train": False}; rngs of linen only.
      batches: what training sees, for cures and rates: an iterator of batches, or a function of the step that gives
        one; the batch throughout if not given.
      codes, source, prove, progress: as of `diagnose_loss`.

    Raises:
      IdjaxError: for what is no Flax model, parameters or shapes that do not match, and calls that need more; the line
        says what to pass.

    Example:
      >>> x = np.random.default_rng(0).normal(10, 1, (64, 3)).astype(np.float32)
      >>> params = nn.Dense(2).init(jax.random.key(0), x)
      >>> found = diagnose_model(nn.Dense(2), params, (x, x[:, :2]), lambda out, y: ((out - y) ** 2).mean())
      >>> [(finding.code, finding.layers) for finding in found.causes]
      [('layer-mean', ('kernel',))]
    """
    optimizer = None
    if hasattr(params, "apply_gradients"):
        optimizer = params.tx
        params = {"params": params.params, "batch_stats": getattr(params, "batch_stats", {})}
    inputs, targets = _arrays(batch)
    held, call = _called(model, params, dict(kwargs or {}), rngs)

    def whole(held: Any, inputs: Any, targets: Any) -> Any:
        with _explained():
            outputs = call(held, *(inputs if isinstance(inputs, tuple) else (inputs,)))
        return loss(outputs, targets)

    given = given_loss(whole, held, (inputs, targets))
    rule = _rule(settings or DiagnosisSettings()) if optimizer is None else update_rule(optimizer, None, given)
    found = diagnosed(given, rule, codes, source or type(model).__name__, progress, _of_training(batches))
    return found.proven() if prove else found


def _rule(settings: Settings) -> UpdateRule:
    """The optimizer of these settings, as optax has it."""
    given = {name: getattr(settings, name) for name in OPTAX if getattr(settings, name) not in (None, 0)}
    named = {OTHER_NAMES.get((settings.optimizer, name), OPTAX[name]): value for name, value in given.items()}
    return update_rule(settings.optimizer, settings.learning_rate, **named)


def _called(model: Any, params: Any, kwargs: dict[str, Any], rngs: Any) -> tuple[Any, Callable[..., Any]]:
    """The parameters that are learned, and the model as a function of them and of the inputs."""
    if isinstance(model, nnx.Module):
        return _with(model, params), lambda model, *inputs: model(*inputs, **kwargs)
    if isinstance(model, type):
        raise IdjaxError(f"the model is the class {model.__name__}: make one, {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        raise IdjaxError(f"the model is of type {type(model).__name__}: give a flax.linen.Module or a flax.nnx.Module")
    if not isinstance(params, Mapping) or not params:
        raise IdjaxError("a linen model has no parameters of its own: give model.init(key, inputs) as params")
    variables = dict(params) if "params" in params else {"params": params}
    held = nn.meta.unbox(variables.pop("params"))

    def call(held: Any, *inputs: Any) -> Any:
        # What a call changes, as the statistics of BatchNorm in training, is forgotten after it.
        changed = list(variables)
        outputs, state = model.apply({"params": held, **variables}, *inputs, rngs=rngs, mutable=changed, **kwargs)
        _require_statistics(variables.get("batch_stats", {}), state.get("batch_stats", {}))
        return outputs

    return held, call


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turns what a model's call raises for its flags and random numbers into one line that says what to pass."""
    try:
        yield
    except (TypeError, flax.errors.InvalidRngError) as error:
        first = str(error).strip().splitlines()[0].rstrip(".")
        remedy = "check that the batch is (inputs, targets), rows first, and has the shapes that the model takes"
        if isinstance(error, flax.errors.InvalidRngError):
            remedy = "pass kwargs={'train': False} (or the model's own flag), or rngs={'dropout': key}"
        elif "unexpected keyword" in first:
            remedy = "leave it out of kwargs"
        elif "argument" in first:
            remedy = "pass what it takes besides the inputs as kwargs={...}; a tuple of inputs is several arguments"
        raise IdjaxError(f"calling the model failed: {first}; {remedy}") from error


def _require_statistics(before: Any, after: Any) -> None:
    """Raises for a BatchNorm in evaluation whose statistics were never updated: training sees another model."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(before):
        *names, last = (getattr(key, "key", str(key)) for key in path)
        kept = after
        for name in (*names, last):
            kept = kept[name]
        if last == "var" and kept is leaf and np.all(np.asarray(leaf) == 1):
            _raise_for_statistics(names, "pass kwargs={'train': True} (or the model's own flag)")


def _raise_for_statistics(names: Iterable[Any], cure: str) -> None:
    raise IdjaxError(
        f"{'/'.join(map(str, names))} normalises nothing: its statistics are as init left them; {cure} to normalise by "
        "the rows, or give those of a model in training"
    )


def _with(model: nnx.Module, params: Any) -> nnx.Module:
    """The model with these parameters, or as it is."""
    for path, module in nnx.iter_modules(model):
        if isinstance(module, nnx.BatchNorm) and module.use_running_average and np.all(module.var[...] == 1):
            _raise_for_statistics(path, "call model.set_attributes(use_running_average=False)")
    if params is None:
        return model
    graph, own, rest = nnx.split(model, nnx.Param, ...)
    given = nnx.to_pure_dict(params) if isinstance(params, nnx.State) else params
    held = nnx.to_pure_dict(own)
    if not isinstance(given, Mapping) or jax.tree.structure(held) != jax.tree.structure(dict(given)):
        raise IdjaxError("params have other names than the model's own: give nnx.state(model, nnx.Param), or None")
    state = jax.tree.map(lambda leaf: leaf, own)
    nnx.replace_by_pure_dict(state, dict(given))
    return nnx.merge(graph, state, rest)


def _of_training(batches: Any) -> Any:
    """The batches of training as arguments of the loss."""
    if callable(batches):
        return lambda step: _arrays(batches(step))
    return None if batches is None else map(_arrays, batches)


def _arrays(batch: Any) -> tuple[Any, Any]:
    """Inputs and targets of a batch as arrays with as many rows.

    Raises:
      IdjaxError: for what is not (inputs, targets) or a mapping of both, or no numbers, or unequal rows.
    """
    if isinstance(batch, Mapping):
        names = [name for name in batch if name in TARGETS]
        batch = (*(value for name, value in batch.items() if name not in names), *(batch[name] for name in names))
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise IdjaxError("batch: give (inputs, targets), arrays or nests of arrays with the rows first")
    parts = zip(("inputs", "targets"), batch, strict=True)
    inputs, targets = (jax.tree.map(lambda leaf, name=name: _array(leaf, name), part) for name, part in parts)
    lengths = {len(leaf) for leaf in jax.tree.leaves((inputs, targets))}
    if not lengths:
        raise IdjaxError("batch: it holds no arrays: give (inputs, targets)")
    if len(lengths) != 1:
        raise IdjaxError(f"batch: its arrays have {', '.join(map(str, sorted(lengths)))} rows: give as many in each")
    return inputs, targets


def _array(leaf: Any, name: str) -> Any:
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    if array.ndim == 0:
        raise IdjaxError(f"batch: the {name} hold a single number: give arrays (np.asarray of a list), rows first")
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        raise IdjaxError(f"batch: the {name} are of type {array.dtype}: give numbers")
    return array
