"""The targets go up and down many times along the one input, and outputs do not begin so.

Outputs of tanh and ReLU layers are smooth over the range of their inputs at the start, and what is slow is learned
first: a sine of eight periods is not learned in thousands of steps, whatever the size of the inputs.

Formula: one wave of 4 periods or more along the input explains at least half of the targets' variance; and with it in
    place of the input, trained on three quarters of the rows, the loss of the rest is a fifth at most of what it is
    with the input as given, and with the input standardised. Not where the program learns as given.
Source: Rahaman et al. 2019, "On the spectral bias of neural networks"; Tancik et al. 2020
Example: two layers of tanh, y = sin(x / 20) with x of 0 to 999
Fix: The sine and cosine of the input at that frequency, given to the first layer besides it.
Apart: layer-scale is about the size of the input, and is found besides: dividing alone does not help.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.program.findings.only_linear import FOLDS, held_out
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.diagnosis.trace.walk import NO_EDITS, Edits, changing
from idjax.report.formatting import number, percent
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
FEWEST, MOST, ROWS_EACH = 4, 64, 6
"""Periods along the input that are tried, and rows that one has at least."""
EXPLAINED, LOWER = 0.5, 0.2
OFFSET = 1.0
"""Mean squared over variance of the input from which it is worth subtracting too."""


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """A program of one input whose targets are mostly one wave along it."""
    raw = [layer for layer in context.layers if layer not in context.inner]
    compared = [each for each in context.end.comparisons if each.kind == "difference"]
    if len(raw) != 1 or raw[0].kind != "dense" or raw[0].inputs != 1 or raw[0].steps or not compared:
        return []
    (layer,), targets = raw, context.compared(compared[0])[1].ravel()
    x = np.concatenate([seen["rows"].reshape(-1) for seen in context.measured.seen[layer.node]]).astype(np.float64)
    low, length = x.min(), float(np.ptp(x))
    if len(x) != len(targets) or len(x) < 2 * FOLDS * ROWS_EACH or not length or not np.ptp(targets):
        return []
    tried = np.arange(FEWEST, min(MOST, len(x) // ROWS_EACH) + 0.5, 0.5)
    waves = {2 * np.pi * periods / length: _wave(x - low, targets, 2 * np.pi * periods / length) for periods in tried}
    frequency = max(waves, key=lambda each: waves[each][0])
    explained, phase = waves[frequency]
    if explained < EXPLAINED or context.learns:
        return []

    def fed(change: Any) -> float:
        """The loss of rows held out with something else in place of the input."""
        return float(held_out(context, Edits({layer.node: changing(layer.rows, change)}, {})).mean())

    offset, periods = float(x.mean() ** 2 / x.var()), float(frequency * length / (2 * np.pi))
    shift = f", and subtract the input's mean, {x.mean():.3g}" if offset >= OFFSET else ""
    given = min(float(held_out(context, NO_EDITS).mean()), fed(lambda a: (a - x.mean()) / x.std()))
    waved = fed(lambda a: jnp.sin(frequency * (a - low) + phase))
    if not waved <= LOWER * given:
        return []
    return [
        EXPLANATION.program_finding(
            message=f"the targets go up and down {number(periods, 2)} times along the input, "
            f"one wave being {percent(explained)} of them, and outputs are smooth at the start",
            evidence={
                "periods along the input": periods,
                "mean of the input squared over its variance": offset,
                "loss of rows held out, input standardised or as given": given,
                "with a wave of this frequency as the input": waved,
            },
            cost=given / waved,
            fix=f"give {layer.name} sin(w x) and cos(w x) besides the input, w = {frequency:.3g}{shift}",
            where=layer.node.where,
            layers=(layer.name,),
        )
    ]


def _wave(x: np.ndarray, targets: np.ndarray, frequency: float) -> tuple[float, float]:
    """The share of the targets' variance that a wave explains, and its phase."""
    basis = np.stack([np.ones_like(x), np.sin(frequency * x), np.cos(frequency * x)], 1)
    weights = np.linalg.lstsq(basis, targets, rcond=None)[0]
    left = targets - basis @ weights
    return 1 - float(left @ left) / float(len(x) * targets.var()), float(np.arctan2(weights[2], weights[1]))
