"""Explained variance and shape correlation: whether a loss means that anything was learned.

A loss of 1e-6 says nothing by itself. See docs/theory.md, section 4.
"""

import numpy as np
from jaxtyping import Float

from idjax.types import Moments


def explained_variance(mean_squared_error: Float[np.ndarray, "*t"], variance: float) -> Float[np.ndarray, "*t"]:
    """EV = 1 - MSE / variance: 1 is perfect, 0 is no better than the mean, below 0 is worse.

    Targets that do not vary are explained (1) only by an error of 0, and NaN otherwise.
    """
    if variance > 0:
        return np.asarray(1 - mean_squared_error / variance)
    return np.where(mean_squared_error == 0, 1.0, np.nan)


def level(learned_at: float, reachable: float) -> float:
    """The explained variance that counts as learned: that share of what the best linear layer reaches.

    Where even that does no better than the mean there is nothing to be a share of, and it is learned_at itself.
    """
    return learned_at * reachable if reachable > 0 else learned_at


def shape_correlation(
    moments: Moments,
    kernel: Float[np.ndarray, "p q"],
    bias: Float[np.ndarray, " q"],
) -> float:
    """tr(J E[ŷ yᵀ]) / sqrt(tr(J E[ŷ ŷᵀ]) tr(J E[y yᵀ])), J = I - 11ᵀ/q, from moments of (x, y).

    Approximate below q of about 20 (it is a ratio of means, not the mean of ratios); NaN at q = 1, where a row
    has no shape.
    """
    if moments.outputs == 1:
        return float("nan")
    mean_y = moments.mean_y
    mean_out = moments.mean_x @ kernel + bias
    cross = kernel.T @ moments.covariance_xy
    square = kernel.T @ moments.covariance_xx @ kernel

    def centred_trace(covariance: np.ndarray, left: np.ndarray, right: np.ndarray) -> float:
        spread = np.trace(covariance) - covariance.mean() * len(left)
        return float(spread + (left - left.mean()) @ (right - right.mean()))

    together = centred_trace(cross, mean_out, mean_y)
    out = centred_trace(square, mean_out, mean_out)
    target = centred_trace(moments.covariance_yy, mean_y, mean_y)
    return together / float(np.sqrt(out) * np.sqrt(target)) if out > 0 and target > 0 else float("nan")


def crossing(steps: Float[np.ndarray, " t"], losses: Float[np.ndarray, " t"], level: float) -> float:
    """The step at which recorded losses first are at most `level`, between records by their decay; inf if never."""
    reached = np.flatnonzero(losses <= level)
    if not len(reached):
        return float("inf")
    index = int(reached[0])
    if index == 0 or losses[index] <= 0 or level <= 0:
        return float(steps[index])
    before, after = np.log(losses[index - 1]), np.log(losses[index])
    share = (before - np.log(level)) / (before - after)
    return float(steps[index - 1] + share * (steps[index] - steps[index - 1]))
