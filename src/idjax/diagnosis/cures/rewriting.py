"""Cures built into a program: edits of its nodes, with statistics that are fitted from front to back, and other starts.

(a - mean)/scale in front of a layer is fitted on rows that the cures of earlier layers have passed, for those of the
program as given are wrong behind the first cure; in a scan each step has its own, fitted as it runs. Then they are
frozen.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.cures.ends import Minimum, once, own_rows, target_edits
from idjax.diagnosis.cures.inputs import DEVIATION, DOMINANT, LARGE, SMALL
from idjax.diagnosis.trace.graph import Graph, Node
from idjax.diagnosis.trace.layer_facts import by_name
from idjax.diagnosis.trace.layers import Layer, input_rows
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.traced import Traced
from idjax.diagnosis.trace.walk import Edit, Edits, Outs, evaluate
from idjax.results.program import ProgramFinding

CURES = frozenset({"layer-mean", "layer-scale", "layer-outliers"})
"""Findings about a layer's inputs: the mean is subtracted, the rest divided by its size, or both."""
RATES = frozenset({"step-too-large", "step-too-small"})
"""Findings that another rate cures; the rest of CURABLE begins elsewhere, or has other targets."""
ENDS = frozenset({"broadcast-loss", "softmax-twice", "unbounded-loss"})
"""Findings about the loss itself, which is another one once it is cured."""
CURABLE = CURES | RATES | ENDS | {"layer-init", "symmetric-start", "target-scale"}


class Changed(NamedTuple):
    """A change of a loss: edits of its program, and what its value is multiplied by, -1 where it is to be maximised."""

    edits: Edits
    sign: float = 1.0


class Rewriting(NamedTuple):
    """A change of a program.

    trained: of the loss that is descended; judged: of the one by which trainings are compared, which is in the units
    of the loss as given, but where that has no minimum.
    params: where training starts.
    """

    trained: Changed
    judged: Changed
    params: list[Any]


class Standardised(NamedTuple):
    """(a - mean)/scale where `on`; of a layer in a scan one for each step, which has a number; None until fitted."""

    step: Any
    on: Any = None
    mean: Any = None
    scale: Any = None


class Inputs(NamedTuple):
    """A change of a layer's inputs: whether the mean goes, whether they are divided by one number or one each.

    sure, maybe: the steps that a cause names, and those that only a consequence does, which are cured if it is still
    there behind the cures before it; the 0th where the layer is in no scan.
    """

    layer: Layer
    sure: frozenset[int]
    maybe: frozenset[int]
    centred: bool
    divided: bool
    each: bool

    @classmethod
    def of(cls, finding: ProgramFinding, name: str, layer: Layer) -> "Inputs":
        """The change that a finding asks of a layer that it names."""
        step, nothing = frozenset([layer.names.index(name)]), frozenset[int]()
        sure, maybe = (step, nothing) if finding.kind == "cause" else (nothing, step)
        apart = finding.code != "layer-scale" or DEVIATION in finding.evidence
        return cls(layer, sure, maybe, apart, finding.code != "layer-mean", finding.code == "layer-outliers")

    def with_(self, other: "Inputs") -> "Inputs":
        """Both changes of one layer."""
        asked = self.centred or other.centred, self.divided or other.divided, self.each or other.each
        return Inputs(self.layer, self.sure | other.sure, self.maybe | other.maybe, *asked)

    def on(self, mean: Any, second: Any, step: Any = None) -> Any:
        """Whether channels with this mean and this variance are cured."""
        spread, square = second.sum(-1), (mean**2).sum(-1)
        size = jnp.sqrt(jnp.where(square >= DOMINANT * spread, spread, spread + square) / self.layer.channels)
        shows = (self.centred & (square >= DOMINANT * spread)) | (self.divided & ((size <= SMALL) | (size >= LARGE)))
        places = range(max(1, self.layer.steps))
        sure, maybe = (np.array([place in steps for place in places]) for steps in (self.sure, self.maybe))
        if step is None and not self.layer.steps:
            step = 0
        sure, maybe = (sure, maybe) if step is None else (jnp.asarray(sure)[step], jnp.asarray(maybe)[step])
        return sure | (maybe & shows)

    def numbers(self, mean: Any, second: Any) -> tuple[Any, Any]:
        """Mean and scale of these channels; constant ones are left at their size."""
        around = second if self.centred else second + mean**2
        around = around if self.each else jnp.broadcast_to(around.mean(-1, keepdims=True), around.shape)
        varies = around > 1e-10 * jnp.mean(mean**2 + second, -1, keepdims=True)
        scale = jnp.sqrt(jnp.where(varies, around, 1.0)) if self.divided else jnp.ones_like(mean)
        return mean if self.centred else jnp.zeros_like(mean), scale


