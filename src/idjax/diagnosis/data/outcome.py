"""The layer that a run is predicted to end with: its weights on raw inputs, and what it explains of each output."""

import numpy as np
from jaxtyping import Float

from idjax.diagnosis.data.context import Context
from idjax.moments.normalize import fold
from idjax.results.diagnosis import Samples
from idjax.settings import Settings
from idjax.theory import quadratic
from idjax.types import Weights


def folded(context: Context, settings: Settings, weights: Weights | None = None) -> Weights | None:
    """Weights on raw inputs, those expected at the end of the budget if not given; None where they are not known."""
    fold_with, weights = context.problem_of(settings).fold_with, weights or context.curve_of(settings).weights
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


def samples_of(context: Context, weights: Weights, rows: int) -> Samples | None:
    """So many rows, and what the layer of these weights answers to them; None where they are not known."""
    if (layer := folded(context, context.settings, weights)) is None:
        return None
    x, y = context.sample.x, context.sample.target
    chosen = np.linspace(0, len(x) - 1, min(rows, len(x))).astype(int)
    with np.errstate(over="ignore", invalid="ignore"):
        output = x[chosen] @ layer.kernel + layer.bias
    return Samples(y[chosen], output, context.moments.raw.mean_y) if np.isfinite(output).all() else None
