"""The program cannot learn a few rows by heart.

A program that can learn at all brings the loss of eight rows to nearly nothing, at a rate that suits it. Where that
fails, no number of rows, epochs or rates will help: something between parameters and loss is in the way.

Formula: the loss of 8 rows, trained at the raced rate until it stands still, has not fallen by 95%, less what right
    outputs leave of it; more parameters than targets, and no two rows alike.
Source: Karpathy 2019, A recipe for training neural networks
Example: a dropout that drops everything, an output that is bounded, a residual branch times 0
Fix: What the message names as having stopped it.
Apart: No other cause was found: no-gradient, unreachable-output and the rates come before it.
"""

import math

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.program.findings import unbounded_loss
from idjax.report.formatting import number
from idjax.results.program import FewRows, ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(tried: FewRows) -> list[ProgramFinding]:
    """The finding, if the training on a few rows was stopped by something, or falls for ever."""
    if math.isfinite(tried.bottomless):
        return [unbounded_loss.seen_in_training(tried)]
    if not tried.stopped:
        return []
    return [
        EXPLANATION.program_finding(
            message=f"the loss of {tried.rows} rows stays at {number(tried.end)}, of {number(tried.start)} at the "
            f"start, after {tried.steps} steps at a learning rate of {tried.learning_rate:.2g}: {tried.stopped}",
            evidence={"loss at the start": tried.start, "loss at the end": tried.end, "steps": tried.steps},
            fix="",
        )
    ]
