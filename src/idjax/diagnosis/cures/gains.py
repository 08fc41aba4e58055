"""Cures of layers' inputs built into the program, and trained beside it: a claim about a layer is one about the whole.

(a - mean)/scale is put in front of layers while the program is evaluated. Of descent the largest curvature of the whole
is measured with and without: by its fall the largest stable rate rises. Of optimizers that divide by the size of the
gradient, and where the curvature does not fall so far, both programs are trained for a few steps on one block, each at
its best rate, and the steps are counted that the cured one takes to where the other ends. Where the loss is not finite,
a cure has to make it so.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.cures.ends import target_edits
from idjax.diagnosis.cures.rewriting import Inputs, standardised
from idjax.diagnosis.trace.curvature import curvature
from idjax.diagnosis.trace.graph import Node
from idjax.diagnosis.trace.layer_facts import ProgramContext
from idjax.diagnosis.trace.layers import Layer
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.trials import GRID, NEAR, STEPS, best, first_rate, reached, trials
from idjax.diagnosis.trace.units import FLAT, watch_unit
from idjax.diagnosis.trace.walk import Edits, evaluate
from idjax.results.program import LayerFinding

LEAST_FALL = 3.0
"""Times by which a cure that lowers the largest curvature of the whole program is a gain for certain.

