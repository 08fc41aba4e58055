"""Spectrum: the smallest eigenvalues as accurate as the largest, and null modes that are exactly null."""

import mpmath
import numpy as np
import pytest

from idjax.moments.moments import measure, moments_of
from idjax.moments.spectrum import least_squares, second_moment_factor, spectrum_of

ACCURACY = 1e-6


def exact_eigenvalues(moments) -> np.ndarray:
    """Eigenvalues of [[Σ + mmᵀ, m], [mᵀ, 1]] in 60 digits, from the float64 Σ and m."""
    with mpmath.workdps(60):
        sigma, mean = moments.covariance_xx, moments.mean_x
        p = len(mean)
        a = mpmath.zeros(p + 1)
        for i in range(p):
            for j in range(p):
                a[i, j] = mpmath.mpf(float(sigma[i, j])) + mpmath.mpf(float(mean[i])) * mpmath.mpf(float(mean[j]))
            a[i, p] = a[p, i] = mpmath.mpf(float(mean[i]))
        a[p, p] = mpmath.mpf(1)
        return np.array([float(value) for value in mpmath.eigsy(a, eigvals_only=True)])[::-1]


@pytest.mark.parametrize("ratio", [1.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("scales", ["equal", "mixed"])
def test_small_eigenvalues_are_accurate(ratio, scales):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 20)) @ (np.eye(20) + 0.3 * rng.normal(size=(20, 20)))
    x = x + ratio * (1 + 0.1 * rng.normal(size=20))
    if scales == "mixed":
        x = x * np.logspace(-3, 3, 20)
    moments = moments_of(x)
    exact = exact_eigenvalues(moments)
    np.testing.assert_allclose(spectrum_of(moments).eigenvalues, exact, rtol=ACCURACY)
    if ratio >= 1e6:  # the control: M rounded to float64 has lost them
        factor = second_moment_factor(moments)
        rounded = np.linalg.eigvalsh(factor @ factor.T)[::-1]
        assert not np.allclose(rounded, exact, rtol=ACCURACY, atol=0)


def test_the_isotropic_case_in_closed_form():
    """Sigma = s² I, m = mu 1: d - 1 eigenvalues s² and those of [[s² + d mu², √d mu], [√d mu, 1]]."""
    d, mean, deviation = 84, 1.1090579, 0.0012380764
    moments = moments_of(np.zeros((2, d)))
    moments = type(moments)(
        count=2,
        weight=1.0,
        mean_x=np.full(d, mean),
        mean_y=np.full(d, mean),
        covariance_xx=deviation**2 * np.eye(d),
        covariance_xy=deviation**2 * np.eye(d),
        covariance_yy=deviation**2 * np.eye(d),
        autoencoder=True,
    )
    got = spectrum_of(moments).eigenvalues
    np.testing.assert_allclose(got[1:-1], deviation**2, rtol=1e-10)
    trace, determinant = deviation**2 + d * mean**2 + 1, deviation**2
    top = (trace + np.sqrt(trace**2 - 4 * determinant)) / 2
    np.testing.assert_allclose(got[[0, -1]], [top, determinant / top], rtol=1e-10)
    assert got[0] == pytest.approx(104.3, abs=0.05)
    assert got[-1] == pytest.approx(1.47e-8, rel=0.01)


def test_eigenvectors_are_orthonormal_and_rebuild_m():
    moments = moments_of(np.random.default_rng(5).normal(2, 1, (30, 7)))
    got = spectrum_of(moments)
    factor = second_moment_factor(moments)
    np.testing.assert_allclose(got.eigenvectors.T @ got.eigenvectors, np.eye(8), atol=1e-13)
    np.testing.assert_allclose(got.eigenvectors * got.eigenvalues @ got.eigenvectors.T, factor @ factor.T, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "nulls"),
    [
        (lambda x: np.c_[x, x[:, 0]], 1),
        (lambda x: np.c_[x, 3 * x[:, 0] - x[:, 1]], 1),
        (lambda x: np.c_[x, np.full(len(x), 0.1)], 1),
        (lambda x: x[:4], 2),
        (lambda x: np.full_like(x, 7.0), 5),
        (lambda x: x * np.logspace(0, -6, 5), 0),
    ],
    ids=[
        "duplicate",
        "dependent",
        "constant",
        "fewer rows than columns",
        "all constant",
        "six decades of scale",
    ],
)
def test_null_modes(change, nulls):
    x = change(np.random.default_rng(6).normal(1, 1, (40, 5)))
    got = spectrum_of(moments_of(x))
    assert len(got.eigenvalues) - got.rank == nulls
    assert got.eigenvectors.shape == (x.shape[1] + 1, x.shape[1] + 1)
    null = got.eigenvectors[:, got.rank :]
    assert np.abs(np.c_[x, np.ones(len(x))] @ null).max(initial=0) < 1e-11


def test_samples_standardised_have_one_null_mode():
    """Each z sums to 0: second moment (d/(d-1)) (I - 11ᵀ/d) for independent inputs, plus the bias's 1."""
    d = 12
    x = np.random.default_rng(7).normal(1.1, 0.01, (100_000, d))
    got = spectrum_of(measure(x).sample)
    assert len(got.eigenvalues) - got.rank == 1
    error = np.sqrt(2 * d / 100_000)
    np.testing.assert_allclose(np.delete(got.eigenvalues[:-1], 0), d / (d - 1), atol=4 * error + 0.1)


def test_least_squares_of_dependent_columns():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(50, 4))
    x = np.c_[x, x[:, 1]]
    y = x[:, :4] @ rng.normal(size=(4, 2))
    moments = moments_of(x, y)
    kernel = least_squares(moments.covariance_xx, moments.covariance_xy)
    np.testing.assert_allclose((x - x.mean(0)) @ kernel, y - y.mean(0), atol=1e-12)
