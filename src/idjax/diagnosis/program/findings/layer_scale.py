"""A layer's inputs are far too large or too small.

The curvature of a layer grows with the square of its inputs. Inputs of 0 to 255 have 20,000 times the curvature of
inputs of size 1, and the learning rate that is stable for them is too small for all other layers. Inputs of size
0.001 make a layer that hardly learns at the rate that suits the others.

Formula: root mean square input at least 5 or at most 1/100, around the mean where |m|²/tr Σ ≥ 10. The curvature is
    E|a|² times that of the outputs' gradients; docs/models.md (M1), (M9).
Source: LeCun, Bottou, Orr and Müller 1998, section 4.3; Ba, Kiros and Hinton 2016
Example: idjax diagnose --model mypackage.models:factory
Fix: Divide the model's inputs by their size (255 for bytes); before a layer inside, a LayerNorm.
Apart: layer-mean is about a constant part of the inputs, layer-outliers about one large feature. Where an earlier
    layer's weights are off (layer-init) this is its consequence.
"""

import math

from idjax.diagnosis.cures.inputs import DEVIATION, DOMINANT, LARGE, SMALL, centred, divided, effect
from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.layer_facts import ProgramContext, named
from idjax.report.formatting import count, listed
from idjax.results.program import LayerFacts, LayerFinding

ALSO = 1.0
"""|m|²/tr Σ from which the mean of a program's own inputs is worth subtracting besides."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: ProgramContext, found: tuple[LayerFinding, ...]) -> list[LayerFinding]:
    """Each input whose size is far from 1, but for those that layer-outliers explains."""
    outlying = {path for finding in found if finding.code == "layer-outliers" for path in finding.layers}

    def shows(layer: LayerFacts) -> bool:
        size = _size(layer)
        return layer.path not in outlying and size > 0 and not SMALL < size < LARGE

    return [_finding(context, layers) for layers in context.shown_by(shows)]


def _apart_from_mean(layer: LayerFacts) -> bool:
    return layer.mean_share >= DOMINANT


def _size(layer: LayerFacts) -> float:
    """Root mean square of what varies where the mean outweighs it, of all where not."""
    return layer.input_scale / math.sqrt(1 + layer.mean_share) if _apart_from_mean(layer) else layer.input_scale


def _finding(context: ProgramContext, layers: tuple[LayerFacts, ...]) -> LayerFinding:
    first = layers[0]
    moments, size, apart = context.moments[first.path], _size(first), _apart_from_mean(first)
    names = listed(named(layers))
    after = centred(moments, size) if apart else divided(moments, size)
    cure = ("mean subtracted, " if apart else "") + f"inputs divided by {size:.3g}"
    steps = "subtract the mean of the inputs and " if apart else ""
    own = first is context.layers[0]
    left = f", and subtract their mean, squared {first.mean_share:.2g} times their variance" if not apart else ""
    return EXPLANATION.layer_finding(
        message=f"{names}: the inputs {'vary around their mean by' if apart else 'are of size'} {size:.3g}, which is "
        f"{'large' if size > 1 else 'small'}: {count(size**2)} times the curvature of inputs of size 1",
        evidence={
            DEVIATION if apart else "root mean square input": size,
            "condition number": first.condition_number,
            "largest eigenvalue of the inputs' second moment": first.top,
        },
        cost=max(size, 1 / size) ** 2,
        fix=f"{steps}divide the inputs by {size:.3g} before {names}"
        + ((left if first.mean_share >= ALSO else "") if own else ", or put nn.LayerNorm there"),
        layers=named(layers),
        effect=effect(cure, context.ends(first), after, moments.noise / size**2),
    )