Of a smaller fall steps decide: where layers before pass no gradient, or a softmax is saturated at the start, the
curvature there says little.
"""
LEAST_STEPS = 2.0
"""Times as many steps that a program has to take as given."""
LARGE = 10.0
"""Times by either that are a gain where the program learns well at the rate that was given."""
Cures = dict[Node, tuple[Any, ...]]


class Gain(NamedTuple):
    """The largest curvature as given over that once cured; the same of the steps to one loss, NaN if not trained.

    frees: whether activations behind the layer that are saturated as given are not once it is cured.
    """

    fall: float
    steps: float
    frees: bool = False

    @property
    def holds(self) -> bool:
        """Whether the cure is worth it."""
        return self.fall >= LEAST_FALL or self.steps >= LEAST_STEPS or self.frees

    @property
    def is_large(self) -> bool:
        """Whether it is so much that a program which learns well as given is slow all the same."""
        return self.fall >= LARGE or self.steps >= LARGE or self.frees


class Gains:
    """Measures cures of one program, whose layers are cured by numbers that one compiled program is called with.

    Targets that are of another size than the outputs are `scaled` in all of it: that is to be cured first.
    """

    def __init__(self, context: LossContext, facts: ProgramContext, layers: Sequence[Layer], scaled: bool):
        self._context, self._facts, self._rule, self._layers = context, facts, context.rule, layers
        self._edits = {layer.node: _edit(layer) for layer in layers}
        if scaled:
            node, edit, _ = target_edits(context)
            self._edits[node] = edit
        self._trials, self._curvature = trials(self._rule, self._loss), curvature(self._loss)
        self._finite = jax.jit(self._is_all_finite)

    def measured(self, finding: LayerFinding) -> Gain:
        """The program with and without the cure of a finding."""
        cures, fall = self._cures(finding), math.nan
        if not self._context.finite:
            return Gain(math.inf if self._is_finite(cures) else 0.0, math.nan)
        if not self._rule.adaptive:
            cured = self._largest(cures)
            fall = self._top / cured if cured > 0 else math.nan
        # Where little gradient comes to some layers, their curvature is not seen either.
        if fall >= LEAST_FALL and not self._context.flat:
            return Gain(fall, math.nan)
        if finding.code == "layer-scale" and self._frees(finding, cures):
            return Gain(fall, math.nan, frees=True)
        rate, losses = self._given
        end, losses = reached(losses), self._best(cures, rate, NEAR)[1]
        there = np.flatnonzero(losses <= end)
        better = len(there) and reached(losses) < end
        return Gain(fall, STEPS / max(1, int(there[0])) if better else 0.0)

    @functools.cached_property
    def _top(self) -> float:
        """The largest curvature of the program as given."""
        return self._largest(self._cures())

    @functools.cached_property
    def _given(self) -> tuple[float, np.ndarray]:
        """The best rate of the program as given, and its losses."""
        first = first_rate(self._rule, self._context.measured.loss, self._context.measured.gradient)
        return self._best(self._cures(), first, NEAR if self._rule.adaptive else GRID)

    def _loss(self, params: list[Any], given: tuple[list[Any], Cures]) -> Any:
        args, cures = given
        return evaluate(self._context.graph, [*params, *args], edits=Edits(self._edits, cures))[0][0]

    def _is_finite(self, cures: Cures) -> bool:
        """Whether loss and gradient of all rows are, with the cure."""
        params = self._context.given.params
        return all(bool(self._finite(params, (args, cures))) for args in self._context.traced.blocks())

    def _is_all_finite(self, params: list[Any], given: Any) -> Any:
        value, slope = jax.value_and_grad(self._loss)(params, given)
        return jnp.isfinite(sum(map(jnp.sum, slope), value))

    def _frees(self, finding: LayerFinding, cures: Cures) -> bool:
        """Whether activations right behind a layer are saturated, and all no longer with its cure."""
        behind = {unit.node: watch_unit(unit, self._context.traced) for unit in self._context.flat
                  if set(unit.layers) & set(finding.layers)}  # fmt: skip
        values = [*self._context.given.params, *self._context.args]
        seen = evaluate(self._context.graph, values, behind, Edits(self._edits, cures))[1] if behind else {}
        return bool(behind) and all(float(np.mean(seen[node])) >= FLAT for node in behind)

    def _largest(self, cures: Cures) -> float:
        """The largest eigenvalue of the Hessian on some rows."""
        return self._curvature(self._context.given.params, (self._context.args, cures))

    def _best(self, cures: Cures, first: float, around: tuple[float, ...]) -> tuple[float, np.ndarray]:
        return best(self._trials, self._context.given.params, (self._context.args, cures), first, around)

    def _cures(self, finding: LayerFinding | None = None) -> Cures:
        """Of each layer: what is subtracted from its inputs, what they and the kernel are divided by."""
        made: Cures = {}
        for layer in self._layers:
            cures = [self._cure(layer, name, finding) for name in layer.names]
            made[layer.node] = tuple(np.stack(parts) if layer.steps else parts[0] for parts in zip(*cures, strict=True))
        return made

    def _cure(self, layer: Layer, name: str, finding: LayerFinding | None) -> tuple[Any, ...]:
        zero, one = np.zeros(layer.channels, np.float32), np.ones(layer.channels, np.float32)
        if finding is None or name not in finding.layers:
            return zero, one, np.float32(1)
        if finding.code == "layer-init":
            (gain,) = (fact.gain for fact in self._facts.layers if fact.path == name)
            return zero, one, np.float32(gain)
        moments = self._facts.moments[name]
        variance = np.diagonal(moments.covariance) if layer.kind == "dense" else moments.channels.second
        mean = moments.mean if layer.kind == "dense" else moments.channels.mean
        mean, size = Inputs.of(finding, name, layer).numbers(mean, variance)
        return np.asarray(mean, np.float32), np.asarray(size, np.float32), np.float32(1)


def _edit(layer: Layer) -> Any:
    """(a - mean)/scale and W/by in front of a layer."""

    def edit(ins: list[Any], given: Any) -> tuple[list[Any], Any]:
        mean, scale, by = given
        made = list(ins)
        if layer.kind != "embed":
            made[layer.rows] = standardised(layer, ins[layer.rows], mean, scale)
        made[layer.kernel] = (ins[layer.kernel] / by).astype(ins[layer.kernel].dtype)
        return made, jnp.zeros(())

    return edit
