"""Heavy tails: how far the stable learning rate of some rows lies below that of Gaussian rows with their moments."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.moments.spectrum import largest_eigenvalue


class FourthMoment(NamedTuple):
    """Fourth moments of some rows and of Gaussian rows, on the range of their second moment M.

    curvature: eigenvalues of M, (r,).
    own, gaussian: T and T_G in coordinates in which M is the identity, (r, r), T = E[|a|² a aᵀ] and for Gaussian rows
    T_G = 2 M² + tr(M) M - 2 |μ|² μμᵀ.
    """

    curvature: Float[np.ndarray, " r"]
    own: Float[np.ndarray, "r r"]
    gaussian: Float[np.ndarray, "r r"]

    def tails(self, batch: int) -> float:
        """min(1, ρ_Gauss/ρ) of the largest ρ with E[M̂²] ≤ ρ M in these rows, M̂ the second moment of a batch.

        An update with rate η' is stable in mean square if η' E[M̂²] < 2 M; E[M̂²] = (1 - 1/B) M² + T/B.
        docs/theory.md (131).
        """

        def largest(fourth: np.ndarray) -> float:
            return largest_eigenvalue(np.diag((1 - 1 / batch) * self.curvature) + fourth / batch)

        return min(1.0, largest(self.gaussian) / largest(self.own))


def fourth_moment_of(z: Float[np.ndarray, "k p"]) -> FourthMoment:
    """The fourth moments of the rows a = [z; 1]."""
    a = np.append(z, np.ones((len(z), 1)), axis=1)
    values, vectors = np.linalg.eigh(a.T @ a / len(a))
    keep = values > 1e-10 * values[-1]
    curvature, whitener = values[keep], vectors[:, keep] / np.sqrt(values[keep])
    mean = a.mean(axis=0)
    centre = mean @ whitener
    gaussian = np.diag(2 * curvature + values.sum()) - 2 * (mean @ mean) * np.outer(centre, centre)
    white = a @ whitener
    white *= np.sqrt(np.einsum("kp,kp->k", a, a) / len(a))[:, None]
    return FourthMoment(curvature, white.T @ white, gaussian)