def rewriting(context: LossContext, findings: Sequence[ProgramFinding], minimum: Minimum | None = None) -> Rewriting:
    """The program with the cures of some findings in it: another start first, then inputs, then targets and loss.

    minimum: what gives one to a loss that has none as given, and so judges no training.
    """
    params = list(context.given.params)
    for finding in findings:
        params = _started(context, finding, params)
    edits = _fitted(context.traced, params, _of_inputs(context, findings))
    codes = {finding.code for finding in findings}
    for code, cured in (("broadcast-loss", own_rows), ("softmax-twice", once)):
        if code in codes:
            edits = _with(edits, *cured(context))
    trained = judged = Changed(edits)
    if "target-scale" in codes:
        node, scaled, restored = target_edits(context)
        trained, judged = (Changed(_with(edits, node, edit)) for edit in (scaled, restored))
    if minimum is not None:
        same = judged is trained
        judged = _bounded(judged, minimum)
        if "unbounded-loss" in codes:
            trained = judged if same else _bounded(trained, minimum)
    return Rewriting(trained, judged, params)


def _bounded(changed: Changed, minimum: Minimum) -> Changed:
    """With what gives the loss a minimum."""
    return Changed(_with(changed.edits, *minimum)) if isinstance(minimum, tuple) else Changed(changed.edits, minimum)


def carried_over(edits: Edits, graph: Graph, other: Graph) -> Edits | None:
    """The edits for another trace of one program, by the places of the nodes; None where it is another program."""
    places = {node: place for place, node in enumerate(graph.program.every())}
    nodes = list(other.program.every())
    if any(places[node] >= len(nodes) or nodes[places[node]].primitive != node.primitive for node in edits.edits):
        return None
    return Edits(
        {nodes[places[node]]: edit for node, edit in edits.edits.items()},
        {nodes[places[node]]: given for node, given in edits.given.items()},
    )


def _with(edits: Edits, node: Node, edit: Edit) -> Edits:
    """One edit more, which sees what an earlier one of the same node makes of its inputs."""
    earlier = edits.edits.get(node)

    def after(ins: list[Any], given: Any) -> tuple[list[Any] | Outs, Any]:
        made, seen = earlier(ins, given) if earlier is not None else (ins, ())
        return (made, seen) if isinstance(made, Outs) else (edit(made, given)[0], seen)

    return Edits({**edits.edits, node: after}, edits.given)


def _of_inputs(context: LossContext, findings: Sequence[ProgramFinding]) -> list[Inputs]:
    """The changes that findings ask of each layer, in the order of the program."""
    asked: dict[Layer, Inputs] = {}
    for finding in findings:
        for name in finding.layers if finding.code in CURES else ():
            layer = by_name(context, name)
            now = Inputs.of(finding, name, layer)
            asked[layer] = now.with_(asked.get(layer, now))
    return [asked[layer] for layer in context.layers if layer in asked]


def standardised(layer: Layer, x: Any, mean: Any, scale: Any) -> Any:
    """(a - mean)/scale of what goes into a layer, by its channels."""
    numbers = layer.node.params["dimension_numbers"]
    axes = (numbers.lhs_spec[1],) if layer.kind == "conv" else tuple(numbers[0][layer.rows])

    def shaped(values: Any) -> Any:
        order = tuple(int(place) for place in np.argsort(axes))
        values = jnp.transpose(jnp.reshape(values, [x.shape[axis] for axis in axes]), order)
        return jnp.expand_dims(values, [axis for axis in range(x.ndim) if axis not in axes])

    return ((x - shaped(mean)) / shaped(scale)).astype(x.dtype)


