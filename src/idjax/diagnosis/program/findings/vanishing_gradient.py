"""Gradients shrink from layer to layer, and the first layers hardly move.

Each layer multiplies the gradient by its weights and slopes. Where that is a factor below 1, many layers make it
vanish: the last layers learn, the first ones stay as they started.

Formula: root mean square gradient of a kernel at least 10,000 times below that of a later one, relative to the weights,
    over at least 4 layers; not for optimizers that divide by the size of the gradient.
Source: Hochreiter 1991; Glorot and Bengio 2010
Example: ten sigmoid layers
Fix: ReLU or residual connections, normalisation, or a start that keeps the size of gradients (he_normal, glorot).
Apart: A consequence where saturated or dead units, or a layer's start, make it so.
"""

import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.layers import Layer
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.report.formatting import count
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
TIMES, FEWEST = 1e4, 4


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """The first and the last kernel that moves, if they are far apart."""
    if not context.finite or context.rule.adaptive:
        return []
    moving = [
        (layer, size) for layer in context.layers if layer.kind != "embed" and (size := _size(context, layer)) > 0
    ]
    if len(moving) < FEWEST:
        return []
    (first, low), (last, high) = min(moving[: len(moving) // 2], key=lambda pair: pair[1]), moving[-1]
    if high < TIMES * low:
        return []
    return [
        EXPLANATION.program_finding(
            message=f"{first.name}: its gradient is {count(high / low)} times smaller than that of {last.name}",
            evidence={"gradient over weights, first": low, "gradient over weights, last": high},
            cost=high / low,
            fix="ReLU or residual connections between the layers, normalisation, or a start that keeps the size",
            where=first.node.where,
            layers=(first.name,),
            parameters=tuple(context.given.names[leaf] for leaf in first.leaves),
        )
    ]


def _size(context: LossContext, layer: Layer) -> float:
    leaf = layer.leaves[0]
    slope, weight = (
        np.asarray(values[leaf], np.float64) for values in (context.measured.gradient, context.given.params)
    )
    scale = float(np.sqrt(np.mean(weight**2)))
    return float(np.sqrt(np.mean(slope**2))) / scale if scale > 0 else 0.0
