"""The loss as a quadratic form along the path of gradient descent, in the eigenbasis of the data that train it.

With Θ = Θ_ref + V (d ∘ c), V the eigenvectors of M, c = Vᵀ(Θ_0 - Θ_ref) the start and d the factor by which each
coefficient has shrunk, the loss over rows with any moments is

    L(d) = constant + Σ_g [ 2 linear_g · d_g + e_gᵀ matrix e_g ],   e_g = shape_g ∘ d_g

where g runs over groups of outputs that learn at the same rates: one group, or one per output where the loss
weighs outputs differently. See docs/theory.md, section 3.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.moments.spectrum import least_squares, second_moment_factor
from idjax.types import Moments, Weights


class Projected(NamedTuple):
    """Moments of rows around Θ_ref, in the eigenbasis: ε = y - Θ_refᵀ a is the residual there.

    residual: E[w ε_j²], (q,).  slopes: -Vᵀ E[w a ε_j], (n, q).  gram: Vᵀ E[w a aᵀ] V, (n, n).
    """

    residual: Float[np.ndarray, " q"]
    slopes: Float[np.ndarray, "n q"]
    gram: Float[np.ndarray, "n n"]


class Quadratic(NamedTuple):
    """A loss along the path, or along one from each of k starts; a matrix of one row is the diagonal of one."""

    constant: Float[np.ndarray, ""]
    linear: Float[np.ndarray, "*k g n"]
    shape: Float[np.ndarray, "*k g n"]
    matrix: Float[np.ndarray, "*k m n"]


def optimum(moments: Moments) -> Weights:
    """A minimiser Θ* of the loss: [I; 0] for an autoencoder (exact, null modes included), else least squares."""
    if moments.autoencoder:
        return Weights(np.eye(moments.inputs), np.zeros(moments.outputs))
    kernel = least_squares(moments.covariance_xx, moments.covariance_xy)
    return Weights(kernel, moments.mean_y - moments.mean_x @ kernel)


def project(
    moments: Moments,
    reference: Weights,
    eigenvectors: Float[np.ndarray, "n n"],
    eigenvalues: Float[np.ndarray, " n"] | None = None,
) -> Projected:
    """The moments around a reference; an autoencoder at the identity has a residual of exactly 0.

    eigenvalues are those of these moments, where the eigenvectors are theirs.
    """
    if eigenvalues is None:
        root = eigenvectors.T @ second_moment_factor(moments)
        gram = root @ root.T
    else:
        gram = np.diag(eigenvalues)
    kernel, bias = reference
    if moments.autoencoder and np.array_equal(kernel, np.eye(*kernel.shape)) and not bias.any():
        return Projected(np.zeros_like(bias), np.zeros((len(gram), len(bias))), gram)
    variance, mean, covariance = _errors(moments, reference)
    cross = np.concatenate([covariance + np.outer(moments.mean_x, mean), mean[None]])
    return Projected(moments.weight * (variance + mean**2), -moments.weight * (eigenvectors.T @ cross), gram)


def _errors(moments: Moments, weights: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variances and means of what these weights leave of the targets, (q,), and its covariance with x, (p, q)."""
    kernel, bias = weights
    explained = moments.covariance_xx @ kernel
    twice = np.sum(kernel * (explained - 2 * moments.covariance_xy), axis=0)
    power = np.diagonal(moments.covariance_yy)
    # What is left of a difference of like numbers is rounding: rows that a layer can fit are fitted exactly.
    rounding = (len(kernel) + 1) * np.finfo(np.float64).eps * power
    variance = np.where(power + twice > rounding, power + twice, 0)
    return variance, moments.mean_y - moments.mean_x @ kernel - bias, moments.covariance_xy - explained


def explained(moments: Moments, weights: Weights) -> Float[np.ndarray, " q"]:
    """The explained variance of each target, in these rows, by a linear layer with these weights; 1 - E[ε²]/Var(y).

    A target that does not vary is explained by what is exact, and by nothing else: 1, or minus infinity.
    """
    if moments.autoencoder and np.array_equal(weights.kernel, np.eye(moments.inputs)) and not weights.bias.any():
        return np.ones(moments.outputs)
    variance, mean, _ = _errors(moments, weights)
    power, left = np.diagonal(moments.covariance_yy), variance + mean**2
    with np.errstate(divide="ignore"):
        return np.where(left == 0, 1.0, 1 - np.divide(left, power, out=np.full_like(left, np.inf), where=power > 0))


def reachable(train: Moments, judged: Moments) -> float:
    """The explained variance of the judged rows by the least squares layer of the training rows: 1 - Σ E[ε²]/Σ Var(y).

    It is 1 for an autoencoder, whose answer is the identity, and where the judged targets do not vary.

    Example:
      >>> from idjax.moments.moments import moments_of
      >>> x = np.array([0.0, 1.0, 2.0, 3.0])
      >>> rows = moments_of(x[:, None], np.array([0.0, 2.0, 2.0, 4.0])[:, None])
      >>> round(reachable(rows, rows), 3)
      0.9
    """
    power = float(np.trace(judged.covariance_yy))
    if train.autoencoder or power <= 0:
        return 1.0
    variance, mean, _ = _errors(judged, optimum(train))
    return 1 - float(np.sum(variance + mean**2)) / power


def quadratic_form(
    rows: Projected,
    coefficients: Float[np.ndarray, "*k n q"],
    output_weights: Float[np.ndarray, " q"],
    groups: int,
) -> Quadratic:
    """The loss (1/q) Σ_j ω_j E[w (y_j - θ_jᵀ a)²] along the path that starts at `coefficients`.

    groups is 1, all outputs together (the start then bends the matrix), or q, each by itself (and its start is
    its shape).
    """
    share = output_weights / len(output_weights)
    if groups == 1:
        weighted = coefficients * share
        if np.count_nonzero(rows.gram) == np.count_nonzero(np.diagonal(rows.gram)):
            matrix = np.diagonal(rows.gram) * np.sum(weighted * coefficients, axis=-1)[..., None, :]
        else:
            root = coefficients * np.sqrt(share)
            matrix = rows.gram * (root @ root.swapaxes(-1, -2))
        linear = np.sum(rows.slopes * weighted, axis=-1)[..., None, :]
        shape = np.ones_like(linear)
    else:
        matrix = rows.gram
        linear = (rows.slopes * coefficients * share).swapaxes(-1, -2)
        shape = (coefficients * np.sqrt(share)).swapaxes(-1, -2)
    return Quadratic(np.asarray(rows.residual @ share), linear, shape, matrix)


def evaluate(form: Quadratic, factors: Float[np.ndarray, "*t g n"]) -> Float[np.ndarray, "*s"]:
    """The loss at the given shrink factors d: (t,), or (k, t) for a form of coefficients (k, 1, n, q)."""
    shaped = factors * form.shape
    if form.matrix.shape[-2] == 1:
        bent = form.matrix * shaped
    elif shaped.shape[-2] == 1:  # all steps in one product
        matrix = form.matrix.reshape(*form.matrix.shape[:-3], *form.matrix.shape[-2:])
        bent = (shaped[..., 0, :] @ matrix)[..., None, :]
    else:
        bent = shaped @ form.matrix
    return np.sum(2 * form.linear * factors + bent * shaped, axis=(-2, -1)) + form.constant
