"""Mean-square limits of minibatch SGD against the dense map, its own simulation, and the zero-mean formula."""

import numpy as np
import pytest
import scipy.optimize

from idjax.moments.moments import moments_of
from idjax.moments.spectrum import spectrum_of
from idjax.theory.sgd.stability import best_step, max_step


def dense_growth(second_moment, mean, step, batch) -> float:
    """Spectral radius of the map of E[e eᵀ], written out on all matrices."""
    n = len(mean)
    columns = []
    for i in range(n):
        for j in range(n):
            c = np.zeros((n, n))
            c[i, j] += 0.5
            c[j, i] += 0.5
            mcm = second_moment @ c @ second_moment
            noise = np.trace(second_moment @ c) * second_moment - 2 * (mean @ c @ mean) * np.outer(mean, mean)
            drift = second_moment @ c + c @ second_moment
            columns.append((c - step * drift + step**2 * ((1 + 1 / batch) * mcm + noise / batch)).ravel())
    return float(np.abs(np.linalg.eigvals(np.array(columns))).max())


def draw(seed):
    rng = np.random.default_rng(seed)
    p = int(rng.integers(1, 5))
    x = rng.normal(size=(60, p)) * np.logspace(0, -rng.uniform(0, 2), p) + rng.uniform(0, 5) * rng.normal(size=p)
    moments = moments_of(x)
    spectrum = spectrum_of(moments)
    second = spectrum.eigenvectors * spectrum.eigenvalues @ spectrum.eigenvectors.T
    return spectrum, second, np.append(moments.mean_x, 1.0), int(rng.integers(1, 9))


@pytest.mark.parametrize("seed", range(40))
def test_limit_and_best_step_against_the_dense_map(seed):
    spectrum, second, mean, batch = draw(seed)
    limit = max_step(spectrum, spectrum.eigenvectors.T @ mean, batch)
    assert dense_growth(second, mean, limit * (1 - 1e-6), batch) < 1
    assert dense_growth(second, mean, limit * (1 + 1e-6), batch) > 1
    best = best_step(spectrum, spectrum.eigenvectors.T @ mean, batch, limit)
    found = scipy.optimize.minimize_scalar(
        lambda share: dense_growth(second, mean, share * limit, batch),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-9},
    )
    got = dense_growth(second, mean, best, batch)
    assert 1 - got == pytest.approx(1 - found.fun, rel=1e-4)


def test_zero_mean_inputs_without_a_bias_term():
    """(η'/B) Σ λ/(2 - (1 + 1/B) η' λ) = 1, for a mean too small to matter and a bias that is null."""
    eigenvalues = np.array([3.0, 1.0, 0.5, 0.0])
    spectrum = type(draw(0)[0])(eigenvalues, np.eye(4))
    for batch in (1, 2, 8, 64):
        step = max_step(spectrum, np.zeros(4), batch)
        left = step / batch * np.sum(eigenvalues / (2 - (1 + 1 / batch) * step * eigenvalues))
        assert left == pytest.approx(1, rel=1e-6)


def test_the_standardised_failing_set():
    """d = 84, batch 8: about 7.1 in units of the learning rate, where 2/h₁ says 83 (theory section 2)."""
    d = 84
    eigenvalues = np.append(np.full(d - 1, d / (d - 1)), [1.0, 0.0])
    spectrum = type(draw(0)[0])(eigenvalues, np.eye(d + 1))
    mean = np.zeros(d + 1)
    mean[d - 1] = 1.0
    assert max_step(spectrum, mean, 8) * d / 2 == pytest.approx(7.14, abs=0.01)
    assert max_step(spectrum, mean, 10**9) * d / 2 == pytest.approx(83, rel=1e-6)


@pytest.mark.parametrize(("share", "grows"), [(0.9, False), (1.15, True)])
def test_the_limit_by_simulation(share, grows):
    """Many runs of d = 30 at batch 4: the mean squared error falls below the limit and rises above it.

    Many modes make the growth self-average, so that a plain mean over runs sees what the expectation does.
    """
    d, batch, runs = 30, 4, 400
    spectrum = type(draw(0)[0])(np.ones(d), np.eye(d))
    step = share * max_step(spectrum, np.zeros(d), batch)
    rng = np.random.default_rng(3)
    error = rng.normal(size=(runs, d))
    sizes = []
    for _ in range(60):
        rows = rng.normal(size=(runs, batch, d))
        error = error - step / batch * np.einsum("rbd,rb->rd", rows, np.einsum("rbd,rd->rb", rows, error))
        sizes.append(np.mean(error**2))
    assert (sizes[-1] > sizes[9]) == grows
