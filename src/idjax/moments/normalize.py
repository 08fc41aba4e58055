"""Invertible standardisation and whitening of inputs and targets: pure functions of arrays, for NumPy and JAX alike.

Three kinds, with a = shift and s = scale, are z = (x - a) / s, x = s z + a:

    center    a = mean of each feature,  s = 1
    feature   a = mean of each feature,  s = its standard deviation
    sample    a = mean of each row,      s = its standard deviation (over features)

Two mix the features, along the axes V of their covariance V diag(s²) Vᵀ, so that E[z zᵀ] = 1:

    pca       z = (x - a) V / s,     x = a + (s z) Vᵀ
    zca       z = (x - a) V / s Vᵀ,  x = a + (z V s) Vᵀ

An autoencoder's targets are its inputs; under pca and zca any other targets are standardised per feature, for they
are to be learned one by one. What does not vary has s = 0: it is standardised to z = 0, and undoing gives back its
mean, whatever the layer says. See docs/theory.md, section 6.
"""

from typing import Any, NamedTuple

import numpy as np

from idjax.moments.spectrum import principal_axes
from idjax.types import Moments, Weights

Array = Any
"""A NumPy or JAX array: what has `__array_namespace__`."""


class Affine(NamedTuple):
    """The transform x = scale · z + shift; both broadcast against x of shape (N, p)."""

    shift: Array
    scale: Array


class Whitening(NamedTuple):
    """The transform x = z inverse + shift of rows, z = (x - shift) forward; forward is the pseudo-inverse of inverse.

    shift (p,); forward, inverse (p, p); axes V (p, p) and scale s (p,), the deviations along them.
    """

    shift: Array
    forward: Array
    inverse: Array
    axes: Array
    scale: Array


Transform = Affine | Whitening


class Normalizer(NamedTuple):
    """The transforms of inputs and targets, fitted to training rows by `fit`."""

    inputs: Transform
    targets: Transform


def standardize(x: Array, transform: Transform) -> Array:
    """z of rows x, and 0 where the scale is 0."""
    return _divide(x - transform.shift, transform)


def undo(z: Array, transform: Transform) -> Array:
    """x of rows z: the inverse of `standardize`."""
    return _multiply(z, transform) + transform.shift


def _divide(step: Array, transform: Transform) -> Array:
    """A step of x in units of z."""
    if isinstance(transform, Whitening):
        return _product(step, transform.forward)
    xp = transform.scale.__array_namespace__()
    constant = transform.scale == 0
    return xp.where(constant, 0, step / xp.where(constant, 1, transform.scale))


def _multiply(step: Array, transform: Transform) -> Array:
    """A step of z in units of x."""
    return _product(step, transform.inverse) if isinstance(transform, Whitening) else transform.scale * step


