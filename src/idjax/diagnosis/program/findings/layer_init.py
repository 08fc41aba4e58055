"""A layer's weights are far too large or too small for the width of its input.

A kernel with entries of root mean square s takes inputs of size r to outputs of about r s √p. Where s √p is far from
1, the layers after it see inputs of another size, the layers before it gradients of another size, and no one learning
rate suits all.

Formula: gain s √p against 1/20 and 20; of an embedding s against 1/(5 √q) and 5. The curvature of the layers after
    and before grows by the square of the gain; docs/models.md (M6).
Source: LeCun, Bottou, Orr and Müller 1998, section 4.6; Glorot and Bengio 2010; He et al. 2015
Example: idjax diagnose --model mypackage.models:factory
Fix: nn.initializers.lecun_normal() (or he_normal before a ReLU), or divide the kernel by its gain.
Apart: layer-scale is about the input that a layer is given, this about its own weights.
"""

import math

from idjax.diagnosis.cures.inputs import divided, effect
from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.layer_facts import ProgramContext
from idjax.report.formatting import count
from idjax.results.program import LayerFacts, LayerFinding

FAR = 20.0
"""Factor from which a gain is far from 1. Flax's initialisers are all within it."""
FAR_EMBEDDING = 5.0
"""The same for an embedding, beyond the conventions for its vectors: 1/√q, 1 and what Keras gives."""
OF_KERAS = 0.05 / math.sqrt(3)

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: ProgramContext, found: tuple[LayerFinding, ...]) -> list[LayerFinding]:
    """Each layer whose gain is far from what any initialiser gives; kernels of zeros are taken as meant."""
    far = {"embed": FAR_EMBEDDING}
    return [
        _finding(context, layer)
        for layer in context.layers
        if layer.kernel_scale > 0 and _off(layer) >= far.get(layer.kind, FAR)
    ]


def _off(layer: LayerFacts) -> float:
    """The factor by which a gain is above or below 1, or an embedding's size above 1, or below 1/√q and Keras's."""
    smallest = min(1 / math.sqrt(layer.outputs), OF_KERAS) if layer.kind == "embed" else 1.0
    return max(layer.gain, smallest / layer.gain)


def _finding(context: ProgramContext, layer: LayerFacts) -> LayerFinding:
    gain, off, embed = layer.gain, _off(layer), layer.kind == "embed"
    size = f"the vectors have entries of {gain:.3g}" if embed else f"outputs are {gain:.3g} times the size of inputs"
    usual = "normal(1.0)" if embed else "lecun_normal()"
    after = context.layers[context.layers.index(layer) + 1 :]
    cured = None
    if after and after[0].path in context.moments:
        name = f"weights of {layer.path} divided by {gain:.3g}, for {after[0].path}"
        moments = context.moments[after[0].path]
        cured = effect(name, context.ends(after[0]), divided(moments, gain), moments.noise / gain**2)
    return EXPLANATION.layer_finding(
        message=f"{layer.path}: {size}, the weights {count(off)} times too {'large' if gain > 1 else 'small'}",
        evidence={
            "size of the vectors" if embed else "gain of the kernel": gain,
            "root mean square weight": layer.kernel_scale,
            "inputs": layer.inputs,
        },
        cost=off**2,
        fix=f"initialise {layer.path} with nn.initializers.{usual}, or divide its weights by {gain:.3g}",
        layers=(layer.path,),
        effect=cured,
    )
