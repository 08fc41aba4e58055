"""Bands: other starts fall into them as often as they say."""

import dataclasses

import numpy as np
import pytest
from banded import BASE, SCALED, SUM, covered, middle_third, rows

from idjax import Settings, predict
from idjax.prediction.dynamics import bands

PREDICTED = [
    pytest.param(rows(30.0, 1.0), dataclasses.replace(BASE, optimizer="adam", epochs=30), id="adam in scalars"),
    pytest.param(
        rows(0.3, 1.0),
        dataclasses.replace(BASE, optimizer="adam", learning_rate=1e-3),
        id="adam",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        rows(0.3, 1.0),
        dataclasses.replace(BASE, schedule="cosine", learning_rate=0.05),
        id="cosine",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        rows(0.3, 1.0),
        dataclasses.replace(BASE, optimizer="adam", batch_size=800, epochs=30),
        id="adam, full batch",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        rows(0.3, 1.0),
        dataclasses.replace(BASE, learning_rate=0.05, batch_size=800),
        id="full batch",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("x", "settings"), PREDICTED)
def test_predictions_of_other_starts_fall_into_the_band(x, settings):
    """Four bands, for one of few starts is wide or narrow by chance."""
    hold_other_starts(x, settings, 4)


def hold_other_starts(x: np.ndarray, settings: Settings, count: int):
    """Bands of so many starts hold 40 other starts as often as they say, and their middle thirds do not."""
    batches = settings.optimizer == "sgd" and settings.batch_size < 800
    others = [predict(x, dataclasses.replace(settings, seed=1000 + k), band=False) for k in range(40)]
    found = [predict(x, dataclasses.replace(settings, seed=k)) for k in range(count)]
    for field in ("train", "validation"):
        losses = np.array([getattr(other, field) for other in others])
        shares, narrow = [], []
        for curve in found:
            band = getattr(curve, f"{field}_band")
            assert band.over == ("starts and orders of the rows" if batches else "starts")
            shares.append(covered(losses, band))
            narrow.append(covered(losses, middle_third(band)))
        # 95%, less three standard errors: bands of few starts cover more or less, 0.1 each, and others less.
        assert np.mean(shares) >= 0.80
        assert np.mean(narrow) < 0.75


@pytest.mark.slow
def test_the_band_from_a_few_starts_of_a_few_outputs(monkeypatch):
    """As where one run takes minutes: 12 bands, for with four degrees of freedom one can be half or twice as wide."""
    x, settings = rows(0.3, 1.0), dataclasses.replace(BASE, optimizer="adam", learning_rate=1e-3)
    monkeypatch.setattr(bands, "MOST_SECONDS", 0.0)
    hold_other_starts(x, settings, 12)


@pytest.mark.slow
def test_bands_of_activations():
    """Over starts, from the network linearised at each: the full batch has no order."""
    y = np.tanh(rows(0.3, 1.0) @ np.random.default_rng(0).normal(size=(8, 3)))
    settings = dataclasses.replace(BASE, hidden="16", hidden_activation="tanh", batch_size=800, learning_rate=0.3)
    others = [
        predict(rows(0.3, 1.0), dataclasses.replace(settings, seed=1000 + k), target=y, band=False) for k in range(20)
    ]
    losses = np.array([other.train for other in others])
    found = [predict(rows(0.3, 1.0), dataclasses.replace(settings, seed=k), target=y).train_band for k in range(2)]
    assert all(band.over == "starts" for band in found)
    assert np.mean([covered(losses, band) for band in found]) >= 0.80
    assert np.mean([covered(losses, middle_third(band)) for band in found]) < 0.75


@pytest.mark.slow
def test_starts_by_the_means_of_the_weights(monkeypatch):
    """The quick band is that of every start followed, to leading order in the noise of the batches."""
    settings = dataclasses.replace(BASE, learning_rate=0.02, momentum=0.5)
    exact = predict(SCALED, settings, target=SUM).train_band
    monkeypatch.setattr(bands, "MOST_LOSSES", 0)
    quick = predict(SCALED, settings, target=SUM).train_band
    assert exact is not None
    assert quick is not None
    np.testing.assert_allclose(quick.low, exact.low, rtol=0.08)
    np.testing.assert_allclose(quick.high, exact.high, rtol=0.08)
    other = predict(SCALED, dataclasses.replace(settings, learning_rate=0.03), target=SUM).train_band
    assert other is not None
    assert np.max(np.abs(other.high / exact.high - 1)) > 0.15


def test_nothing_random_has_no_band():
    settings = dataclasses.replace(BASE, start="identity", batch_size=800, learning_rate=0.05)
    assert predict(rows(0.3, 1.0), settings).train_band is None
