"""Diagnosis of a model on a batch: one pass over the rows, the ends of the curvature, findings."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from idjax.diagnosis.explanation import known_codes
from idjax.diagnosis.program.batch import arrays_of
from idjax.diagnosis.program.context import ProgramContext
from idjax.diagnosis.program.curvature import curvature_of, with_curvature
from idjax.diagnosis.program.facts import Kernel, embedding_facts, facts_of
from idjax.diagnosis.program.findings import EXPLANATIONS, find_all
from idjax.diagnosis.program.functional import Functional, Listener, functional
from idjax.diagnosis.program.layer_moments import moments_of_inputs
from idjax.diagnosis.program.observe import Observed, listen, observe, weights_of
from idjax.report.formatting import count, listed
from idjax.results.program import LayerFacts, LayerFinding, ModelDiagnosis
from idjax.settings import DiagnosisSettings, Settings
from idjax.types import IdjaxError, OnProgress, Progress, silent


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
    progress: OnProgress = silent,
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
      progress: hears of what takes long.

    Returns:
      Layers in the order of their calls, findings, and the ends of the Gauss-Newton matrix's spectrum.

    Raises:
      IdjaxError: for what is no Flax model, parameters or shapes that do not match, and calls that need more; the line
        says what to pass.

    Example:
      >>> from flax import linen as nn
      >>> x = np.random.default_rng(0).normal(10, 1, (64, 3)).astype(np.float32)
      >>> params = nn.Dense(2).init(jax.random.key(0), x)
      >>> found = diagnose_model(nn.Dense(2), params, (x, x[:, :2]), lambda out, y: ((out - y) ** 2).mean())
      >>> [(finding.code, finding.layers) for finding in found.causes]
      [('layer-mean', ('dense',))]
    """
    begin, settings = time.perf_counter(), settings or DiagnosisSettings()
    wanted = known_codes(codes, EXPLANATIONS, "no finding in a model has this code")
    batch, rows = arrays_of(batch)
    whole = functional(model, params, kwargs or {}, rngs)
    listener = listen(whole, batch, loss)
    seen = observe(whole, batch, loss, listener, rows, progress)
    context = _context(whole, listener, seen, settings, progress)
    if np.isfinite(seen.loss):
        context = with_curvature(context, listener, *curvature_of(whole, batch, loss, rows))
    found = find_all(context)
    _require_a_slope(found, seen, context.layers)
    progress(Progress(1, 1, "done"))
    findings = tuple(finding for finding in found if finding.code in wanted)
    facts = _facts(context, seen, listener, whole) | {"source": source or type(model).__name__, "rows": rows}
    verdict, seconds = _verdict(findings, seen.loss), time.perf_counter() - begin
    return ModelDiagnosis(**facts, findings=findings, verdict=verdict, seconds=seconds)


def _facts(context: ProgramContext, seen: Observed, listener: Listener, whole: Functional) -> dict[str, Any]:
    """The diagnosis apart from what is found: the layers, the curvature, the run that it is of."""
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(whole.params)),
        "loss": seen.loss,
        "optimizer": context.settings.optimizer,
        "learning_rate": context.settings.step_size,
        "layers": context.layers,
        "curvature": context.curvature,
        "unseen": (*sorted(listener.unseen), *(f"{name} (input not finite)" for name in seen.overflowed)),
    }


def _context(
    whole: Functional, listener: Listener, seen: Observed, settings: Settings, progress: OnProgress
) -> ProgramContext:
    """Facts and moments of each layer that was seen; the curvature is not known yet."""
    steps = len(seen.tokens) + len(seen.gathered)
    layers, moments = [], {}
    for index, layer in enumerate(listener.layers.values()):
        if layer.name in seen.overflowed:
            continue
        progress(Progress(index, steps, f"spectrum of {layer.name}"))
        kernel = Kernel(weights_of(whole.params, layer), weights_of(seen.gradient, layer))
        if layer.kind == "embed":
            layers.append(embedding_facts(layer, seen.tokens[layer.name], kernel, settings))
        else:
            moments[layer.name] = moments_of_inputs(seen.gathered[layer.name], layer.bias, layer.epsilon)
            layers.append(facts_of(layer, moments[layer.name], kernel, settings))
    progress(Progress(0, 1, "curvature"))
    return ProgramContext(tuple(layers), moments, None, settings)


def _require_a_slope(found: tuple[LayerFinding, ...], seen: Observed, layers: tuple[LayerFacts, ...]) -> None:
    """Raises where nothing can be learned and no layer is to blame."""
    if any(finding.kind == "cause" for finding in found):
        return
    if not np.isfinite(seen.loss):
        where = f"the input of {seen.overflowed[0]} is not finite" if seen.overflowed else "look at loss and targets"
        raise IdjaxError(f"the loss is {seen.loss} at these parameters, and no layer seen is the cause: {where}")
    if not any(layer.gradient > 0 for layer in layers):
        raise IdjaxError(
            "the loss has no gradient by any layer seen: it has to depend on the outputs, without argmax or rounding"
        )


def _verdict(findings: tuple[LayerFinding, ...], loss: float) -> str:
    """One sentence: the layers that slow training, by how much, and the first cause."""
    begin = "" if np.isfinite(loss) else f"the loss is {loss:g}: "
    causes = [finding for finding in findings if finding.kind == "cause"]
    if not causes:
        return "nothing found: no layer's inputs or weights slow training"
    slow = list(dict.fromkeys(layer for finding in causes for layer in finding.layers))
    times = max(finding.cost for finding in causes)
    much = f" up to {count(times)} times" if 1 < times < float("inf") else ""
    message = causes[0].message
    if set(slow) == set(causes[0].layers):
        message = message.removeprefix(f"{listed(slow)}: ")
    return f"{begin}{listed(slow)} slow{'s' if len(slow) == 1 else ''} training{much}: {message}"
