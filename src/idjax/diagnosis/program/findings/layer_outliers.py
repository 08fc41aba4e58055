"""One feature of a layer's input is so large that it alone decides the learning rate.

The largest eigenvalue of the second moment is at least the mean square of the largest feature. One feature ten times
the size of the others makes all others learn a hundred times more slowly.

Formula: a feature with at least half of E|a|² and 100 times the median of the others, of at least 8; docs/models.md
    (M10).
Source: Dettmers et al. 2022, LLM.int8(); LeCun, Bottou, Orr and Müller 1998, section 4.3
Example: idjax diagnose --model mypackage.models:factory
Fix: Standardise each feature before the layer (BatchNorm, or a constant scale), or clip the feature.
Apart: layer-scale is all of the input; a constant feature is layer-null.
"""

from idjax.diagnosis.cures.inputs import effect, standardised
from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.layer_facts import ProgramContext, named
from idjax.report.formatting import count, listed
from idjax.results.program import LayerFacts, LayerFinding

HALF = 0.5
"""Share of E|a|² that one feature has."""
ABOVE = 100.0
"""Its mean square over the median of the others: ten times the size."""
FEWEST = 8
"""Of fewer channels one may well be the largest."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: ProgramContext, found: tuple[LayerFinding, ...]) -> list[LayerFinding]:
    """Each input with an outlier that varies."""
    return [_finding(context, layers) for layers in context.shown_by(_shows)]


def _shows(layer: LayerFacts) -> bool:
    large = layer.outlier >= HALF and layer.outlier_ratio >= ABOVE and layer.channels >= FEWEST
    return large and layer.outlier_feature not in layer.constant


def _finding(context: ProgramContext, layers: tuple[LayerFacts, ...]) -> LayerFinding:
    first = layers[0]
    cured = effect("each feature standardised", context.ends(first), standardised(context.moments[first.path]))
    names = listed(named(layers))
    return EXPLANATION.layer_finding(
        message=f"{names}: feature {first.outlier_feature} has {first.outlier:.0%} of the mean square of the inputs, "
        f"{count(first.outlier_ratio)} times the median of the others",
        evidence={
            "feature": first.outlier_feature,
            "share of the mean square": first.outlier,
            "times the median": first.outlier_ratio,
            "condition number": first.condition_number,
            "condition number, standardised": cured.condition_after,
        },
        cost=1 / cured.top,
        fix=f"standardise each feature before {names}, or scale feature {first.outlier_feature} down",
        layers=named(layers),
        effect=cured,
    )
