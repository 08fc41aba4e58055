"""Cures of layers' inputs built into the program, and trained beside it: a claim about a layer is one about the whole.

(a - mean)/scale is put in front of layers while the program is evaluated. Of descent the largest curvature of the whole
is measured with and without: by its fall the largest stable rate rises. Of optimizers that divide by the size of the
gradient, and where the curvature does not fall so far, both programs are trained for a few steps on one block, each at
its best rate, and the steps are counted that the cured one takes to where the other ends. Where the loss is not finite,
a cure has to make it so.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.program.context import ProgramContext
from idjax.diagnosis.program.findings.saturated_units import FLAT
from idjax.diagnosis.program.layer_facts import by_name
from idjax.diagnosis.program.layers import Layer
from idjax.diagnosis.program.loss_context import LossContext
from idjax.diagnosis.program.rule import STEPS, UpdateRule, best, first_rate, reached, trials
from idjax.diagnosis.program.walk import Edits, evaluate
from idjax.results.program import LayerFinding

LEAST_FALL = 3.0
"""Times by which a cure that lowers the largest curvature of the whole program is a gain for certain.

Of a smaller fall steps decide: where layers before pass no gradient, or a softmax is saturated at the start, the
curvature there says little.
"""
LEAST_STEPS = 2.0
"""Times as many steps that a program has to take as given."""
PRODUCTS = 8
"""Products of the power method, which is within some percent of the largest eigenvalue where it matters."""
CURES = {"layer-mean": (True, False), "layer-scale": (True, True), "layer-outliers": (True, True)}
"""Of each finding, whether the mean is subtracted, and whether what is left is divided by its size."""


class Gain(NamedTuple):
    """The largest curvature as given over that once cured; the same of the steps to one loss, NaN if not trained."""

    fall: float
    steps: float

    @property
    def holds(self) -> bool:
        """Whether the cure is worth it."""
        return self.fall >= LEAST_FALL or self.steps >= LEAST_STEPS


class Gains:
    """Measures cures of one program, which is trained as given once."""

    def __init__(self, context: LossContext, facts: ProgramContext, rule: UpdateRule):
        self._context, self._facts, self._rule = context, facts, rule
        self._top: float | None = None
        self._given: float | None = None

    def measured(self, finding: LayerFinding) -> Gain:
        """The program with and without the cure of a finding."""
        edits, fall = self._edits(finding), math.nan
        if not self._context.finite:
            return Gain(math.inf if self._is_finite(edits) else 0.0, math.nan)
        if not self._rule.adaptive:
            self._top = self._largest(Edits({}, {})) if self._top is None else self._top
            cured = self._largest(edits)
            fall = self._top / cured if cured > 0 else math.nan
        if fall >= LEAST_FALL and not self._saturated():
            return Gain(fall, math.nan)
        self._given = reached(self._trained(Edits({}, {}))) if self._given is None else self._given
        losses = self._trained(edits)
        there = np.flatnonzero(losses <= self._given)
        better = len(there) and reached(losses) < self._given
        return Gain(fall, STEPS / max(1, int(there[0])) if better else 0.0)

    def _is_finite(self, edits: Edits) -> bool:
        """Whether loss and gradient of all rows are, with the cure."""
        graph, params = self._context.graph, self._context.given.params

        @jax.jit
        def run(params: list[Any], args: list[Any]) -> Any:
            value, slope = jax.value_and_grad(lambda p: evaluate(graph, [*p, *args], edits=edits)[0][0])(params)
            return jnp.isfinite(sum(map(jnp.sum, slope), value))

        return all(bool(run(params, args)) for args in self._context.traced.blocks())

    def _saturated(self) -> bool:
        """Whether little gradient comes to some layers, whose curvature is then not seen either."""
        slopes = [np.stack(self._context.measured.seen[u.node]).mean() for u in self._context.units if u.kind != "relu"]
        return any(slope < FLAT for slope in slopes)

    def _largest(self, edits: Edits) -> float:
        """The largest eigenvalue of the Hessian, by the power method on some rows."""
        graph, params = self._context.graph, self._context.given.params

        def slope(params: list[Any], args: list[Any]) -> list[Any]:
            return jax.grad(lambda params: evaluate(graph, [*params, *args], edits=edits)[0][0])(params)

        @jax.jit
        def run(params: list[Any], args: list[Any]) -> Any:
            def step(vector: list[Any], _: None) -> Any:
                turned = jax.jvp(lambda params: slope(params, args), (params,), (vector,))[1]
                size = jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in turned))
                value = sum(jnp.vdot(a, b) for a, b in zip(vector, turned, strict=True))
                return [leaf / jnp.maximum(size, 1e-30) for leaf in turned], value

            keys = jax.random.split(jax.random.key(0), len(params))
            start = [jax.random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, params, strict=True)]
            return jax.lax.scan(step, start, None, PRODUCTS)[1][-1]

        return float(run(params, self._context.args))

    def _trained(self, edits: Edits) -> np.ndarray:
        graph = self._context.graph
        trained = trials(self._rule, lambda params, args: evaluate(graph, [*params, *args], edits=edits)[0][0])
        params, args = self._context.given.params, self._context.args
        first = first_rate(self._rule, self._context.measured.loss, self._context.measured.gradient)
        return best(trained, params, args, first)[1]

    def _edits(self, finding: LayerFinding) -> Edits:
        if finding.code == "layer-init":
            return self._smaller(finding)
        centred, divided = CURES[finding.code]
        edits: dict[Any, Any] = {}
        given: dict[Any, Any] = {}
        for layer in dict.fromkeys(by_name(self._context, name) for name in finding.layers):
            names = [f"{layer.name}[{step}]" for step in range(layer.steps)] or [layer.name]
            cures = [self._cure(layer, name, name in finding.layers, centred, divided, finding) for name in names]
            mean, scale = (np.stack(parts) if layer.steps else parts[0] for parts in zip(*cures, strict=True))
            edits[layer.node] = _edit(layer)
            given[layer.node] = (mean, scale)
        return Edits(edits, given)

    def _smaller(self, finding: LayerFinding) -> Edits:
        """The kernel divided by its gain."""
        (name,) = finding.layers
        layer = by_name(self._context, name)
        (gain,) = (fact.gain for fact in self._facts.layers if fact.path == name)
        steps = np.array([gain if f"{layer.name}[{step}]" == name else 1.0 for step in range(layer.steps)], np.float32)

        def edit(ins: list[Any], by: Any) -> tuple[list[Any], Any]:
            kernel = ins[layer.kernel]
            made = [*ins[: layer.kernel], (kernel / by).astype(kernel.dtype), *ins[layer.kernel + 1 :]]
            return made, jnp.zeros(())

        return Edits({layer.node: edit}, {layer.node: steps if layer.steps else np.float32(gain)})

    def _cure(
        self, layer: Layer, name: str, cured: bool, centred: bool, divided: bool, finding: LayerFinding
    ) -> tuple[np.ndarray, np.ndarray]:
        moments = self._facts.moments.get(name)
        zero, one = np.zeros(layer.channels, np.float32), np.ones(layer.channels, np.float32)
        if moments is None or not cured:
            return zero, one
        variance = np.diagonal(moments.covariance) if layer.kind == "dense" else moments.channels.second
        mean = moments.mean if layer.kind == "dense" else moments.channels.mean
        single = finding.code == "layer-outliers"
        apart = finding.code != "layer-scale" or "around their mean" in finding.message
        size = np.sqrt(variance) if single else np.full_like(variance, np.sqrt(variance.mean()))
        if not apart:
            size = np.full_like(variance, np.sqrt((variance + mean**2).mean()))
        size = np.where(size > 0, size, 1.0)
        return (mean if centred and apart else zero).astype(np.float32), (size if divided else one).astype(np.float32)


def _edit(layer: Layer) -> Any:
    """(a - mean)/scale in front of a layer."""
    numbers = layer.node.params["dimension_numbers"]
    axes = (numbers.lhs_spec[1],) if layer.kind == "conv" else tuple(numbers[0][layer.rows])

    def shaped(values: Any, x: Any) -> Any:
        order = tuple(int(place) for place in np.argsort(axes))
        values = jnp.transpose(jnp.reshape(values, [x.shape[axis] for axis in axes]), order)
        return jnp.expand_dims(values, [axis for axis in range(x.ndim) if axis not in axes])

    def edit(ins: list[Any], given: Any) -> tuple[list[Any], Any]:
        x, (mean, scale) = ins[layer.rows], given
        made = list(ins)
        made[layer.rows] = ((x - shaped(mean, x)) / shaped(scale, x)).astype(x.dtype)
        return made, jnp.zeros(())

    return edit
