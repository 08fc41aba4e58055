"""Diagnosis of a loss: its graph, one pass over the rows, findings."""

import dataclasses
import time
from collections.abc import Iterable
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from idjax.diagnosis.explanation import Explanation, known_codes
from idjax.diagnosis.program.curable import CurableProgram
from idjax.diagnosis.program.findings import MODULES as LAYER_MODULES
from idjax.diagnosis.program.findings import (
    SPREADING,
    broadcast_loss,
    constant_target,
    dead_units,
    mixed_rows,
    no_gradient,
    not_finite,
    only_linear,
    saturated_units,
    softmax_twice,
    step_too_large,
    step_too_small,
    symmetric_start,
    target_frequency,
    target_scale,
    tokens_outside,
    unbounded_loss,
    unreachable_output,
    unused_parameters,
    vanishing_gradient,
)
from idjax.diagnosis.program.layer_findings import layer_findings
from idjax.diagnosis.trace.given import GivenLoss, given_loss
from idjax.diagnosis.trace.graph import BOXES
from idjax.diagnosis.trace.layer_facts import layer_context
from idjax.diagnosis.trace.layers import find_layers
from idjax.diagnosis.trace.learning import LEARNED
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.measure import measure, runner, watches_of
from idjax.diagnosis.trace.outputs import ending
from idjax.diagnosis.trace.rule import UpdateRule, update_rule
from idjax.diagnosis.trace.traced import trace
from idjax.diagnosis.trace.units import find_units
from idjax.report.formatting import listed
from idjax.results.program import LayerFacts, ProgramFinding
from idjax.settings import DiagnosisSettings
from idjax.types import OnProgress, Progress, silent

Found = TypeVar("Found", bound=ProgramFinding)
FATAL: tuple[ModuleType, ...] = (
    tokens_outside, not_finite, no_gradient, broadcast_loss, mixed_rows, softmax_twice, unreachable_output,
    unbounded_loss, constant_target, symmetric_start, unused_parameters,
)  # fmt: skip
"""What makes all that is behind it meaningless."""
SCALES: tuple[ModuleType, ...] = (dead_units, saturated_units, vanishing_gradient)
RATES: tuple[ModuleType, ...] = (step_too_large, step_too_small)
MODULES = (*FATAL, target_scale, *LAYER_MODULES, *SCALES, only_linear, target_frequency, *RATES)
EXPLANATIONS: dict[str, Explanation] = {module.EXPLANATION.code: module.EXPLANATION for module in MODULES}


def diagnose_loss(
    loss: Any,
    params: Any,
    *args: Any,
    optimizer: Any = "sgd",
    learning_rate: float | None = None,
    has_aux: bool = False,
    codes: Iterable[str] | None = None,
    source: str = "",
    batches: Any = None,
    prove: bool = False,
    progress: OnProgress = silent,
) -> CurableProgram:
    """Why training this loss will fail or be slow: causes with the line of the program, and what to change.

    Args:
      loss, params, args, has_aux: exactly as given to jax.value_and_grad(loss, has_aux=...)(params, *args); the
        parameters may be any nest of arrays, a TrainState, an nnx.Module or an Equinox module.
      optimizer: the name of one in optax, any optax transformation, or a function that makes one of a rate; a
        TrainState has its own.
      learning_rate: of an optimizer that is named, or made by a function of the rate.
      codes: the findings to look for; all if not given.
      source: what the program is called in the report.
      batches: what training sees, for cures and rates: an iterator of arguments, or a function of the step that gives
        them; args throughout if not given.
      prove: train the program as given, and each cure, alone and together, until a common loss.
      progress: hears of what takes long.

    Returns:
      Findings, causes first; what was looked at, and what was not; `cure(code)`, `cured` and `learning_rate`.

    Raises:
      IdjaxError: where the loss cannot be called so, with what to pass instead.

    Example:
      >>> import jax.numpy as jnp
      >>> def loss(w, x, y):
      ...     return jnp.mean((x @ w - y) ** 2)
      >>> x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
      >>> [finding.code for finding in diagnose_loss(loss, np.ones((3, 1), np.float32), x, x.sum(1)).causes]
      ['broadcast-loss']
    """
    given = given_loss(loss, params, args, has_aux)
    if hasattr(params, "tx") and optimizer == "sgd" and learning_rate is None:
        optimizer = params.tx
    name = source or getattr(loss, "__name__", "loss")
    found = diagnosed(given, update_rule(optimizer, learning_rate, given), codes, name, progress, batches)
    return found.proven() if prove else found


def diagnosed(
    given: GivenLoss,
    rule: UpdateRule,
    codes: Iterable[str] | None,
    source: str,
    progress: OnProgress,
    batches: Any = None,
) -> CurableProgram:
    """The diagnosis of a loss that is given in any way."""
    begin = time.perf_counter()
    wanted = known_codes(codes, EXPLANATIONS, "no finding in a program has this code")
    context = _context(given, rule, progress)
    layers, found = find_all(context)
    findings = tuple(finding for finding in found if finding.code in wanted)
    progress(Progress(1, 1, "done"))
    return CurableProgram.of(
        context,
        batches,
        progress,
        source=source,
        rows=context.traced.rows,
        parameters=sum(int(np.size(leaf)) for leaf in context.given.params),
        loss=context.measured.loss,
        verdict=_verdict(findings),
        layers=layers,
        findings=findings,
        looked_at=_looked_at(context),
        unseen=_unseen(context),
        seconds=time.perf_counter() - begin,
    )


