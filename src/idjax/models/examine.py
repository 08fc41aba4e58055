"""A model and a batch → ModelDiagnosis: one pass over the rows, the ends of the curvature, findings."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.wording import count, listed
from idjax.model_outcomes import Curvature, Eigenvalue, LayerFacts, LayerFinding, ModelDiagnosis
from idjax.models.case import ModelCase
from idjax.models.facts import Kernel, embedding_facts, facts_of
from idjax.models.findings import EXPLANATIONS, find_all
from idjax.models.functional import Functional, Listener, Params, explained, functional
from idjax.models.gauss_newton import extremes
from idjax.models.layer_moments import Gathered, gather, moments_of_inputs, token_counts
from idjax.models.rows import Layer, Rows
from idjax.settings import DiagnosisSettings, Settings, check
from idjax.types import IdjaxError

BLOCK_ROWS = 128
CURVATURE_ROWS = 128
"""Rows, evenly spaced, that the curvature is of: a product takes as long as three gradients of them."""
PRODUCTS = 16
"""Products of the Krylov space, each of which holds a vector as long as the parameters."""
MOST_VALUES = 2**28
"""Numbers in those vectors together, 1 GiB."""

Progress = Callable[[int, int, str], None]


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
    progress: Progress = lambda _done, _total, _what: None,
) -> ModelDiagnosis:
    """Which layer of a Flax model slows its training, why, and what each cure is predicted to do.

    Args:
      model: a flax.linen module, or a flax.nnx module.
      params: what linen's init returned, all collections; None for NNX, whose modules hold their own.
      batch: (inputs, targets), arrays or nests of them with the rows first. A tuple of inputs is several arguments.
      loss: of (outputs, targets) → the mean over the rows, a scalar.
      settings: optimizer, learning rate, epsilon and momentum of the run; the rest is not used.
      kwargs, rngs: what the model takes besides the inputs, such as {"train": False}; rngs of linen only.
      codes: the findings to look for; all if not given.
      source: what the model is called in the report.
      progress: hears of steps done, of how many, and what is being done.

    Returns:
      Layers in the order of their calls, findings, and the ends of the Gauss-Newton matrix's spectrum.

    Raises:
      IdjaxError: for what is no Flax model, parameters or shapes that do not match, and calls that need more; the line
        says what to pass.
    """
    begin = time.perf_counter()
    settings = check(settings or DiagnosisSettings())
    wanted = frozenset(EXPLANATIONS if codes is None else codes)
    for code in wanted - EXPLANATIONS.keys():
        raise IdjaxError(f"{code}: no finding in a model has this code; the codes are {', '.join(EXPLANATIONS)}")
    whole = functional(model, params, kwargs or {}, rngs)
    rows = _rows(batch)
    listener = _listen(whole, batch, loss)
    seen = _look(whole, batch, loss, listener, rows, progress)
    steps = len(seen.tokens) + len(seen.gathered)
    layers, moments = [], {}
    for index, layer in enumerate(listener.layers.values()):
        if layer.name in seen.overflowed:
            continue
        progress(index, steps, f"spectrum of {layer.name}")
        kernel = Kernel(_parameter(whole.params, layer), _parameter(seen.gradient, layer))
        if layer.kind == "embed":
            layers.append(embedding_facts(layer, seen.tokens[layer.name], kernel, settings))
        else:
            moments[layer.name] = moments_of_inputs(seen.gathered[layer.name], layer.bias, layer.epsilon)
            layers.append(facts_of(layer, moments[layer.name], kernel, settings))
    progress(0, 1, "curvature")
    curvature = None
    if np.isfinite(seen.loss):
        curvature, shares, traces = _curve(whole, batch, loss, rows)
        layers = [_with_curvature(facts, listener.layers[facts.path], shares, traces) for facts in layers]
    findings = find_all(ModelCase(tuple(layers), moments, curvature, settings), wanted)
    if not (np.isfinite(seen.loss) or any(finding.kind == "cause" for finding in findings)):
        where = f"the input of {seen.overflowed[0]} is not finite" if seen.overflowed else "look at the loss itself"
        raise IdjaxError(f"the loss is {seen.loss} at these parameters, and no layer seen is the cause: {where}")
    progress(1, 1, "done")
    return ModelDiagnosis(
        source=source or type(model).__name__,
        rows=rows,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(whole.params)),
        loss=seen.loss,
        optimizer=settings.optimizer,
        learning_rate=settings.step_size,
        verdict=_verdict(findings, seen.loss),
        layers=tuple(layers),
        findings=findings,
        curvature=curvature,
        unseen=(*sorted(listener.unseen), *(f"{name} (input not finite)" for name in seen.overflowed)),
        seconds=time.perf_counter() - begin,
    )


class _Seen(NamedTuple):
    """What the pass over the rows gathers."""

    loss: float
    gradient: Params
    gathered: dict[str, Gathered]
    tokens: dict[str, np.ndarray]
    overflowed: tuple[str, ...]


def _rows(batch: Any) -> int:
    """The number of rows, which all arrays of the batch must have."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise IdjaxError("batch: give (inputs, targets), arrays or nests of arrays with the rows first")
    for name, part in zip(("inputs", "targets"), batch, strict=True):
        for leaf in jax.tree.leaves(part):
            if np.ndim(leaf) == 0:
                raise IdjaxError(f"batch: the {name} hold a single number: rows come first, in every array")
            if np.issubdtype(np.asarray(leaf).dtype, np.inexact) and not np.isfinite(leaf).all():
                raise IdjaxError(f"batch: the {name} hold numbers that are not finite: drop those rows")
    lengths = {len(leaf) for leaf in jax.tree.leaves(batch)}
    if len(lengths) != 1:
        raise IdjaxError(f"batch: its arrays have {', '.join(map(str, sorted(lengths)))} rows: give as many in each")
    if (rows := lengths.pop()) < 2:
        raise IdjaxError("batch: give at least 2 rows, better 1,000")
    return rows