def _edit(inputs: Inputs) -> Edit:
    """(a - mean)/scale in front of a layer, fitted here and told where it is not given."""
    layer = inputs.layer

    def edit(ins: list[Any], given: Standardised) -> tuple[list[Any], Any]:
        x, (step, on, mean, scale), seen = ins[layer.rows], given, ()
        if mean is None:
            channels = input_rows(layer, x, 1)[1].astype(jnp.float32)
            seen = channels.mean(0), channels.var(0)
            on = inputs.on(*seen, step) if on is None else on
            mean, scale = inputs.numbers(*seen)
        made = list(ins)
        made[layer.rows] = standardised(layer, x, jnp.where(on, mean, 0.0), jnp.where(on, scale, 1.0))
        return made, seen

    return edit


def _fitted(traced: Traced, params: list[Any], asked: Sequence[Inputs]) -> Edits:
    """The edits with statistics of all blocks: one pass, and one more for each layer that a scan calls again.

    Of a layer whose steps share their kernel the statistics are of all steps, so that it is left as it is while these
    are taken, and those behind it are fitted in the next pass.
    """
    edits = {each.layer.node: _edit(each) for each in asked}
    steps: dict[Node, Any] = {
        node: np.arange(n) if (n := each.layer.steps) else None for node, each in zip(edits, asked, strict=True)
    }
    given: dict[Node, Standardised] = {node: Standardised(step) for node, step in steps.items()}
    waiting = list(asked)
    while waiting:
        end = next((index for index, each in enumerate(waiting) if each.layer.repeats > 1), len(waiting)) + 1
        now, waiting = waiting[:end], waiting[end:]
        shared = [each.layer.node for each in now if each.layer.repeats > 1]
        off = {node: Standardised(steps[node], np.zeros(np.shape(steps[node]), bool)) for node in shared}
        chosen = [each.layer.node for each in asked if each not in waiting]
        run = Edits({node: edits[node] for node in chosen}, {node: {**given, **off}[node] for node in chosen})
        seen = _seen(traced, params, run)
        for each in now:
            # Channels come last; before them the steps, if each has its own; before these blocks and calls.
            shape = (-1, *([each.layer.steps] if each.layer.steps else []), each.layer.channels)
            means, seconds = (np.reshape(part, shape) for part in seen[each.layer.node])
            pooled = means.mean(0), seconds.mean(0) + means.var(0)
            numbers = (np.asarray(part, np.float32) for part in each.numbers(*pooled))
            given[each.layer.node] = Standardised(
                steps[each.layer.node], np.asarray(each.on(*pooled))[..., None], *numbers
            )
    return Edits(edits, given)


def _seen(traced: Traced, params: list[Any], edits: Edits) -> Mapping[Node, tuple[np.ndarray, np.ndarray]]:
    """The statistics that the edits saw in each block, stacked."""

    @jax.jit
    def run(params: list[Any], args: list[Any]) -> Any:
        return evaluate(traced.graph, [*params, *args], edits=edits)[1]

    blocks = [run(params, args) for args in traced.blocks()]
    return jax.tree.map(lambda *parts: np.stack([np.asarray(part, np.float64) for part in parts]), *blocks)


def _started(context: LossContext, finding: ProgramFinding, params: list[Any]) -> list[Any]:
    """The parameters with another start of layers: random where units are alike, of the usual size where it is off."""
    params = list(params)
    if finding.code == "symmetric-start":
        flat = [(layer, leaf) for layer in context.layers for leaf in layer.leaves if jnp.ptp(params[leaf]) == 0]
        alike = [(by_name(context, name), leaf) for name in finding.layers for leaf in by_name(context, name).leaves]
        for layer, leaf in (*flat, *alike):
            drawn = jax.random.normal(jax.random.fold_in(jax.random.key(0), leaf), params[leaf].shape)
            params[leaf] = (_usual(layer) * drawn).astype(params[leaf].dtype)
    for name in finding.layers if finding.code == "layer-init" else ():
        layer = by_name(context, name)
        place = layer.names.index(name) if layer.steps else ...
        for leaf in layer.leaves:
            size = float(jnp.sqrt(jnp.mean(params[leaf][place].astype(jnp.float32) ** 2)))
            params[leaf] = params[leaf].at[place].multiply(_usual(layer) / size) if size > 0 else params[leaf]
    return params


def _usual(layer: Layer) -> float:
    """The root mean square of a kernel that gives out the size of what it takes."""
    return 1.0 if layer.kind == "embed" else layer.inputs**-0.5
