"""No training is needed: least squares has a direct solution.

One linear layer with a squared error is least squares. The pass over the data that this diagnosis makes has all that
is needed, and the solution takes a factorisation of a matrix as wide as the inputs.

Formula: W = Σ_xx⁺ Σ_xy, b = m_y - Wᵀ m_x; theory section 1.
Source: Gauss 1809
Example: idjax diagnose narrow-normal
Fix: numpy.linalg.lstsq, sklearn.linear_model.LinearRegression, or the weights that the report gives.
Apart: A note beside causes, never alone.
"""

import time

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.explanation import Explanation, slowing
from idjax.results.diagnosis import Finding

EXPLANATION = Explanation.of(__name__, __doc__, "note")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Beside a cause: how long the direct solution takes, measured."""
    if not slowing(found):
        return None
    begin = time.perf_counter()
    np.dot(np.linalg.pinv(context.moments.raw.covariance_xx, hermitian=True), context.moments.raw.covariance_xy)
    milliseconds = 1e3 * (time.perf_counter() - begin)
    answer = "the identity is the answer" if context.autoencoder else "least squares has a direct solution"
    return EXPLANATION.finding(
        message=f"{answer}: explained variance {context.reachable:.4g} in {milliseconds:.1f} ms, without training",
        evidence={"milliseconds": milliseconds, "explained variance": context.reachable},
        cost=1.0,
        fix="numpy.linalg.lstsq on centred data, unless the point is to learn about training",
    )
