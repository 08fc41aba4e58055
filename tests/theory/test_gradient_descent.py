"""Gradient descent in closed form against iteration, and where iteration could not go."""

import mpmath
import numpy as np
import pytest

from idjax.theory.full_batch import gradient_descent as gd
from idjax.theory.full_batch import momentum

RATES = np.array([[0.0, 1e-3, 0.3, 0.999999, 1.0, 1.5, 1.999, 2.0, 2.1]])


def test_factors_against_iteration():
    steps = np.arange(40.0)
    got = gd.shrink_factors(RATES, 1.0, steps)
    iterated = np.stack([(1 - RATES) ** int(t) for t in steps])
    np.testing.assert_allclose(got, iterated, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("scaled", [3.6e-10, 1e-15, 1e-4])
@pytest.mark.parametrize("steps", [1e3, 1e9, 1e15])
def test_tiny_rates_and_huge_times(scaled, steps):
    with mpmath.workdps(60):
        truth = float((1 - mpmath.mpf(scaled)) ** mpmath.mpf(int(steps)))
    got = float(gd.shrink_factors(np.array([scaled]), 1.0, steps)[0])
    assert got == pytest.approx(truth, rel=1e-9, abs=1e-300)
    if scaled < 1e-8:  # the control: 1 - s in float32 is 1, and nothing would ever be learned
        assert np.float32(1) - np.float32(scaled) == 1


def test_learning_rates():
    rates = np.array([[4.0, 1.0, 0.0]])
    assert momentum.max_learning_rate(rates, 0.0, False) == pytest.approx(0.5)
    assert momentum.best_learning_rate(rates, 0.0, False) == pytest.approx(0.4)
