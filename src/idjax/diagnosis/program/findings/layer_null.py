"""Channels of a layer's input are the same number everywhere.

A constant channel tells the layer nothing: it is a second bias, and its weights learn only what the bias learns. A
channel that is 0 everywhere (a dead unit, a border) has weights that never get a gradient, which is harmless where
they are few.

Formula: smallest = largest number of a channel over all rows and positions: other than 0 in any channel, or 0 in at
    least two thirds of them; docs/models.md (M7).
Source: LeCun, Kanter and Solla 1991; Lu et al. 2019 on dead ReLU units
Example: idjax diagnose --model mypackage.models:factory
Fix: Drop the constant channels; for dead units a smaller learning rate, leaky ReLU, or the cause before them.
Apart: It costs no speed but through the mean that it adds: layer-mean leaves constant channels out.
"""

from idjax.diagnosis.cures.inputs import effect, without
from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.layer_facts import ProgramContext, named
from idjax.report.formatting import listed
from idjax.results.program import LayerFacts, LayerFinding

MOSTLY = 2 / 3
"""Share of a layer's channels that may be 0 everywhere: half are by any start where few inputs are all positive."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: ProgramContext, found: tuple[LayerFinding, ...]) -> list[LayerFinding]:
    """Each input with constant channels, or mostly dead ones."""
    return [_finding(context, layers) for layers in context.shown_by(_shows)]


def _shows(layer: LayerFacts) -> bool:
    return bool(layer.constant) or len(layer.dead) >= MOSTLY * layer.channels


def _finding(context: ProgramContext, layers: tuple[LayerFacts, ...]) -> LayerFinding:
    first = layers[0]
    moments = context.moments[first.path]
    which = first.constant or first.dead
    size = "the same number" if first.constant else "0"
    # Channels of 0 add nothing to M, and of constant ones alone nothing is left.
    changed = bool(first.constant) and not moments.constant.all()
    return EXPLANATION.layer_finding(
        message=f"{listed(named(layers))}: {len(which)} of {first.channels} channels of the input are {size} in "
        "every row",
        evidence={"channels": [str(channel) for channel in which], "null modes": first.null_modes},
        cost=1.0,
        fix="drop these channels before the layer" if first.constant else "look for what makes them 0",
        layers=named(layers),
        effect=effect(
            "constant channels dropped", context.ends(first), without(moments, moments.constant), moments.noise
        )
        if changed
        else None,
    )
