"""layer-scale: a layer's inputs are far from size 1."""

import math

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.wording import count, listed
from idjax.model_outcomes import LayerFacts, LayerFinding
from idjax.models.case import ModelCase, named
from idjax.models.cures import divided, effect

LARGE = 5.0
"""Root mean square of inputs from which they are large: 25 times the curvature of what initialisers are made for."""
SMALL = 0.01
"""And below which they are small; an embedding of 1,000 numbers starts at 1/√1000 = 0.03, which is meant."""

EXPLANATION = Explanation(
    code="layer-scale",
    kind="cause",
    title="A layer's inputs are far too large or too small",
    means="The curvature of a layer grows with the square of its inputs. Inputs of 0 to 255 have 20,000 times the "
    "curvature of inputs of size 1, and the learning rate that is stable for them is too small for all other layers. "
    "Inputs of size 0.001 make a layer that hardly learns at the rate that suits the others.",
    formula="root mean square input at least 5 or at most 1/100, around the mean where layer-mean is found. The "
    "curvature is E|a|² times that of the outputs' gradients; docs/models.md (M1), (M9).",
    source="LeCun, Bottou, Orr and Müller 1998, section 4.3; Ba, Kiros and Hinton 2016",
    example="idjax diagnose --model mypackage.models:factory",
    fix="Divide the model's inputs by their size (255 for bytes); before a layer inside, a LayerNorm.",
    apart="layer-mean is about a constant part of the inputs, layer-outliers about one large feature. Where an earlier "
    "layer's weights are off (layer-init) this is its consequence.",
)


def find(case: ModelCase, found: tuple[LayerFinding, ...]) -> list[LayerFinding]:
    """Each input whose size, without its mean where that was found, is far from 1."""
    told = {path for finding in found if finding.code in ("layer-mean", "layer-outliers") for path in finding.layers}

    def shows(layer: LayerFacts) -> bool:
        scale = _varying(layer) if layer.path in told else layer.input_scale
        return layer.path not in _outlying(found) and not SMALL < scale < LARGE and layer.input_scale > 0

    return [_finding(case, layers) for layers in case.shown_by(shows)]


def _outlying(found: tuple[LayerFinding, ...]) -> set[str]:
    return {path for finding in found if finding.code == "layer-outliers" for path in finding.layers}


def _varying(layer: LayerFacts) -> float:
    """Root mean square deviation: the scale once the mean is gone."""
    return layer.input_scale / math.sqrt(1 + layer.mean_share)


def _finding(case: ModelCase, layers: tuple[LayerFacts, ...]) -> LayerFinding:
    first = layers[0]
    moments, scale = case.moments[first.path], first.input_scale
    names = listed(list(named(layers)))
    size = "large" if scale > 1 else "small"
    own = first is case.layers[0]
    return LayerFinding(
        code="layer-scale",
        kind="cause",
        message=f"{names}: the inputs are of size {scale:.3g}, which is {size}: {count(scale**2)} times the curvature "
        "of inputs of size 1",
        evidence={
            "root mean square input": scale,
            "condition number": first.condition_number,
            "largest eigenvalue of the inputs' second moment": first.top,
        },
        cost=max(scale, 1 / scale) ** 2,
        fix=f"divide the inputs by {scale:.3g} before {names}" + ("" if own else ", or put nn.LayerNorm there"),
        layers=named(layers),
        effect=effect(
            f"inputs divided by {scale:.3g}", case.ends(first), divided(moments, scale), moments.noise / scale**2
        ),
    )
