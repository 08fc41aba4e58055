"""Findings in layers, a module each: an explanation, and a function of a context and of what was found before it."""

import dataclasses
from types import ModuleType

from idjax.diagnosis.program.findings import (
    layer_epsilon,
    layer_float_stall,
    layer_init,
    layer_mean,
    layer_null,
    layer_outliers,
    layer_scale,
)
from idjax.results.program import LayerFinding

MODULES: tuple[ModuleType, ...] = (
    layer_init,
    layer_null,
    layer_mean,
    layer_outliers,
    layer_scale,
    layer_epsilon,
    layer_float_stall,
)
"""In the order they are looked for: what makes others show comes before them."""

INPUTS = frozenset({"layer-null", "layer-mean", "layer-outliers", "layer-scale"})
"""Findings about what a layer is given, which layers before it may be the cause of."""
SPREADING = INPUTS | {"layer-init"}
"""Causes that show in layers further on, and in the gradients of all."""


def with_causes(finding: LayerFinding, found: tuple[LayerFinding, ...], order: dict[str, int]) -> LayerFinding:
    """The finding as a consequence, if what spreads from a layer before it explains it."""
    if finding.code == "layer-init":
        return finding
    first, everywhere = order[finding.layers[0]], finding.code not in INPUTS
    # Dead units under a large mean are constants of its size.
    of_mean = finding.code == "layer-null"
    causes = dict.fromkeys(
        other.code
        for other in found
        if other.code in SPREADING
        and (
            everywhere
            or order[other.layers[0]] < first
            or (of_mean and other.code == "layer-mean" and order[other.layers[0]] == first)
        )
    )
    return dataclasses.replace(finding, kind="consequence", causes=tuple(causes)) if causes else finding
