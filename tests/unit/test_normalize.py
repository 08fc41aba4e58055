"""Normalisers: invertible, the same for arrays and moments, and defined where nothing varies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idjax.moments import normalize as n
from idjax.moments.moments import moments_of
from idjax.moments.spectrum import principal_axes
from idjax.nn.model import DenseModel, to_params
from idjax.types import Weights

WHITENINGS = ["pca", "zca"]


def rows(seed=0, count=40, p=6):
    return np.random.default_rng(seed).normal(3, [0.1, 1, 2, 5, 0.5, 1][:p], (count, p))


@pytest.mark.parametrize("module", [np, jnp])
def test_samples_standardise_and_come_back(module):
    x = module.asarray(rows(), module.float32)
    z, affine = n.standardize_samples(x)
    np.testing.assert_allclose(np.mean(z, axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.std(z, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(n.undo(z, affine), x, atol=2e-6)
    assert type(z) is type(x)


def test_constant_rows_come_back_whatever_the_layer_says():
    x = np.tile(np.array([[0.1], [7.0]], np.float32), (1, 84))
    z, affine = n.standardize_samples(x)
    assert not z.any()
    restored = n.undo(z + 123, affine)
    np.testing.assert_allclose(restored, x, rtol=4 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("kind", ["none", "center", "feature", *WHITENINGS])
@pytest.mark.parametrize("target", [False, True])
def test_moments_are_encoded_as_rows_are(kind, target):
    x = rows()
    y = x[:, :2] * 3 - 1 if target else None
    raw = moments_of(x, y)
    fitted = n.fit(kind, raw)
    z, t, affine = n.encode(kind, fitted, x, y)
    encoded, direct = n.encode_moments(fitted, raw), moments_of(z, t if target else None)
    for name in ("mean_x", "mean_y", "covariance_xx", "covariance_xy", "covariance_yy"):
        np.testing.assert_allclose(getattr(encoded, name), getattr(direct, name), atol=1e-12, err_msg=name)
    np.testing.assert_allclose(n.undo(t, affine), x if y is None else y, rtol=1e-12)
    if kind == "feature":
        np.testing.assert_allclose(np.diagonal(encoded.covariance_xx), 1)


def test_sample_leaves_another_target_alone():
    x, y = rows(), rows(1)[:, :2]
    z, t, affine = n.encode("sample", n.fit("sample", moments_of(x, y)), x, y)
    assert t is y
    np.testing.assert_array_equal(n.undo(t, affine), y)
    np.testing.assert_allclose(z.std(axis=1), 1)


@pytest.mark.parametrize("kind", ["none", "center", "feature", *WHITENINGS])
@pytest.mark.parametrize("target", [False, True])
def test_fold_makes_the_normaliser_superfluous(kind, target):
    x = rows()
    x[:, 2] = 5.0
    y = x[:, :2] ** 2 if target else None
    fitted = n.fit(kind, moments_of(x, y))
    rng = np.random.default_rng(2)
    weights = Weights(rng.normal(size=(6, 2 if target else 6)), rng.normal(size=2 if target else 6))
    z, _, affine = n.encode(kind, fitted, x, y)
    folded = n.fold(fitted, weights)
    np.testing.assert_allclose(
        x @ folded.kernel + folded.bias, n.undo(z @ weights.kernel + weights.bias, affine), atol=1e-10
    )


def test_constant_features():
    x = rows()
    x[:, 1] = 0.1
    fitted = n.fit("feature", moments_of(x))
    z, _, affine = n.encode("feature", fitted, x, None)
    assert not z[:, 1].any()
    np.testing.assert_allclose(n.undo(z + 1, affine)[:, 1], 0.1, rtol=1e-15)


def projector(rank: int, p: int) -> np.ndarray:
    return np.diag((np.arange(p) < rank).astype(float))


@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_whitening_whatever_the_scales(p, decades, seed):
    """Features of scales up to 10^12 apart: identity covariance, and rows that come back, relative to their scale."""
    rng = np.random.default_rng(seed)
    scale = rng.permutation(10.0 ** (decades * np.linspace(-0.5, 0.5, p)))
    x = (rng.normal(size=(100, p)) @ (np.eye(p) + 0.2 * rng.normal(size=(p, p))) + rng.normal(size=p)) * scale
    for kind in WHITENINGS:
        fitted = n.fit(kind, moments_of(x))
        z, _, transform = n.encode(kind, fitted, x, None)
        np.testing.assert_allclose(n.undo(z, transform) / scale, x / scale, atol=1e-8)
        np.testing.assert_allclose(np.cov(z.T, bias=True).reshape(p, p), np.eye(p), atol=1e-8)
        np.testing.assert_allclose(n.encode_moments(fitted, moments_of(x)).covariance_xx, np.eye(p), atol=1e-8)


def test_scales_are_why_the_covariance_is_not_diagonalised_as_it_is():
    """The control: eigenvectors of the covariance itself lose small features beside large ones."""
    x = rows(count=200) * np.logspace(-6, 6, 6)
    covariance = moments_of(x).covariance_xx
    values, vectors = np.linalg.eigh(covariance)
    raw = vectors / np.sqrt(np.abs(values))
    assert np.abs(raw.T @ covariance @ raw - np.eye(6)).max() > 1e-3
    good = principal_axes(covariance).forward
    np.testing.assert_allclose(good.T @ covariance @ good, np.eye(6), atol=1e-10)


@pytest.mark.parametrize("kind", WHITENINGS)
@pytest.mark.parametrize("decades", [0, 4])
def test_whitening_keeps_the_range_of_dependent_columns(kind, decades):
    """A duplicate, a sum, a constant of rounded mean: rank 6 of 9, z = 0 along the rest, and the mean comes back."""
    x = np.random.default_rng(3).normal(1, 1, (50, 9)) * np.logspace(-decades / 2, decades / 2, 9)
    x[:, 1], x[:, 4], x[:, 7] = x[:, 0], x[:, 3] - 2 * x[:, 5], 0.1
    fitted = n.fit(kind, moments_of(x))
    z, _, transform = n.encode(kind, fitted, x, None)
    np.testing.assert_allclose(n.undo(z, transform), x, atol=1e-10 * np.abs(x).max())
    along = z @ transform.axes if kind == "zca" else z
    np.testing.assert_allclose(np.cov(along.T, bias=True), projector(6, 9), atol=1e-8)
    assert np.count_nonzero(transform.scale) == 6
    np.testing.assert_allclose(n.undo(z + 5, transform)[:, 7], 0.1, rtol=1e-12)
    np.testing.assert_allclose(n.undo(z + 5, transform)[:, 0], n.undo(z + 5, transform)[:, 1], rtol=1e-9)
    # What is out of range leaves no trace, and is orthogonal to what the layer can say.
    stranger = x + np.random.default_rng(4).normal(size=x.shape)
    rest = stranger - n.undo(n.standardize(stranger, transform), transform)
    assert np.abs(rest @ transform.inverse.T).max() < 1e-9 * np.abs(transform.inverse).max()
    other = moments_of(stranger)
    lost = n.lost_variance(transform, other.mean_x, other.covariance_xx)
    assert lost == pytest.approx(np.mean(np.sum(rest**2, axis=1)), rel=1e-10)


@pytest.mark.parametrize("kind", WHITENINGS)
def test_whitening_with_fewer_rows_than_columns_one_column_or_nothing_that_varies(kind):
    x = np.random.default_rng(5).normal(size=(5, 12))
    z, _, transform = n.encode(kind, n.fit(kind, moments_of(x)), x, None)
    assert np.count_nonzero(transform.scale) == 4
    np.testing.assert_allclose(n.undo(z, transform), x, atol=1e-12)
    one = rows()[:, 2:3]
    z, _, transform = n.encode(kind, n.fit(kind, moments_of(one)), one, None)
    np.testing.assert_allclose(z, (one - one.mean()) / one.std(), rtol=1e-12)
    still = np.full((7, 3), 0.1)
    z, _, transform = n.encode(kind, n.fit(kind, moments_of(still)), still, None)
    assert not z.any()
    np.testing.assert_allclose(n.undo(z + 9, transform), still, rtol=1e-15)


def test_pca_and_zca_are_what_they_are_called():
    x = rows(count=300) @ np.random.default_rng(6).normal(size=(6, 6))
    raw = moments_of(x)
    pca, zca = (n.fit(kind, raw).inputs for kind in WHITENINGS)
    values, vectors = np.linalg.eigh(raw.covariance_xx)
    np.testing.assert_allclose(pca.scale**2, values[::-1], rtol=1e-9)
    np.testing.assert_allclose(np.abs(pca.axes), np.abs(vectors[:, ::-1]), atol=1e-9)
    assert (pca.axes.max(axis=0) >= -pca.axes.min(axis=0)).all()
    np.testing.assert_allclose(pca.inverse @ pca.inverse.T, np.diag(pca.scale**2), atol=1e-9)
    np.testing.assert_allclose(zca.forward, zca.forward.T, atol=1e-9)
    np.testing.assert_allclose(zca.inverse, (vectors * np.sqrt(values)) @ vectors.T, atol=1e-9)


@pytest.mark.parametrize("target", [False, True])
def test_weights_of_zca_in_the_coordinates_of_pca_do_the_same(target):
    x = rows(7)
    y = x[:, :2] ** 2 if target else None
    raw = moments_of(x, y)
    rng = np.random.default_rng(8)
    weights = Weights(rng.normal(size=(6, 2 if target else 6)), rng.normal(size=2 if target else 6))
    pca, zca = n.fit("pca", raw), n.fit("zca", raw)
    turned = n.zca_to_pca(pca, weights)
    for got, expected in zip(n.fold(pca, turned), n.fold(zca, weights), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    for got, expected in zip(n.zca_to_pca(pca, turned, back=True), weights, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("kind", WHITENINGS)
def test_the_model_whitens_as_arrays_are(kind):
    """In float32 on JAX, with the same functions and the identity a perfect autoencoder."""
    x = rows()
    fitted = n.fit(kind, moments_of(x))
    on_device = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), fitted)
    seen = n.standardize(jnp.asarray(x, jnp.float32), on_device.inputs)
    np.testing.assert_allclose(seen, n.standardize(x, fitted.inputs), atol=2e-4)
    assert "HIGHEST" in str(jax.make_jaxpr(n.standardize)(jnp.asarray(x, jnp.float32), on_device.inputs))
    identity = to_params(Weights(np.eye(6), np.zeros(6)))
    output = DenseModel(features=6, normalize=kind).apply(identity, x.astype(np.float32), on_device)
    np.testing.assert_allclose(output, x, atol=1e-5)
