"""The loss or its gradient is not a finite number.

One equation makes infinity or NaN out of finite numbers, such as the logarithm of 0, a division by 0 or an exponential
that overflows. All parameters are NaN after one step.

Formula: the first equation that gives NaN or infinity for finite inputs, among those that the loss is made of; for a
    gradient, backwards. At the start, or after steps in which the loss fell, where at a tenth of the rate it comes too.
Source: IEEE 754
Example: jnp.log(probabilities), where one of them is 0
Fix: Work with logits and a loss that takes them, or keep the argument away from where the function has no value.
Apart: Infinities that are masked out, as in attention, are not reported while loss and gradient are finite.
"""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.program.findings import unreachable_output
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.probe import gradient_culprit, value_culprit
from idjax.diagnosis.trace.traced import Traced
from idjax.diagnosis.trace.trials import parameters_after
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
FIXES = {
    "log": "take the logarithm of what is above 0 (log_softmax of logits, log1p, or jnp.maximum before the log)",
    "div": "keep the denominator away from 0",
    "sqrt": "add a small number under the root: its slope at 0 is infinite",
    "rsqrt": "add a small number under the root",
    "exp": "take smaller numbers to the exponential: scale the inputs, or use logsumexp",
    "pow": "keep the base above 0",
}


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """The first equation that is not finite, of the arguments, the values or the derivatives."""
    if context.finite or unreachable_output.find(context, found):
        return []
    for name, leaf, holds in zip(context.given.arg_names, context.given.args, context.traced.holds, strict=True):
        real = jnp.issubdtype(leaf.dtype, jnp.floating)
        if real and not np.isfinite(values := np.asarray(leaf)).all():
            bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1)) if holds else []
            return [_told(f"{name} is not finite{_rows(bad)}", "", f"drop or repair those rows of {name}", bad)]
    return _located(context, context.traced, not math.isfinite(context.measured.loss))


def find_later(context: LossContext) -> list[ProgramFinding]:
    """The equation that is not finite after some steps in which the loss fell, and at a tenth of the rate too."""
    losses = context.losses(1.0)
    step = int(np.argmin(np.isfinite(losses)))
    if step < 2 or losses[step - 1] >= losses[0] or math.isfinite(context.trial(0.1)):
        return []
    traced = _after(context, step)
    by_value = all(np.isfinite(np.asarray(leaf)).all() for leaf in traced.given.params)
    if not by_value:  # they come of a derivative that was not finite the step before
        step -= 1
        traced = _after(context, step)
    return _located(context, traced, by_value, f", after {step} steps in which the loss fell")


def _after(context: LossContext, steps: int) -> Traced:
    """The program with the parameters that it has after so many steps."""
    given, rate = context.given, context.rule.rate or 1.0
    params = parameters_after(context.rule, given.loss, given.params, context.args, rate, steps)
    return dataclasses.replace(context.traced, given=dataclasses.replace(given, params=params))


def _located(context: LossContext, traced: Traced, by_value: bool, when: str = "") -> list[ProgramFinding]:
    """The equation whose value, or derivative, is not finite at these parameters."""
    if by_value:
        node, made, bad = value_culprit(traced, context.args)
        what = f"gives {made}{_rows(bad)}"
    else:
        node, what, bad = gradient_culprit(traced, context.args), "has a derivative that is not finite", []
    if node is None:
        return []
    name = context.names_of(node)
    fix = FIXES.get(node.primitive, f"look at what goes into {name}")
    return [_told(f"{name} {what}{when}", node.where, fix, bad)]


def _told(message: str, where: str, fix: str, bad: Any) -> ProgramFinding:
    evidence = {"rows": [str(row) for row in bad]} if len(bad) else {}
    return EXPLANATION.program_finding(message=message, evidence=evidence, fix=fix, where=where)


def _rows(bad: Any) -> str:
    if not len(bad):
        return ""
    return f" in row{'s' if len(bad) > 1 else ''} {', '.join(map(str, bad[:5]))}{' and more' if len(bad) > 5 else ''}"
