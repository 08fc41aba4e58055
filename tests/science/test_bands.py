"""Bands: other starts fall into them as often as they say."""

import dataclasses

import jax
import numpy as np
import pytest
from banded import BASE, SCALED, SUM, covered, middle_third, rows

from idjax import Schedule, Settings, predict
from idjax.moments.moments import measure
from idjax.prediction.dynamics import bands
from idjax.prediction.dynamics.full_batch import MeanTrajectory
from idjax.prediction.dynamics.theories import trajectory_for
from idjax.prediction.predict import run_spec

NOISE = np.random.default_rng(9).normal(size=(1000, 1))

PREDICTED = [
    pytest.param(
        rows(30.0, 1.0),
        dataclasses.replace(BASE, optimizer="adam", epochs=30),
        id="adam in scalars",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        rows(0.3, 1.0),
        dataclasses.replace(BASE, optimizer="adam", learning_rate=1e-3),
        id="adam",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        rows(0.3, 1.0),
        dataclasses.replace(BASE, schedule=Schedule("cosine"), learning_rate=0.05),
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
def test_bands_of_activations():
    """Over starts, followed where the kernel drifts: the full batch has no order."""
    y = np.tanh(rows(0.3, 1.0) @ np.random.default_rng(0).normal(size=(8, 3)))
    settings = dataclasses.replace(BASE, hidden=(16,), hidden_activation="tanh", batch_size=800, learning_rate=0.3)
    others = [
        predict(rows(0.3, 1.0), dataclasses.replace(settings, seed=1000 + k), target=y, band=False) for k in range(20)
    ]
    losses = np.array([other.train for other in others])
    found = [predict(rows(0.3, 1.0), dataclasses.replace(settings, seed=k), target=y).train_band for k in range(2)]
    assert all(band.over == "starts, 8 runs followed" for band in found)
    assert np.mean([covered(losses, band) for band in found]) >= 0.80
    assert np.mean([covered(losses, middle_third(band)) for band in found]) < 0.75


STARTS = [
    pytest.param(SCALED, SUM + NOISE, {"learning_rate": 0.02}, 0.02, id="label noise"),
    pytest.param(SCALED, SUM, {"learning_rate": 0.02, "momentum": 0.5}, 0.03, id="momentum", marks=pytest.mark.slow),
    pytest.param(rows(30.0, 1.0), None, {"learning_rate": 2e-4}, 0.1, id="large mean", marks=pytest.mark.slow),
    pytest.param(
        SCALED,
        SUM + NOISE,
        {"learning_rate": 0.02, "schedule": Schedule("exponential", factor=0.99)},
        0.02,
        id="schedule",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("x", "y", "changes", "first"), STARTS)
def test_losses_of_other_starts(x, y, changes, first):
    """Those in closed form are those of the theory from each start: within 1%, in the first epoch less closely.

    The negative control adds what the means of the weights differ by.
    """
    settings = dataclasses.replace(BASE, **changes)
    with jax.enable_x64(True):
        half = len(x) // 2
        train, other_rows = measure(x, y, False), measure(x[:half], None if y is None else y[:half], False)
        spec = run_spec(train, other_rows, settings)
        others = bands._others(spec, 12)
        trajectory = trajectory_for(spec)
        quick = trajectory.ensemble([other.start for other in others], len(others))
        own, *right = (trajectory_for(one).losses(spec.epochs) for one in (spec, *others))
        squares = MeanTrajectory(spec).means(spec.epochs)[1]
        more = [np.sum(squares * (other.power() - spec.power()), axis=(1, 2)) for other in others]
    for one, exact in zip(quick, right, strict=True):
        assert abs(one.train[0] / exact.train[0] - 1) < first
        np.testing.assert_allclose(one.train[1:], exact.train[1:], rtol=0.01)
        np.testing.assert_allclose(one.validation, exact.validation, rtol=0.01)
    assert max(np.max(np.abs((own.train + a) / exact.train - 1)) for a, exact in zip(more, right, strict=True)) > first


def test_nothing_random_has_no_band():
    settings = dataclasses.replace(BASE, start="identity", batch_size=800, learning_rate=0.05)
    assert predict(rows(0.3, 1.0), settings).train_band is None
