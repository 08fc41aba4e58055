"""Bands: other starts and other orders of the rows fall into them as often as they say."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from idjax import Settings, predict, train
from idjax.data import prescribed
from idjax.model import start_weights
from idjax.paths import bands
from idjax.theory import fluctuation, order_spread


def rows(mean: float, deviation: float, inputs: int = 8, seed: int = 5) -> np.ndarray:
    return prescribed(np.full(inputs, mean), np.full(inputs, deviation**2), 1000, seed)


BASE = Settings(batch_size=10, validation_split=0.2, epochs=12, dtype="float64")
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


def covered(losses: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """The share of losses that lie in the band, the middle and the end of a run taken together."""
    at = [len(low) // 2, -1]
    return float(np.mean((losses[:, at] >= low[at]) & (losses[:, at] <= high[at])))


@pytest.mark.parametrize(("x", "settings"), PREDICTED)
def test_predictions_of_other_starts_fall_into_the_band(x, settings):
    """Four bands, for one of few starts is wide or narrow by chance."""
    hold_other_starts(x, settings, 4)


def hold_other_starts(x: np.ndarray, settings: Settings, count: int):
    """Bands of so many starts hold 40 other starts as often as they say, and their middle thirds do not."""
    others = [predict(x, dataclasses.replace(settings, seed=1000 + k), band=False) for k in range(40)]
    found = [predict(x, dataclasses.replace(settings, seed=k)) for k in range(count)]
    for field in ("train", "validation"):
        losses = np.array([getattr(other, field) for other in others])
        shares, narrow = [], []
        for curve in found:
            band = getattr(curve, f"{field}_band")
            assert band.over == "starts"
            shares.append(covered(losses, band.low, band.high))
            third = (band.high - band.low) / 6
            narrow.append(covered(losses, band.median - third, band.median + third))
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
    """Over starts, from the network linearised at each."""
    y = np.tanh(rows(0.3, 1.0) @ np.random.default_rng(0).normal(size=(8, 3)))
    settings = dataclasses.replace(BASE, hidden="16", hidden_activation="tanh", batch_size=100, learning_rate=0.05)
    others = [predict(rows(0.3, 1.0), dataclasses.replace(settings, seed=1000 + k), y=y, band=False) for k in range(20)]
    losses = np.array([other.train for other in others])
    found = [predict(rows(0.3, 1.0), dataclasses.replace(settings, seed=k), y=y).train_band for k in range(2)]
    assert np.mean([covered(losses, band.low, band.high) for band in found]) >= 0.80
    thirds = [(band.high - band.low) / 6 for band in found]
    narrow = [
        covered(losses, band.median - third, band.median + third) for band, third in zip(found, thirds, strict=True)
    ]
    assert np.mean(narrow) < 0.75


def orders(x, y, settings, count):
    """Trained losses of one start, the rows in other orders."""
    return [train(x, dataclasses.replace(settings, seed=seed), y=y) for seed in range(count)]


@pytest.fixture(scope="module")
def one_start(tmp_path_factory):
    """A file with the start that all orders have."""
    path = tmp_path_factory.mktemp("start") / "start.npz"

    def written(inputs: int, outputs: int) -> str:
        start = start_weights("glorot", inputs, outputs, 0)
        np.savez(path, kernel=start.kernel, bias=start.bias)
        return str(path)

    return written


RNG = np.random.default_rng(8)
SCALED = prescribed(0.3 * RNG.normal(size=10), np.logspace(0, -2, 10), 1000, 5)
SUM = SCALED @ RNG.normal(size=(10, 1)) + 1
OTHER = np.random.default_rng(3)
TAILED = OTHER.normal(size=(1000, 10)) * np.sqrt(3 / OTHER.chisquare(5, size=(1000, 1))) * np.geomspace(1, 0.1, 10)
RARE = (OTHER.random((1000, 10)) < 0.1) * 1.0
MIX, NOISE = OTHER.normal(size=(10, 3)), OTHER.normal(size=(1000, 3))


@pytest.mark.parametrize(
    ("x", "y", "changes"),
    [
        pytest.param(
            SCALED, SUM + RNG.normal(size=(1000, 1)), {"learning_rate": 0.02}, id="label noise", marks=pytest.mark.slow
        ),
        pytest.param(
            SCALED, SCALED @ RNG.normal(size=(10, 3)), {"learning_rate": 0.02}, id="no noise", marks=pytest.mark.slow
        ),
        pytest.param(RARE, RARE @ MIX + NOISE, {"learning_rate": 0.02}, id="label noise on slow modes"),
        pytest.param(
            TAILED,
            TAILED @ MIX,
            {"learning_rate": 0.02, "moments": "data"},
            id="their own fourth moment",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            SCALED,
            SUM + RNG.normal(size=(1000, 1)),
            {"learning_rate": 0.004, "momentum": 0.9},
            id="momentum",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            rows(5.0, 1.0, 10), None, {"learning_rate": 0.02, "epochs": 40}, id="large mean", marks=pytest.mark.slow
        ),
    ],
)
def test_the_spread_over_orders_of_the_rows(one_start, x, y, changes, monkeypatch):
    """Standard deviations of 50 trained runs, to first order: within 0.5 and 1.5 times, in the mean over the run."""
    start = one_start(x.shape[1], (x if y is None else y).shape[1])
    settings = dataclasses.replace(BASE, **{"epochs": 20, "validation_split": 0.0, "start": start, **changes})
    curves = orders(x, y, settings, 50)
    measured = np.array([curve.train for curve in curves])
    seen = []
    right = order_spread.spread_over_batches
    monkeypatch.setattr(order_spread, "spread_over_batches", lambda *given: seen.append(right(*given)) or seen[-1])
    band = predict(x, settings, y=y).train_band
    assert band is not None
    assert band.over == "orders of the rows"
    (spread,) = seen
    later = spread.epochs > 2
    ratio = (spread.train / measured.std(axis=0, ddof=1)[spread.epochs - 1])[later]
    assert 0.5 < np.exp(np.mean(np.log(ratio))) < 1.5
    # Negative control: batches drawn afresh, whose noise does not cancel within an epoch.
    monkeypatch.setattr(fluctuation, "_share_felt", jnp.ones_like)
    monkeypatch.setattr(fluctuation, "_uncancelled", lambda values, at: values)
    fluctuation.variances.clear_cache()
    predict(x, settings, y=y)
    fluctuation.variances.clear_cache()
    wrong = (seen[-1].train / measured.std(axis=0, ddof=1)[spread.epochs - 1])[later]
    assert np.exp(np.mean(np.log(wrong))) > 1.5


@pytest.mark.slow
def test_rare_large_rows_stray_more(one_start):
    """Negative control: Gaussian rows of the same moments are told apart from heavy-tailed ones."""
    settings = dataclasses.replace(BASE, learning_rate=0.02, validation_split=0.0, start=one_start(10, 3))
    own, gaussian = (
        predict(TAILED, dataclasses.replace(settings, moments=moments), y=TAILED @ MIX).train_band
        for moments in ("data", "gaussian")
    )
    assert own is not None
    assert gaussian is not None
    widths = [np.log(band.high / band.low)[3:] for band in (own, gaussian)]
    assert np.all(widths[0] > 1.2 * widths[1])


def test_trained_runs_fall_into_the_band():
    """Starts and orders of the rows at once."""
    settings = dataclasses.replace(BASE, learning_rate=0.02)
    y = SUM + np.random.default_rng(1).normal(size=(1000, 1))
    band = predict(SCALED, settings, y=y).train_band
    assert band is not None
    assert band.over == "starts and orders of the rows"
    losses = np.array([curve.train for curve in orders(SCALED, y, settings, 60)])
    assert covered(losses, band.low, band.high) >= 0.88
    middle, third = band.median, (band.high - band.low) / 6
    assert covered(losses, middle - third, middle + third) < 0.75


@pytest.mark.slow
def test_starts_by_the_means_of_the_weights(monkeypatch):
    """The quick band is that of every start followed, to leading order in the noise of the batches."""
    settings = dataclasses.replace(BASE, learning_rate=0.02, momentum=0.5)
    exact = predict(SCALED, settings, y=SUM).train_band
    monkeypatch.setattr(bands, "MOST_LOSSES", 0)
    quick = predict(SCALED, settings, y=SUM).train_band
    assert exact is not None
    assert quick is not None
    np.testing.assert_allclose(quick.low, exact.low, rtol=0.08)
    np.testing.assert_allclose(quick.high, exact.high, rtol=0.08)
    other = predict(SCALED, dataclasses.replace(settings, learning_rate=0.03), y=SUM).train_band
    assert other is not None
    assert np.max(np.abs(other.high / exact.high - 1)) > 0.15


def test_nothing_random_has_no_band():
    settings = dataclasses.replace(BASE, start="identity", batch_size=800, learning_rate=0.05)
    assert predict(rows(0.3, 1.0), settings).train_band is None