def _product(a: Array, b: Array) -> Array:
    """a b; at JAX's default precision a GPU or TPU would round both to 10 or 8 bits."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a @ b
    xp = (b if isinstance(a, np.ndarray) else a).__array_namespace__()
    return xp.matmul(a, b, precision="highest")


def sample_affine(x: Array, spacing: float | None = None) -> Affine:
    """The mean and standard deviation of every row of x, (N, 1) each.

    A deviation that is mere rounding counts as 0; `spacing` is the relative spacing of the numbers that x holds,
    that of its dtype unless x was cast from a coarser one.
    """
    xp = x.__array_namespace__()
    shift = xp.mean(x, axis=1, keepdims=True)
    scale = xp.sqrt(xp.mean((x - shift) ** 2, axis=1, keepdims=True))
    rounding = 4 * (float(xp.finfo(x.dtype).eps) if spacing is None else spacing)
    return Affine(shift, xp.where(scale > rounding * xp.abs(shift), scale, 0))


def standardize_samples(x: Array, spacing: float | None = None) -> tuple[Array, Affine]:
    """Standardises each row of x by itself; `undo(z, affine)` gives x back."""
    affine = sample_affine(x, spacing)
    return standardize(x, affine), affine


UNFITTED = ("none", "sample")
"""The kinds that need no statistics of the rows."""


def unfitted(inputs: int, outputs: int) -> Normalizer:
    """The identity, which `fit` gives for the kinds that are UNFITTED, without a pass over the data."""
    return Normalizer(_identity(inputs), _identity(outputs))


def _identity(width: int) -> Affine:
    return Affine(np.zeros(width), np.ones(width))


def fit(kind: str, moments: Moments) -> Normalizer:
    """The transforms of every kind but sample from the moments of the training rows.

    `sample` needs no statistics: each row brings its own.
    """
    if kind in ("pca", "zca"):
        inputs = _whitening(moments.mean_x, moments.covariance_xx)
        targets = inputs if moments.autoencoder else _feature_affine("feature", moments.mean_y, moments.covariance_yy)
        return Normalizer(inputs, targets) if kind == "pca" else pca_to_zca(Normalizer(inputs, targets))
    return Normalizer(
        inputs=_feature_affine(kind, moments.mean_x, moments.covariance_xx),
        targets=_feature_affine(kind, moments.mean_y, moments.covariance_yy),
    )


def _whitening(mean: np.ndarray, covariance: np.ndarray) -> Whitening:
    # Rounding that a constant column's deviation is made of would pass for a feature of its own.
    varies = _feature_affine("feature", mean, covariance).scale > 0
    axes, deviations, forward, inverse = principal_axes(covariance * np.outer(varies, varies))
    return Whitening(mean, forward, inverse, axes, deviations)


def pca_to_zca(fitted: Normalizer) -> Normalizer:
    """The normaliser that turns what this one whitens back from the principal axes."""
    inputs = fitted.inputs
    assert isinstance(inputs, Whitening)
    turned = inputs._replace(forward=inputs.forward @ inputs.axes.T, inverse=inputs.axes @ inputs.inverse)
    return Normalizer(turned, turned if fitted.targets is inputs else fitted.targets)


def _feature_affine(kind: str, mean: np.ndarray, covariance: np.ndarray) -> Affine:
    if kind in UNFITTED:
        return _identity(len(mean))
    if kind == "center":
        return Affine(mean, np.ones_like(mean))
    deviation = np.sqrt(np.diagonal(covariance))
    rounding = 4 * np.finfo(np.float64).eps * np.abs(mean)
    return Affine(mean, np.where(deviation > rounding, deviation, 0.0))


def encode(kind: str, fitted: Normalizer, x: Array, y: Array | None) -> tuple[Array, Array, Transform]:
    """Rows as the layer sees them: inputs z, targets t, and the transform that undoes the output.

    y is None for an autoencoder, whose target is x. `sample` leaves any other target alone.
    """
    if kind == "none":
        return x, x if y is None else y, fitted.targets
    if kind == "sample":
        z, affine = standardize_samples(x)
        return (z, z, affine) if y is None else (z, y, fitted.targets)
    z = standardize(x, fitted.inputs)
    return z, z if y is None else standardize(y, fitted.targets), fitted.targets


def encode_moments(fitted: Normalizer, moments: Moments) -> Moments:
    """The moments of z and t for every kind but sample, from the moments of x and y.

    Exact and cheap: an affine map of rows is an affine map of moments.
    """

    def both(covariance: np.ndarray, left: Transform, right: Transform) -> np.ndarray:
        return _divide(_divide(covariance, right).T, left).T

    of_x = standardize(moments.mean_x, fitted.inputs), both(moments.covariance_xx, fitted.inputs, fitted.inputs)
    of_y = None
    if not moments.autoencoder:
        cross = both(moments.covariance_xy, fitted.inputs, fitted.targets)
        square = both(moments.covariance_yy, fitted.targets, fitted.targets)
        of_y = standardize(moments.mean_y, fitted.targets), cross, square
    return Moments.of_pair(moments.count, moments.weight, of_x, of_y)


def fold(fitted: Normalizer, weights: Weights) -> Weights:
    """The weights that do in original units what these do between `standardize` and `undo`.

    For every kind but sample: with them the model needs no normaliser any more.
    """
    kernel = _divide(np.eye(len(weights.kernel)), fitted.inputs) @ _multiply(weights.kernel, fitted.targets)
    bias = undo(weights.bias, fitted.targets) - fitted.inputs.shift @ kernel
    return Weights(kernel, bias)


def zca_to_pca(fitted: Normalizer, weights: Weights, back: bool = False) -> Weights:
    """The weights that do on z of pca what these do on z of zca, z_zca = z_pca Vᵀ; or the other way, back.

    W becomes Vᵀ W V for an autoencoder, Vᵀ W for other targets, which the kinds have in common.
    """
    assert isinstance(fitted.inputs, Whitening)
    axes = fitted.inputs.axes.T if back else fitted.inputs.axes
    kernel, bias = axes.T @ weights.kernel, weights.bias
    return Weights(kernel @ axes, bias @ axes) if isinstance(fitted.targets, Whitening) else Weights(kernel, bias)


def lost_variance(transform: Transform, mean: np.ndarray, covariance: np.ndarray) -> float:
    """E|r|² of r = x - undo(standardize(x)): what rows have across the range of the training rows, which no output
    restores. r is orthogonal to every error that the layer makes.
    """

    def lost(step: np.ndarray) -> np.ndarray:
        return step - _multiply(_divide(step, transform), transform)

    offset = lost(mean - transform.shift)
    return float(np.trace(lost(lost(covariance).T)) + offset @ offset)
