"""Findings in data, a module each: an explanation, and a function of a context and of what was found before it."""

from collections.abc import Callable
from types import ModuleType

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.findings import (
    adam_bounce,
    adam_epsilon,
    better_solved,
    collinear,
    data_resolution,
    float_stall,
    heavy_tails,
    mean_dominated,
    misleading_loss,
    noise_floor,
    null_modes,
    over_budget,
    slow_bias,
    step_too_large,
    step_too_small,
    unequal_scales,
    unreachable_output,
)
from idjax.diagnosis.explanation import Explanation
from idjax.results.diagnosis import Finding

Find = Callable[[Context, tuple[Finding, ...]], Finding | None]

MODULES: tuple[ModuleType, ...] = (
    unreachable_output,
    data_resolution,
    null_modes,
    heavy_tails,
    step_too_large,
    mean_dominated,
    adam_bounce,
    unequal_scales,
    collinear,
    step_too_small,
    adam_epsilon,
    noise_floor,
    float_stall,
    over_budget,
    slow_bias,
    misleading_loss,
    better_solved,
)
"""In the order they are looked for: consequences after the causes that they name."""

EXPLANATIONS: dict[str, Explanation] = {module.EXPLANATION.code: module.EXPLANATION for module in MODULES}


def find_all(context: Context, codes: frozenset[str]) -> tuple[Finding, ...]:
    """The findings of these codes: causes first, the costliest first, then consequences and notes.

    All are looked for, since consequences name causes; the others are left out at the end.
    """
    found: tuple[Finding, ...] = ()
    for module in MODULES:
        finding = module.find(context, found)
        if finding is not None:
            found = (*found, finding)
    order = {"cause": 0, "consequence": 1, "note": 2}
    return tuple(
        sorted((f for f in found if f.code in codes), key=lambda finding: (order[finding.kind], -finding.cost))
    )
