"""Findings about the layers of a loss: those about inputs are kept where their cure is measured to be a gain."""

import dataclasses
import math
from collections.abc import Set

from idjax.diagnosis.cures.gains import Gain, Gains
from idjax.diagnosis.cures.rewriting import CURABLE, CURES
from idjax.diagnosis.program.findings import MODULES, with_causes
from idjax.diagnosis.trace.layer_facts import ProgramContext, by_name, layer_context
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.results.program import LayerFacts, LayerFinding
from idjax.settings import DiagnosisSettings

Key = tuple[str, tuple[str, ...]]
FEW_DIGITS = ("bfloat16", "float16")


def layer_findings(context: LossContext, codes: Set[str]) -> tuple[tuple[LayerFacts, ...], tuple[LayerFinding, ...]]:
    """The facts of all layers, and what is found in them: causes first, then what follows from these.

    codes: what was found in the targets and the activations, which explains some of it.
    """
    rule = context.rule
    rate = rule.told(rule.rate) if rule.rate is not None else None
    name = "adam" if rule.adaptive else "sgd"
    facts = layer_context(context, DiagnosisSettings(optimizer=name, learning_rate=rate, epsilon=rule.epsilon))
    found: tuple[LayerFinding, ...] = ()
    for module in MODULES:
        new = [finding for finding in module.find(facts, found) if _holds(finding, facts, context)]
        found = (*found, *(finding for finding in new if not _is_meant(context, finding, facts.layers)))
    found = _explained(context, found, codes)
    order = {layer.path: index for index, layer in enumerate(facts.layers)}
    cured = dict.fromkeys(by_name(context, name) for f in found if f.code in CURABLE for name in f.layers)
    gains, kept = Gains(context, facts, tuple(cured), "target-scale" in codes), dict[Key, Gain]()
    while True:
        told = [with_causes(finding, found, order) for finding in found]
        asked = next((f for f in told if f.kind == "cause" and _is_measured(f, context) and _key(f) not in kept), None)
        if asked is None:
            break
        gain = gains.measured(asked)
        if gain.is_large or (gain.holds and not context.learns):
            kept[_key(asked)] = gain
        else:
            found = tuple(finding for finding in found if _key(finding) != _key(asked))
    told = [_placed(context, finding, kept.get(_key(finding))) for finding in told]
    return facts.layers, tuple(sorted(told, key=lambda f: (f.kind != "cause", -f.cost if not f.causes else 0)))


def _explained(context: LossContext, found: tuple[LayerFinding, ...], codes: Set[str]) -> tuple[LayerFinding, ...]:
    """Findings without the dead channels of dead units; signals that vanish where gradients do follow from that."""
    kept = [f for f in found if "dead-units" not in codes or f.code != "layer-null" or "are 0" not in f.message]
    if "vanishing-gradient" not in codes:
        return tuple(kept)
    inner = {layer.name for layer in context.inner}
    vanished = [f.code == "layer-scale" and "small" in f.message and f.layers[0] in inner for f in kept]
    follows = {"kind": "consequence", "causes": ("vanishing-gradient",)}
    return tuple(dataclasses.replace(f, **follows) if v else f for f, v in zip(kept, vanished, strict=True))


def _key(finding: LayerFinding) -> Key:
    return finding.code, finding.layers


def _is_measured(finding: LayerFinding, context: LossContext) -> bool:
    """Whether a finding is kept by what its cure gains: another start only of a program that learns without it."""
    return finding.code in CURES or not context.finite or (finding.code == "layer-init" and context.learns)


def _holds(finding: LayerFinding, facts: ProgramContext, context: LossContext) -> bool:
    """Whether a finding about steps is about the user's own: an epsilon or rate that is known, numbers of few digits.

    Of a loss that is not finite those hold whose cure makes it so.
    """
    if not context.finite:
        return finding.code in CURES or finding.code == "layer-init"
    if finding.code == "layer-epsilon":
        return context.rule.epsilon is not None
    if finding.code != "layer-float-stall":
        return True
    dtypes = {layer.path: layer.kernel_dtype for layer in facts.layers}
    return context.rule.rate is not None and dtypes[finding.layers[0]] in FEW_DIGITS


def _is_meant(context: LossContext, finding: LayerFinding, layers: tuple[LayerFacts, ...]) -> bool:
    """Whether an output layer starts small, as a policy's does, or another call moves what this one leaves at 0.

    A small start of the outputs costs descent at a given rate the first steps of all layers before.
    """
    layer = by_name(context, finding.layers[0])
    if finding.code == "layer-init":
        gains = {facts.path: facts.gain for facts in layers}
        small = gains[finding.layers[0]] < 1 and layer.output in context.end.outputs
        return small and (context.rule.adaptive or context.rule.rate is None)
    shared = any(other is not layer and set(other.leaves) & set(layer.leaves) for other in context.layers)
    return finding.code == "layer-null" and shared


def _placed(context: LossContext, finding: LayerFinding, gain: Gain | None) -> LayerFinding:
    """The finding with its line, its parameters, and what its cure was measured to do."""
    layers = [by_name(context, name) for name in finding.layers]
    names = dict.fromkeys(context.given.names[leaf] for layer in layers for leaf in layer.leaves)
    evidence, cost = dict(finding.evidence), finding.cost
    if gain is not None and context.finite and not gain.frees:
        trained = math.isfinite(gain.steps)
        cost = gain.steps if trained else gain.fall
        what = "steps to one loss, as given over cured" if trained else "largest curvature, as given over cured"
        evidence[f"measured on the whole program: {what}"] = cost
    return dataclasses.replace(
        finding, where=layers[0].node.where, parameters=tuple(names), evidence=evidence, cost=cost
    )
