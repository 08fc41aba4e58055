"""Some directions of the inputs never move, and their weights are never learned.

A constant column, a copy of another one, or a column that is a combination of others leaves a direction in which the
data do not differ. Nothing pulls on the weights along it: they stay as they started, and on new rows that do move
there the outputs are arbitrary.

Formula: rank of the covariance, from its correlation matrix, below the number of columns; theory section 2.
Source: Penrose 1955 on what least squares leaves open
Example: idjax diagnose table.csv
Fix: Drop the columns named; more rows, if there are fewer than columns.
Apart: It costs no speed: nearly dependent columns are collinear. --normalize sample makes one such direction by
    design (each row then sums to zero), which is not reported.
"""

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.explanation import Explanation
from idjax.moments.spectrum import covariance_factor
from idjax.report.formatting import listed
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """The covariance has a lower rank than there are columns."""
    covariance = context.moments.raw.covariance_xx
    rank = covariance_factor(covariance).shape[1]
    missing = len(covariance) - rank
    if not missing:
        return None
    names, stats = context.columns.feature_names, context.columns.inputs
    stands = stats.low == stats.high
    constant = [name for name, same in zip(names, stands, strict=True) if same]
    copies = _copies(context, ~stands)
    evidence: dict[str, float | int | str | list[str]] = {"directions without data": missing, "columns": len(names)}
    parts = []
    if constant:
        evidence["constant columns"] = constant
        parts.append(f"{listed(constant)} never {'changes' if len(constant) == 1 else 'change'}")
    if copies:
        evidence["copies"] = [f"{copy} of {original}" for copy, original in copies]
        parts.append(listed([f"{copy} copies {original}" for copy, original in copies]))
    others = missing - len(constant) - len(copies)
    if others > 0:
        if context.rows <= len(names):
            parts.append(f"{context.rows:,} rows cannot tell {len(names):,} columns apart")
        else:
            parts.append(f"{others} more {'is' if others == 1 else 'are'} combinations of other columns")
    return EXPLANATION.finding(
        message=f"{missing} of {len(names)} directions of the inputs never move, nor are learned: {'; '.join(parts)}",
        evidence=evidence,
        cost=1.0,
        fix="leave those columns out, or give more rows if they are fewer than columns",
    )


def _copies(context: Context, moves: np.ndarray) -> list[tuple[str, str]]:
    """Columns that are a multiple of an earlier one plus a constant, of those that move: (copy, original)."""
    covariance, names = context.moments.raw.covariance_xx, context.columns.feature_names
    deviation = np.sqrt(np.maximum(np.diagonal(covariance), 0)) * moves
    scale = np.where(deviation > 0, deviation, np.inf)
    same = np.tril(np.abs(np.abs(covariance / np.outer(scale, scale)) - 1) < 1e-12, -1)
    return [(names[copy], names[int(np.argmax(same[copy]))]) for copy in np.flatnonzero(same.any(axis=1))]
