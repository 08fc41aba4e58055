"""All units of a layer start alike, and stay alike.

Units with equal weights give equal outputs and get equal gradients: the layer has the strength of one unit, whatever
its width. A start of zeros throughout has no gradient at all.

Formula: the kernel's columns are equal, and so are those of its gradient; or two kernels are 0 and have no gradient.
Source: Rumelhart, Hinton and Williams 1986, on breaking symmetry
Example: nn.Dense(64, kernel_init=nn.initializers.constant(0.1))
Fix: A random start, as nn.initializers.lecun_normal().
Apart: One kernel of zeros, as of a last layer or a branch, gets unequal gradients, and is meant.
"""

import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.layers import Layer
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.report.formatting import listed
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """The layers whose units are alike, the output layer apart."""
    if not context.finite:
        return []
    last = set(context.end.outputs)
    alike = [layer for layer in context.layers if layer.output not in last and _alike(context, layer)]
    zeros = [layer for layer in context.layers if len(layer.leaves) == 1 and _zero(context, layer.leaves[0])]
    dead = [layer for layer in zeros if context.is_still(layer.leaves[0])]
    chosen = alike or (zeros if len(zeros) >= 2 and dead else [])
    if not chosen:
        return []
    names = tuple(layer.name for layer in chosen)
    what = "all units start with the same weights and get the same gradient" if alike else "all weights start at 0"
    return [
        EXPLANATION.program_finding(
            message=f"{listed(names)}: {what}",
            evidence={"layers": list(names)},
            fix="start from random weights: lecun_normal(), glorot_uniform() or he_normal()",
            where=chosen[0].node.where,
            parameters=tuple(context.given.names[layer.leaves[0]] for layer in chosen),
            layers=names,
        )
    ]


def _zero(context: LossContext, leaf: int) -> bool:
    return not np.asarray(context.given.params[leaf]).any()


def _alike(context: LossContext, layer: Layer) -> bool:
    """Whether kernel and gradient are the same for each output."""
    if len(layer.leaves) != 1 or layer.outputs < 2 or layer.kind == "embed":
        return False
    kernel, slope = (
        np.asarray(values[layer.leaves[0]]) for values in (context.given.params, context.measured.gradient)
    )
    axes = layer.output_axes
    if kernel.shape[-len(layer.shape) :] != layer.shape or not axes or not kernel.any():
        return False
    axes = tuple(axis - len(layer.shape) for axis in axes)
    return _equal(kernel, axes, 0.0) and _equal(slope, axes, 1e-4)


def _equal(values: np.ndarray, axes: tuple[int, ...], within: float) -> bool:
    spread = values.max(axis=axes) - values.min(axis=axes)
    return bool((spread <= within * np.abs(values).max()).all())
