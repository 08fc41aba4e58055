"""The layer that a run is predicted to end with: its weights on raw inputs, and what it explains of each output."""

import numpy as np
from jaxtyping import Float

from idjax.diagnosis.data.context import Context
from idjax.moments.normalize import fold
from idjax.settings import Settings
from idjax.theory import quadratic
from idjax.types import Weights


def folded(context: Context, settings: Settings) -> Weights | None:
    """The expected weights at the end of the budget, on raw inputs; None where they are not known."""
    fold_with, weights = context.problem_of(settings).fold_with, context.curve_of(settings).weights
    known = fold_with is not None and settings.activation == "linear" and np.isfinite(weights.stacked).all()
    return fold(fold_with, weights) if fold_with is not None and known else None


def explained_outputs(context: Context, settings: Settings) -> Float[np.ndarray, " q"] | None:
    """The explained variance of each output by these weights, the noise of the batches apart; None if not known."""
    weights = folded(context, settings)
    if weights is None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # of a run that diverges
        explained = quadratic.explained(context.moments.raw, weights)
    return explained if np.isfinite(explained).all() else None
