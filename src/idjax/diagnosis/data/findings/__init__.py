"""Findings in data, a module each: an explanation, and a function of a context and of what was found before it."""

from types import ModuleType

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.findings import (
    adam_bounce,
    adam_epsilon,
    better_solved,
    bottleneck,
    collinear,
    data_resolution,
    float_stall,
    heavy_tails,
    hidden_outputs,
    mean_dominated,
    misleading_loss,
    noise_floor,
    null_modes,
    over_budget,
    slow_bias,
    start_dependent,
    step_too_large,
    step_too_small,
    strong_penalty,
    target_not_linear,
    unequal_scales,
    unreachable_output,
)
from idjax.diagnosis.explanation import Explanation
from idjax.results.diagnosis import OF_THE_DATA, Finding

MODULES: tuple[ModuleType, ...] = (
    bottleneck,
    unreachable_output,
    strong_penalty,
    data_resolution,
    null_modes,
    target_not_linear,
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
    hidden_outputs,
    start_dependent,
    slow_bias,
    misleading_loss,
    better_solved,
)
"""In the order they are looked for: consequences after the causes that they name."""

EXPLANATIONS: dict[str, Explanation] = {module.EXPLANATION.code: module.EXPLANATION for module in MODULES}


def causes_of_settings(context: Context) -> tuple[Finding, ...]:
    """The causes that other settings could cure, those of the start included; not what is in the data themselves."""
    found = find_all(start_dependent.unlucky(context), frozenset(EXPLANATIONS))
    return tuple(each for each in found if each.kind == "cause" and each.code not in OF_THE_DATA)


def _blames_settings(explanation: Explanation) -> bool:
    return explanation.kind != "note" and explanation.code not in OF_THE_DATA


def find_all(context: Context, codes: frozenset[str]) -> tuple[Finding, ...]:
    """The findings of these codes: causes first, the costliest first, then consequences and notes.

    All are looked for, since consequences name causes; the others are left out at the end. Of a target that is not
    linear no setting is blamed; what a penalty does is not looked for in what would be without it.
    """
    found: tuple[Finding, ...] = ()
    for module in MODULES:
        if any(each.code == "target-not-linear" for each in found) and _blames_settings(module.EXPLANATION):
            continue
        finding = module.find(context, found)
        if finding is not None:
            found = (*found, finding)
            context = strong_penalty.without(context) if module is strong_penalty else context
    order = {"cause": 0, "consequence": 1, "note": 2}
    return tuple(
        sorted((f for f in found if f.code in codes), key=lambda finding: (order[finding.kind], -finding.cost))
    )
