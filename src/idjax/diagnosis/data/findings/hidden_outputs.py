"""The total is learned, but some outputs are not: their scale hides them in the loss.

The squared error is a sum over outputs in their own units. Outputs of small scale hardly count in it, so that the total
is explained long before they are, and their own explained variance may still be below 0.

Formula: 1 - E[ε_j²]/Var(y_j) of every output at the end of the budget, by the expected weights, against half of what a
    linear layer can explain of it; theory section 4.
Source: Sarle 1994 on the scaling of targets
Example: idjax diagnose sensors.npy --learning-rate 0.5 --epochs 100
Fix: --normalize feature, in whose units every output counts alike.
Apart: unequal-scales keeps the total from being learned; here only these outputs are not.
"""

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import changed, with_normalizers
from idjax.diagnosis.data.outcome import explained_outputs
from idjax.diagnosis.explanation import Explanation, Fix
from idjax.report.formatting import count, explained, listed
from idjax.results.diagnosis import Finding
from idjax.results.plain import plain_value
from idjax.theory import quadratic

LEAST = 0.5
"""Share of what can be explained of an output from which it is not hidden."""
KNOWN = 0.1
"""Explained variance under which an output is no linear function of the inputs anyway."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Learned in total, and outputs that are not half of what they can be."""
    if not context.learned or context.moments.raw.outputs == 1:
        return None
    if (outputs := explained_outputs(context, context.settings)) is None:
        return None
    hidden = _hidden(context, outputs)
    if not len(hidden):
        return None
    names = [context.columns.target_names[index] for index in hidden]
    deviation = np.sqrt(np.diagonal(context.moments.raw.covariance_yy))
    return EXPLANATION.finding(
        message=f"only the total is: {listed(names)} {'is' if len(names) == 1 else 'are'} not (explained variance "
        f"{explained(float(outputs[hidden[0]]))}), since the largest output counts "
        f"{count(float(deviation.max() / deviation[hidden].min()) ** 2)} times the smallest of these in the loss",
        evidence={
            "outputs not learned": names,
            "explained variance of each": [explained(float(outputs[index])) for index in hidden],
            "largest deviation of an output": float(deviation.max()),
            "smallest deviation of these": float(deviation[hidden].min()),
        },
        cost=1.0,
        fix=_fix(context),
    )


def _hidden(context: Context, outputs: np.ndarray) -> np.ndarray:
    """The outputs that are not learned, the least explained first."""
    raw = context.moments.raw
    ceilings = quadratic.explained(raw, quadratic.optimum(raw))
    spacing = np.finfo(np.float64).eps * (np.diagonal(raw.covariance_yy) + raw.mean_y**2)
    counted = (np.diagonal(raw.covariance_yy) > raw.count * spacing) & (ceilings > KNOWN)
    hidden = np.flatnonzero(counted & (outputs < LEAST * ceilings))
    return hidden[np.argsort(outputs[hidden], kind="stable")]


def _fix(context: Context) -> Fix | None:
    """The simplest settings with all outputs in units of their own that learn them all within the budget."""
    for changes in with_normalizers(context, "feature"):
        settings = context.changed(changes)
        outputs = explained_outputs(context, settings)
        if outputs is not None and not len(_hidden(context, outputs)):
            different = changed(context, settings)
            words = f"--normalize feature --learning-rate {settings.step_size:.3g} --batch-size {settings.batch_size}"
            told = {name: plain_value(name, value) for name, value in different.items()}
            return Fix(f"{words}: every output explained", told, context.epochs_of(settings))
    return None
