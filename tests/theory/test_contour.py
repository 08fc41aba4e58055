import numpy as np
import pytest

from idjax.theory.sgd import cauchy_sums
from idjax.theory.sgd import inverse_z_transform as contour

DECAYS = np.concatenate([[0.0], np.geomspace(1e-12, 0.5, 300)])


def error_of(window: contour.Window, steps: np.ndarray, nodes_of: contour.Window | None = None) -> float:
    """The worst error of (1 - θ)^t over modes and horizons, read off their transform 1/(z - 1 + θ)."""
    transform = 1 / (np.expm1((nodes_of or window).nodes) + DECAYS[:, None])
    expected = np.exp(steps * np.log1p(-DECAYS)[:, None])
    return float(np.abs(window.invert(transform, steps) - expected).max())


@pytest.mark.parametrize("first", [contour.SHORTEST, 15_675, 1e12])
@pytest.mark.parametrize("ratio", [1, 8, 20, 200, 512, 4096])
def test_every_horizon_of_a_window(first, ratio):
    window = contour.window_over(float(first), float(first * ratio))
    steps = np.unique(np.round(np.geomspace(first, first * ratio, 50)))
    assert window.holds(steps).all()
    assert not window.holds(np.array([first - 1.0, 1.1 * window.first * window.ratio])).any()
    assert error_of(window, steps) < 4e-13
    # Beyond the window the rule is not right, nor with fewer nodes than its ratio wants.
    assert error_of(window, np.array([np.round(first * window.ratio * 100)])) > 1e-8
    # Shorter ones would have the path bent beyond where e^p is one to one.
    assert np.abs(window.nodes.imag).max() * first / contour.SHORTEST < np.pi


def test_windows_of_the_grid_hold_each_horizon_once():
    steps = np.array([3.0, 32.0, 255.0, 256.0, 1e6, 1e18])
    windows = list(contour.windows_of(steps, 32.0))
    assert [window.first for window in windows] == sorted(window.first for window in windows)
    assert np.sum([window.holds(steps) for window in windows], axis=0).tolist() == [0, 1, 1, 2, 1, 1]
    assert list(contour.windows_of(steps[:1], 32.0)) == []


@pytest.mark.parametrize("slowest", [1e-3, 1e-12])
@pytest.mark.parametrize("window", [contour.Window(32.0), contour.Window(1e5), contour.window_over(32.0, 1e7)])
def test_sums_by_moments_in_bins_are_those_of_every_pair(slowest, window):
    """To 1e-14 where the transform is asked for; with a quarter of the terms they are not."""
    pulls = np.geomspace(1.9, slowest, 160)
    points = -np.add.outer(pulls, pulls)[np.triu_indices(160)] + np.outer(pulls, pulls)[np.triu_indices(160)]
    weights = np.random.default_rng(0).normal(size=(2, len(points))) ** 2
    places = np.expm1(window.nodes)
    each = weights @ (1 / (places[:, None] - points)).T
    size = weights @ (1 / np.abs(places[:, None] - points)).T
    assert len(points) > cauchy_sums.FEW
    sums = cauchy_sums.CauchySums(weights, points)
    assert np.all(np.abs(sums.at(places) - each) < 1e-14 * size)
    del sums._moments[cauchy_sums.TERMS // 4 :]
    assert not np.all(np.abs(sums.at(places) - each) < 1e-14 * size)
