"""The nodes that stand for many modes where stable rates are sought."""

import numpy as np
import pytest

from idjax.theory.sgd import stability
from idjax.types import Spectrum

MODES = 280


@pytest.mark.parametrize("batch", [4])
def test_rates_by_nodes_are_those_of_every_mode(batch, monkeypatch):
    """To 1e-12, of a mean that moves all modes; with too few nodes they are not."""
    rng = np.random.default_rng(0)
    spectrum = Spectrum(np.append(400.0, np.geomspace(1.0, 1e-4, MODES)), np.eye(MODES + 1))
    mean = np.append(20.0, 0.1 * rng.normal(size=MODES) * np.sqrt(spectrum.eigenvalues[1:]))

    def rates() -> np.ndarray:
        limit = stability.max_step(spectrum, mean, batch)
        return np.array([limit, stability.best_step(spectrum, mean, batch, limit)])

    quick = rates()
    assert len(stability._on_range(spectrum, mean).nodes) < MODES
    monkeypatch.setattr(stability, "FEW", MODES + 1)
    each = rates()
    assert len(stability._on_range(spectrum, mean).nodes) == MODES + 1
    np.testing.assert_allclose(quick, each, rtol=1e-12)


def test_sums_over_nodes_are_those_over_modes(monkeypatch):
    """Of a function with a pole just beyond the outermost modes; three nodes an interval miss it."""
    at = np.sort(np.geomspace(1e-3, 1.0, MODES))[::-1]
    weights = np.random.default_rng(1).uniform(size=MODES)
    ties = np.concatenate([at, np.full(100, 0.3)])
    order = np.argsort(-ties)
    for points, counts in ((at, weights), (ties[order], np.append(weights, np.ones(100))[order])):

        def summed(nodes: np.ndarray, counts: np.ndarray) -> float:
            return float(counts @ (1 / (nodes[:, None] + nodes - 1.99e-3)) @ counts)

        true = summed(points, counts)
        assert summed(*np.concatenate(stability._nodes(points, counts), axis=1)) == pytest.approx(true, rel=1e-12)
        with monkeypatch.context() as few:
            few.setattr(stability, "NODES", 3)
            assert summed(*np.concatenate(stability._nodes(points, counts), axis=1)) != pytest.approx(true, rel=1e-9)
