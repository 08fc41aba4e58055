"""The bias is learned last of all.

Under a large mean a change of the bias is nearly made up for by a change of the weights along the mean. What tells
them apart is the smallest curvature of all, so bias and mean offset stay wrong together.

Formula: the bias mode's eigenvalue is about 1/(1 + mᵀ Σ⁻¹ m); theory section 1.
Source: LeCun, Kanter and Solla 1991
Example: idjax diagnose narrow-normal --batch-size 8
Fix: Centre the inputs: the bias is then a direction of its own, with curvature 2/q.
Apart: Because of a large mean, which has its own finding; a note where all else is learned.
"""

import math

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.outcome import folded
from idjax.diagnosis.explanation import Explanation
from idjax.moments.spectrum import least_squares
from idjax.prediction.predict import times_of_groups
from idjax.report.formatting import count
from idjax.results.diagnosis import Finding
from idjax.theory import quadratic

OFF, SEEN, KNOWN = 0.1, 1e-3, 3.0
"""Share of the right intercept, of the target's deviation, and standard errors, from which an intercept is off."""

EXPLANATION = Explanation.of(__name__, __doc__, "consequence")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """A bias mode slower than all others and than the budget, with a cause in the mean; or an intercept that is off."""
    if context.learned:
        return _intercept(context)
    causes = tuple(f.code for f in found if f.code in ("mean-dominated", "adam-bounce"))
    if not causes or context.followed:
        return None
    groups = {group.name: group for group in times_of_groups(context.run_of(context.settings))}
    bias = groups.get("bias")
    if bias is None or bias.steps <= context.budget * context.steps_per_epoch:
        return None
    if "slow" in groups and bias.steps < groups["slow"].steps:
        return None
    epochs = bias.steps / context.steps_per_epoch
    return EXPLANATION.finding(
        message=f"the bias {f'needs {count(epochs)} epochs' if math.isfinite(epochs) else 'is not learned'}: under a "
        "large mean it is hard to tell from the weights",
        evidence={"epochs for the bias": epochs, "its share of the loss at the start": bias.share},
        cost=1.0,
        fix="centre the inputs",
        causes=causes,
    )


def _intercept(context: Context) -> Finding | None:
    """A note where the explained variance counts as learned, and the intercept is not yet what least squares gives."""
    weights = None if context.autoencoder else folded(context, context.settings)
    if weights is None:
        return None
    raw, best = context.moments.raw, quadratic.optimum(context.moments.raw)
    right, got = best.bias, weights.bias
    off, power = np.abs(got - right), np.diagonal(raw.covariance_yy)
    # The intercept is as well known as the outputs at x = 0: (1 + mᵀ Σ⁺ m) σ²/N.
    lever = 1 + raw.mean_x @ least_squares(raw.covariance_xx, raw.mean_x[:, None])[:, 0]
    unsure = np.sqrt(lever / raw.count * power * np.maximum(1 - quadratic.explained(raw, best), 0))
    wrong = np.flatnonzero((off > OFF * np.abs(right)) & (off > SEEN * np.sqrt(power)) & (off > KNOWN * unsure))
    if not len(wrong):
        return None
    worst = int(wrong[np.argmax(off[wrong] / np.sqrt(np.maximum(power[wrong], 1e-300)))])
    name = context.columns.target_names[worst]
    return EXPLANATION.finding(
        kind="note",
        message=f"the intercept of {name} is still off at the end of {count(context.budget)} epochs: {got[worst]:.3g} "
        f"predicted, where least squares has {right[worst]:.3g}; the explained variance hardly shows it",
        evidence={"intercept predicted": float(got[worst]), "intercept of least squares": float(right[worst])},
        cost=1.0,
        fix="centre the inputs, or train for longer" if context.settings.normalize == "none" else None,
    )