def _cut(batch: Any, chosen: slice | np.ndarray) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[chosen]), tuple(batch))


def _full(params: Params) -> Params:
    """Parameters of few digits in float32: derivatives are about the model, not about its rounding."""
    few = (jnp.bfloat16, jnp.float16)
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype in few else leaf, params)


def _listen(whole: Functional, batch: Any, loss: Callable) -> Listener:
    """What layers there are, from a trace without numbers; everything that can be wrong with a call is told here."""
    listener = Listener()
    inputs, targets = _cut(batch, slice(0, 2))
    with explained():
        outputs = jax.eval_shape(lambda params: whole.run(params, inputs, listener), whole.params)
    if not listener.layers:
        raise IdjaxError("the model calls no Dense, Conv or Embed layer of Flax: there is nothing to look at")
    for layer in listener.layers.values():
        _parameter(whole.params, layer)
    try:
        value = jax.eval_shape(loss, outputs, targets)
    except Exception as error:
        line = str(error).strip().splitlines()[0]
        raise IdjaxError(f"the loss cannot take (outputs, targets): {line}") from error
    if getattr(value, "shape", None) != ():
        raise IdjaxError(f"the loss returned shape {getattr(value, 'shape', None)}: return the mean, one number")
    return listener


def _look(whole: Functional, batch: Any, loss: Callable, listener: Listener, rows: int, progress: Progress) -> _Seen:
    """Inputs of all layers, the loss and its gradient, block by block."""

    @jax.jit
    def block(params: Params, inputs: Any, targets: Any) -> tuple[Any, Params]:
        def total(params: Params) -> tuple[jax.Array, dict[str, Rows]]:
            here = Listener()
            value = loss(whole.run(params, inputs, here), targets)
            return value, jax.lax.stop_gradient(here.heard)

        return jax.value_and_grad(total, has_aux=True)(params)

    params, value = _full(whole.params), 0.0
    gradient: Params | None = None
    gathered: dict[str, Gathered] = {}
    tokens: dict[str, np.ndarray] = {}
    overflowed: dict[str, None] = {}
    for begin, end in _blocks(rows):
        progress(begin, rows, "rows")
        with explained():
            (part, heard), slope = block(params, *_cut(batch, slice(begin, end)))
        share = (end - begin) / rows
        value += share * float(part)
        slope = jax.tree.map(lambda leaf, share=share: share * leaf, slope)
        gradient = slope if gradient is None else jax.tree.map(jnp.add, gradient, slope)
        for name, layer in listener.layers.items():
            if layer.kind == "embed":
                tokens[name] = token_counts(tokens.get(name), np.asarray(heard[name].rows), layer.inputs)
                continue
            given, channels = (
                np.asarray(part, np.float32 if part.dtype == jnp.bfloat16 else None) for part in heard[name]
            )
            if np.isfinite(channels).all():
                gathered[name] = gather(gathered.get(name), given, channels)
            else:
                overflowed[name] = None
    assert gradient is not None
    return _Seen(value, gradient, gathered, tokens, tuple(overflowed))


