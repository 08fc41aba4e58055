"""The targets are outside of what the outputs can be.

A sigmoid gives 0 to 1, a tanh -1 to 1, a ReLU nothing below 0. Targets beyond are never reached; outputs are driven to
their end, where the slope is 0. A cross-entropy of targets outside [0, 1] has no minimum, and a label that is no class
is nowhere in the outputs.

Formula: of the squared deviation of the targets at least 5% beyond the range of the output; for a cross-entropy targets
    outside [0, 1]; labels below 0 or from the number of classes on.
Source: Bishop 1995, section 6.6
Example: jnp.mean((nn.sigmoid(outputs) - y) ** 2) with y of 0 to 100
Fix: Divide the targets into the range, or leave the activation out; number the classes from 0.
Apart: target-scale is about outputs that can get there, but have a long way to go.
"""

import math

import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.endless import endless_fall
from idjax.diagnosis.trace.graph import origin
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.outputs import Comparison, activation, is_logarithm
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
NUMBERED = "number the classes from 0, or give the output more units"
BEYOND = 0.05
SLACK = 1e-3
"""Of a target's range: what lies beyond by less is rounding."""
Beyond = tuple[str, float, str]
"""What is wrong with the targets, the share of them that is out of reach, and what to do."""


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """The first comparison with targets out of reach."""
    for comparison in context.end.comparisons:
        targets = context.compared(comparison)[1]
        if not targets.size or not np.isfinite(targets).all():
            continue
        told = {"difference": _of_range, "product": _of_probabilities, "index": _of_classes}[comparison.kind]
        if (beyond := told(context, comparison)) is not None:
            message, share, fix = beyond
            evidence = {"share of the targets out of reach": share}
            return [
                EXPLANATION.program_finding(message=message, evidence=evidence, fix=fix, where=comparison.node.where)
            ]
    return []


def _of_range(context: LossContext, comparison: Comparison) -> Beyond | None:
    targets = context.compared(comparison)[1]
    bounded = activation(context.graph, comparison.output)
    if bounded is None:
        return None
    name, low, high, _ = bounded
    beyond = targets - np.clip(targets, low, high)
    spread = float(np.mean((targets - targets.mean()) ** 2))
    if float(np.mean(beyond**2)) < BEYOND * spread or np.abs(beyond).max() <= SLACK * max(1.0, np.abs(targets).max()):
        return None
    reach = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} and above"
    text = f"the targets go from {targets.min():.3g} to {targets.max():.3g}, and the {name} gives {reach}"
    return text, float(np.mean(beyond != 0)), f"bring the targets to {reach}, or leave the {name} out at the output"


def _of_probabilities(context: LossContext, comparison: Comparison) -> Beyond | None:
    targets = context.compared(comparison)[1]
    if not is_logarithm(context.graph, comparison.output) and not _bounded_within(context, comparison, targets):
        return None
    made = origin(context.graph.program, comparison.target)
    if made is not None and made.primitive == "eq" and targets.ndim > 1:
        lost = targets.reshape(-1, targets.shape[-1]).sum(-1) == 0
        if not lost.any():
            return None
        classes = targets.shape[-1]
        text = f"{lost.mean():.0%} of the labels are none of the {classes} classes, 0 to {classes - 1}"
        return text, float(lost.mean()), NUMBERED
    beyond = (targets < -SLACK) | (targets > 1 + SLACK)
    if not beyond.any():
        return None
    text = f"a cross-entropy takes targets of 0 to 1, and these go from {targets.min():.3g} to {targets.max():.3g}"
    scale = f"divide the targets by {targets.max():.3g}" if targets.min() >= 0 else "bring the targets to 0 to 1"
    return text, float(beyond.mean()), scale


def _bounded_within(context: LossContext, comparison: Comparison, targets: np.ndarray) -> bool:
    """Whether the loss falls without end, and would not with targets cut to 0 to 1: a cross-entropy of logits."""
    leaves = context.argument_leaves(comparison.target)
    if len(leaves) != 1 or not context.finite or (targets.min() >= 0 and targets.max() <= 1):
        return False
    cut = [jnp.clip(leaf, 0, 1) if index in leaves else leaf for index, leaf in enumerate(context.args)]
    return endless_fall(context, context.args) is not None and endless_fall(context, cut) is None


def _of_classes(context: LossContext, comparison: Comparison) -> Beyond | None:
    labels = context.label_values(comparison)
    classes = context.compared(comparison)[0].shape[-1]
    if labels is None or (labels.min() >= -classes and labels.max() < classes and labels.min() >= 0):
        return None
    beyond = (labels < 0) | (labels >= classes)
    text = f"labels go from {labels.min()} to {labels.max()}, and the output has {classes} classes, 0 to {classes - 1}"
    return text, float(beyond.mean()), NUMBERED
