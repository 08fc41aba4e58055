"""Two linear layers with an L2 penalty on each hidden unit: the components themselves are found, and how slowly.

Without a penalty a linear autoencoder finds the span of the first principal axes only. One penalty for all units keeps
the span and shrinks it (Kunin, Bloom, Goeva and Seed 2019); different ones turn every unit onto an axis of its own, the
least penalised onto the first (Bao, Lucas, Sachdeva and Grosse 2020), by a curvature as small as the penalties differ.
Derivations are in docs/deep.md (D10) to (D12).
"""

import numpy as np
from jaxtyping import Float


def optimal_strength(
    variance: Float[np.ndarray, " k"], penalty: Float[np.ndarray, " k"], share: float
) -> Float[np.ndarray, " k"]:
    """u = max(0, 1 - μ / (share λ)): what is left of each component at the optimum (D11); share is 1/q."""
    return np.maximum(1 - penalty / (share * variance), 0.0)


def component_angles(
    decoder: Float[np.ndarray, "k q"], covariance: Float[np.ndarray, "q q"], penalty: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """Angles in radians between each unit's outgoing weights and its principal axis, in the order of the penalties."""
    axes = np.linalg.eigh(covariance)[1][:, ::-1].T[np.argsort(np.argsort(penalty, kind="stable"))]
    along = np.sum(decoder * axes, axis=1)
    across = np.linalg.norm(decoder - along[:, None] * axes, axis=1)
    return np.arctan2(across, np.abs(along))