def _blocks(rows: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, rows, BLOCK_ROWS):
        yield begin, min(begin + BLOCK_ROWS, rows)


def _curve(
    whole: Functional, batch: Any, loss: Callable, rows: int
) -> tuple[Curvature, dict[tuple, float], dict[tuple, float]]:
    """The ends of H on some rows; of each parameter, its part of the top eigenvector and the trace of its block."""
    chosen = np.unique(np.linspace(0, rows - 1, min(rows, CURVATURE_ROWS)).astype(int))
    inputs, targets = _cut(batch, chosen)
    params = _full(whole.params)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    products = max(1, min(PRODUCTS, size, MOST_VALUES // size))
    with explained():
        found = extremes(whole.run, loss, params, inputs, targets, jax.random.key(0), products)
    pairs = [Eigenvalue(float(v), float(r)) for v, r in zip(found.values, found.residuals, strict=True)]
    curvature = Curvature(len(chosen), products, size, tuple(pairs[:-1]) or (pairs[0],), pairs[-1])
    return curvature, _flat(found.top_shares), _flat(found.traces)


def _flat(tree: Params) -> dict[tuple, float]:
    """Leaves by their path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tuple(entry.key for entry in path): float(leaf) for path, leaf in leaves}


def _parameter(params: Params, layer: Layer) -> jax.Array:
    """A layer's kernel or embedding."""
    nest: Any = params
    for part in (*layer.key, layer.weight):
        if not isinstance(nest, Mapping) or part not in nest:
            raise IdjaxError(f"params have no {layer.weight} for {layer.name}: pass all of what init returned")
        nest = nest[part]
    return nest


def _with_curvature(
    facts: LayerFacts, layer: Layer, shares: dict[tuple, float], traces: dict[tuple, float]
) -> LayerFacts:
    """The facts with what the layer's parameters, bias included, have of the curvature."""

    def total(parts: dict[tuple, float]) -> float:
        return sum(value for path, value in parts.items() if path[:-1] == tuple(layer.key))

    return dataclasses.replace(facts, curvature=total(traces), top_share=total(shares))


def _verdict(findings: tuple[LayerFinding, ...], loss: float) -> str:
    """One sentence."""
    begin = "" if np.isfinite(loss) else f"the loss is {loss:g}: "
    causes = [finding for finding in findings if finding.kind == "cause"]
    if not causes:
        return "nothing found: no layer's inputs or weights slow training"
    slow = list(dict.fromkeys(layer for finding in causes for layer in finding.layers))
    times = max(finding.cost for finding in causes)
    much = f" up to {count(times)} times" if 1 < times < float("inf") else ""
    message = causes[0].message.removeprefix(f"{listed(list(causes[0].layers))}: ")
    return f"{begin}{listed(slow)} slow{'s' if len(slow) == 1 else ''} training{much}: {message}"
