"""Cures of a layer's inputs: their second moment after each, and so the layer's block of the curvature.

The block is close to M ⊗ G with G from the layers above: a cure of the inputs changes M alone, and multiplies the ends
of the block's spectrum as it does those of M; docs/models.md (M1), (M5). Source: Martens and Grosse 2015 (K-FAC).
"""

import numpy as np
from jaxtyping import Bool, Float

from idjax.diagnosis.trace.layer_moments import Ends, InputMoments, ends, joined
from idjax.results.program import Effect

DOMINANT = 10.0
"""|m|²/tr Σ from which the mean counts: a ReLU of centred inputs has 0.47, a sigmoid of a standard normal 5.8. And what
centring has to gain: of small inputs with a bias, whose own input is 1, it gains nothing."""
LARGE = 5.0
"""Root mean square of inputs from which they are large: 25 times the curvature of what initialisers are made for."""
SMALL = 0.01
"""And below which they are small; an embedding of 1,000 numbers starts at 1/√1000 = 0.03, which is meant."""
DEVIATION = "root mean square deviation"
"""The evidence of inputs that vary around a mean that outweighs them, so that the mean goes first."""


def centred(moments: InputMoments, by: float = 1.0) -> Float[np.ndarray, "n n"]:
    """M once the mean is subtracted, and the rest divided by one number: the covariance, and 1 for the bias."""
    return joined(moments.covariance / by**2, np.zeros_like(moments.mean), moments.bias)


def divided(moments: InputMoments, by: float) -> Float[np.ndarray, "n n"]:
    """M of the inputs divided by one number."""
    square = moments.covariance + np.outer(moments.mean, moments.mean)
    return joined(square / by**2, moments.mean / by, moments.bias)


def standardised(moments: InputMoments) -> Float[np.ndarray, "n n"]:
    """M once each input has mean 0 and variance 1: the correlations."""
    deviation = np.sqrt(np.diagonal(moments.covariance))
    inverse = 1 / np.where(deviation > 0, deviation, np.inf)
    return joined(moments.covariance * np.outer(inverse, inverse), np.zeros_like(moments.mean), moments.bias)


def layer_normed(moments: InputMoments) -> Float[np.ndarray, "n n"]:
    """M of the kept vectors, each standardised by itself, as LayerNorm does."""
    centre = moments.sample - moments.sample.mean(axis=1, keepdims=True)
    rows = centre / np.sqrt(np.mean(centre**2, axis=1, keepdims=True) + 1e-6)
    return joined(rows.T @ rows / len(rows), rows.mean(axis=0), moments.bias)


def without(moments: InputMoments, dropped: Bool[np.ndarray, " p"]) -> Float[np.ndarray, "n n"]:
    """M without some of the inputs."""
    kept = np.append(~dropped, True) if moments.bias else ~dropped
    return moments.second_moment[np.ix_(kept, kept)]


def effect(cure: str, before: Ends, after: Float[np.ndarray, "n n"], noise: float = 0.0) -> Effect:
    """The ends after over the ends before, eigenvalues that are rounding left out of both."""
    then = ends(after, noise)
    return Effect(
        cure=cure,
        top=then.top / before.top if before.top > 0 else np.nan,
        bottom=then.bottom / before.bottom,
        condition_before=before.condition_number,
        condition_after=then.condition_number,
    )
