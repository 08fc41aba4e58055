"""A layer's updates are smaller than the spacing of its weights, and are rounded away.

Numbers near w are u(w) apart in the dtype of the parameters; an update below u/2 leaves the weight as it was.
bfloat16 has 8 digits: a weight of 0.1 moves by 0.0002 at least, or not at all. float16 has 11, and gradients below 6e-5
lose some of them.

Formula: |η g| < u(w)/2 (η g/(|g| + ε) for adaptive optimizers) in at least half of the weights that have a gradient;
    docs/theory.md (121), (122), docs/models.md (M12).
Source: Goldberg 1991; Gupta et al. 2015; Micikevicius et al. 2018
Example: idjax diagnose --model mypackage.models:factory --learning-rate 1e-5
Fix: param_dtype=jnp.float32 (dtype may stay bfloat16), stochastic rounding, or a larger learning rate; of float16 a
    loss that is multiplied before it is differentiated, where gradients are too small for it.
Apart: layer-epsilon shortens steps, this drops them.
"""

import math

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.layer_facts import ProgramContext
from idjax.report.formatting import count
from idjax.results.program import LayerFacts, LayerFinding
from idjax.theory.finite_precision import LARGEST, SMALLEST

MOST = 0.5
"""Share of a kernel's weights that may lose their update."""
ROOM = 2.0**-10
"""Share of the largest number of float16 that the root mean square of gradients is given: some are far above it."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: ProgramContext, found: tuple[LayerFinding, ...]) -> list[LayerFinding]:
    """Layers most of whose first update is lost."""
    stalled = [layer for layer in context.layers if layer.update_lost >= MOST]
    rate = context.settings.step_size
    return [
        EXPLANATION.layer_finding(
            message=f"{layer.path}: {layer.update_lost:.0%} of its {layer.kernel_dtype} weights lose their update at a "
            f"learning rate of {rate:.3g}; half would pass at {count(layer.passing_rate)}",
            evidence={
                "share of updates lost": layer.update_lost,
                "learning rate": rate,
                "learning rate at which half pass": layer.passing_rate,
                "root mean square gradient": layer.gradient,
                "root mean square weight": layer.kernel_scale,
            },
            cost=1 / (1 - layer.update_lost) if layer.update_lost < 1 else float("inf"),
            fix=f"keep {layer.path}'s parameters in float32 (param_dtype), or a learning rate of "
            f"{2 * layer.passing_rate:.2g} where that is stable{_scaled(layer)}",
            layers=(layer.path,),
        )
        for layer in stalled
    ]


def _scaled(layer: LayerFacts) -> str:
    """A cure of gradients that float16 has not the digits for."""
    if layer.kernel_dtype != "float16" or not 0 < layer.gradient < SMALLEST["float16"]:
        return ""
    scale = 2 ** math.floor(math.log2(ROOM * LARGEST / layer.gradient))
    return (
        f"; its gradients of {layer.gradient:.2g} lose digits in float16: differentiate {scale:,} times the loss, and "
        "divide the gradients by that in float32"
    )