def _context(given: GivenLoss, rule: UpdateRule, progress: OnProgress) -> LossContext:
    traced = trace(given)
    layers = find_layers(traced.graph, given.names)
    units, end = find_units(traced.graph, layers), ending(traced.graph, layers)
    watches = watches_of(traced, layers, units, end)
    run = runner(traced, watches, end.outputs)
    return LossContext(traced, layers, units, end, run, measure(traced, run, watches, progress), rule)


def find_all(context: LossContext) -> tuple[tuple[LayerFacts, ...], tuple[ProgramFinding, ...]]:
    """The facts of the layers, and all findings: of what makes the rest meaningless the first is the cause."""
    found: tuple[ProgramFinding, ...] = ()
    for module in FATAL:
        fatal = tuple(finding.code for finding in found if finding.code in _FATAL_CODES)[:1]
        if not fatal or context.finite:
            new = module.find(context, found)
            found = (*found, *(_following(finding, fatal) for finding in new))
    if not context.finite:
        layers, in_layers = layer_findings(context, set()) if _is_overflow(found) else ((), ())
        codes = tuple(dict.fromkeys(finding.code for finding in in_layers if finding.kind == "cause"))
        return layers, (*in_layers, *(_following(finding, codes) for finding in found))
    fatal = tuple(finding.code for finding in found if finding.code in _FATAL_CODES)[:1]
    if fatal:
        return layer_context(context, DiagnosisSettings()).layers, found
    before = _of_targets(context, found)
    after = [finding for module in SCALES for finding in module.find(context, found)]
    layers, in_layers = layer_findings(context, {finding.code for finding in (*before, *after)})
    spreading = tuple(dict.fromkeys(f.code for f in in_layers if f.kind == "cause" and f.code in SPREADING))
    after = [_following(finding, spreading) for finding in after if spreading or not context.learns]
    earlier = tuple(dict.fromkeys(f.code for f in (*before, *in_layers, *after) if f.kind == "cause"))
    linear = () if earlier else only_linear.find(context, found)
    waves = () if linear or set(earlier) - {"layer-scale", "layer-mean"} else target_frequency.find(context, found)
    after += [_following(finding, earlier) for module in RATES for finding in module.find(context, found)]
    told = (*found, *before, *in_layers, *linear, *waves, *after)
    return layers, tuple(sorted(told, key=lambda finding: finding.kind != "cause"))


def _of_targets(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """Targets of another size, but where they are learned at the given rate, or at one that is not too large."""
    told = target_scale.find(context, found)
    if not told or context.learns:
        return []
    smaller = [step_too_large.factor(large) for large in step_too_large.find(context, found)]
    return [] if any(context.learned_at(factor) >= LEARNED for factor in smaller) else told


def _is_overflow(found: tuple[ProgramFinding, ...]) -> bool:
    """Whether a value of the program is not finite: curing what goes into a layer may make it so."""
    return bool(found) and found[0].code == "not-finite" and bool(found[0].where)


def _following(finding: Found, causes: tuple[str, ...]) -> Found:
    """The finding as a consequence of these causes, if there are any."""
    return dataclasses.replace(finding, kind="consequence", causes=causes) if causes else finding


_FATAL_CODES = frozenset(module.EXPLANATION.code for module in FATAL) - {"unused-parameters"}


def _verdict(findings: tuple[ProgramFinding, ...]) -> str:
    """One sentence: the first cause, or that there is none."""
    causes = [finding for finding in findings if finding.kind == "cause"]
    if not causes:
        return "nothing found"
    first = causes[0]
    return f"{first.where}: {first.message}" if first.where else first.message


def _looked_at(context: LossContext) -> tuple[str, ...]:
    """The words for all that was looked at."""
    layers, units = len(context.layers), len(context.units)
    told = [f"loss and gradient of {context.traced.block * len(context.traced.places()) or 'all'} rows"]
    told += [f"{layers} layer{'s' if layers != 1 else ''}"] if layers else []
    told += [f"{units} activation{'s' if units != 1 else ''}"] if units else []
    told += [f"{len(context.end.comparisons)} comparison(s) with targets"] if context.end.comparisons else []
    return tuple(told)


def _unseen(context: LossContext) -> tuple[str, ...]:
    """Control flow that was not looked into, with the parameters in it, and others that are in no layer."""
    used = {leaf for layer in context.layers for leaf in (*layer.leaves, *layer.bias)}
    told, graph, names = [], context.graph, context.given.names
    for box in (node for node in graph.program.every() if node.primitive in BOXES):
        given = dict.fromkeys(leaf for atom in box.ins if graph.is_parameter(atom) for leaf in graph.leaves(atom))
        inside = [names[leaf] for leaf in given if leaf not in used]
        used.update(given)
        told.append(f"{box.primitive} ({box.where})" + (f" with {listed(inside)}" if inside else ""))
    told += [name for index, name in enumerate(names) if index not in used]
    told += [] if context.traced.rows else ["which axes are rows"]
    told += [] if context.end.comparisons else ["targets: none are compared with outputs"]
    return tuple(told)
