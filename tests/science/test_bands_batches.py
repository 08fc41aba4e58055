"""Bands over the orders of the rows: by theory for one layer, by runs that are followed with activations and more."""

import dataclasses

import numpy as np
import pytest
from banded import BASE, SCALED, SUM, covered, middle_third, rows

from idjax import Curve, Schedule, predict, train_many
from idjax.data import as_dataset
from idjax.moments.moments import measure
from idjax.nn.model import to_bytes
from idjax.nn.starts import start_layers, start_weights
from idjax.prediction.dynamics import bands
from idjax.prediction.predict import predict_from_moments
from idjax.results.curve import Status
from idjax.theory.sgd import fluctuation, order_spread

RNG = np.random.default_rng(9)
NOISY = SUM + RNG.normal(size=(1000, 1))
OTHER = np.random.default_rng(3)
TAILED = OTHER.normal(size=(1000, 10)) * np.sqrt(3 / OTHER.chisquare(5, size=(1000, 1))) * np.geomspace(1, 0.1, 10)
RARE = (OTHER.random((1000, 10)) < 0.1) * 1.0
MIX, NOISE = OTHER.normal(size=(10, 3)), OTHER.normal(size=(1000, 3))
slow = pytest.mark.slow


def one_start(folder, inputs: int, outputs: int) -> str:
    """A file with the start that all orders have."""
    start, path = start_weights("glorot", inputs, outputs, 0), folder / "start.npz"
    np.savez(path, kernel=start.kernel, bias=start.bias)
    return str(path)


def trained(x, y, settings, seeds) -> np.ndarray:
    """Training losses, one run a seed, which draws its start, if there is none, and the order of its rows."""
    runs = train_many(as_dataset(x, y, "float64"), [dataclasses.replace(settings, seed=seed) for seed in seeds])
    return np.array([run.train for run in runs])


class Spreads:
    """The spreads that predictions have, beside that of trained runs from one start."""

    def __init__(self, monkeypatch, folder, x, y, changes):
        start = one_start(folder, x.shape[1], (x if y is None else y).shape[1])
        self._settings = dataclasses.replace(BASE, **{"epochs": 20, "validation_split": 0.0, "start": start, **changes})
        self._x, self._y, self._seen = x, y, []
        self._measured = trained(x, y, self._settings, range(50)).std(axis=0, ddof=1)
        right = order_spread.spread_over_batches

        def watched(*given):
            self._seen.append(right(*given))
            return self._seen[-1]

        monkeypatch.setattr(order_spread, "spread_over_batches", watched)

    def ratio(self, **changes) -> float:
        """Predicted over measured, with these changes to the settings: the geometric mean after two epochs."""
        band = predict(self._x, dataclasses.replace(self._settings, **changes), target=self._y).train_band
        assert band is not None
        assert band.over == "orders of the rows"
        spread = self._seen[-1]
        ratio = spread.train / self._measured[spread.epochs - 1]
        return float(np.exp(np.mean(np.log(ratio[spread.epochs > 2]))))


def draw_batches_afresh(monkeypatch):
    """The negative control: noise that does not cancel within an epoch."""
    monkeypatch.setattr(fluctuation, "_share_felt", np.ones_like)
    monkeypatch.setattr(fluctuation, "_uncancelled", lambda values, at: values)


WARM = {"learning_rate": 0.02, "schedule": Schedule(warmup=5.0)}
SPREADS = [
    pytest.param(SCALED, NOISY, {"learning_rate": 0.02}, id="label noise", marks=slow),
    pytest.param(SCALED, SCALED @ MIX, {"learning_rate": 0.02}, id="no noise", marks=slow),
    pytest.param(RARE, RARE @ MIX + NOISE, {"learning_rate": 0.02}, id="label noise on slow modes"),
    pytest.param(
        TAILED, TAILED @ MIX, {"learning_rate": 0.02, "moments": "data"}, id="their own fourth moment", marks=slow
    ),
    pytest.param(SCALED, NOISY, {"learning_rate": 0.004, "momentum": 0.9}, id="momentum", marks=slow),
    pytest.param(rows(5.0, 1.0, 10), None, {"learning_rate": 0.02, "epochs": 40}, id="large mean", marks=slow),
    pytest.param(SCALED, NOISY, {"learning_rate": 0.04, "schedule": Schedule("cosine")}, id="cosine", marks=slow),
    pytest.param(
        SCALED, SCALED @ MIX, {"learning_rate": 0.04, "schedule": Schedule("cosine")}, id="cosine, no noise", marks=slow
    ),
    pytest.param(RARE, RARE @ MIX + NOISE, WARM, id="warm-up on slow modes", marks=slow),
    pytest.param(
        RARE,
        RARE @ MIX + NOISE,
        {"learning_rate": 0.05, "schedule": Schedule("exponential", factor=0.7)},
        id="exponential decay on slow modes",
        marks=slow,
    ),
    pytest.param(
        SCALED,
        NOISY,
        {"learning_rate": 0.004, "momentum": 0.9, "schedule": Schedule("cosine", warmup=3.0)},
        id="momentum with warm-up and cosine",
        marks=slow,
    ),
]


@pytest.mark.parametrize(("x", "y", "changes"), SPREADS)
def test_the_spread_over_orders_of_the_rows(x, y, changes, tmp_path, monkeypatch):
    """Standard deviations of 50 trained runs, to first order: within 0.5 and 1.5 times, in the mean over the run."""
    spreads = Spreads(monkeypatch, tmp_path, x, y, changes)
    assert 0.5 < spreads.ratio() < 1.5
    draw_batches_afresh(monkeypatch)
    assert spreads.ratio() > 1.5


def test_a_rate_that_changes_within_an_epoch_keeps_noise_from_cancelling(tmp_path, monkeypatch):
    """Negative controls: the schedule's mean rate in each epoch, and no schedule."""
    spreads = Spreads(monkeypatch, tmp_path, RARE, RARE @ MIX + NOISE, WARM)
    assert 0.6 < spreads.ratio() < 1.4
    assert spreads.ratio(schedule=Schedule()) < 0.5
    watched = order_spread.spread_over_batches

    def by_epochs(parts, *given):
        means = [part._replace(rates=part.rates.mean(axis=1, keepdims=True)) for part in parts]
        return watched(means, *given)

    monkeypatch.setattr(order_spread, "spread_over_batches", by_epochs)
    assert spreads.ratio() < 0.5


@pytest.mark.slow
def test_a_constant_rate_is_a_schedule_of_equal_rates(tmp_path):
    """Its states come from steps that are iterated, and from the transform: the bands are the same."""
    settings = dataclasses.replace(BASE, learning_rate=0.01, momentum=0.5, start=one_start(tmp_path, 10, 3))
    schedules = (Schedule(), Schedule("exponential", factor=1.0), Schedule("exponential", factor=0.99))
    runs = [
        predict(RARE, dataclasses.replace(settings, schedule=each), target=RARE @ MIX + NOISE) for each in schedules
    ]
    constant, equal, falling = (np.log(run.train_band.high / run.train_band.low) for run in runs)
    np.testing.assert_allclose(equal, constant, rtol=1e-6)
    assert np.max(np.abs(falling / constant - 1)) > 1e-2


@pytest.mark.slow
def test_rare_large_rows_stray_more(tmp_path):
    """Negative control: Gaussian rows of the same moments are told apart from heavy-tailed ones."""
    settings = dataclasses.replace(BASE, learning_rate=0.02, validation_split=0.0, start=one_start(tmp_path, 10, 3))
    own, gaussian = (
        predict(TAILED, dataclasses.replace(settings, moments=moments), target=TAILED @ MIX).train_band
        for moments in ("data", "gaussian")
    )
    assert own is not None
    assert gaussian is not None
    widths = [np.log(band.high / band.low)[3:] for band in (own, gaussian)]
    assert np.all(widths[0] > 1.2 * widths[1])


@pytest.mark.parametrize("changes", [{"learning_rate": 0.02}, {"learning_rate": 0.04, "schedule": Schedule("cosine")}])
def test_trained_runs_fall_into_the_band(changes):
    """Starts and orders of the rows at once."""
    settings = dataclasses.replace(BASE, **changes)
    band = predict(SCALED, settings, target=NOISY).train_band
    assert band is not None
    assert band.over == "starts and orders of the rows"
    losses = trained(SCALED, NOISY, settings, range(60))
    assert covered(losses, band) >= 0.88
    assert covered(losses, middle_third(band)) < 0.75


INPUTS = rows(0.3, 1.0)
TARGETS = INPUTS @ RNG.normal(size=(8, 3)) + 0.5 * RNG.normal(size=(1000, 3))


SQUASHED = np.tanh(TARGETS)
TANH = {
    "hidden": (16,),
    "hidden_activation": "tanh",
    "learning_rate": 0.02,
    "momentum": 0.5,
    "schedule": Schedule("cosine"),
}
FOLLOWED = [
    pytest.param(TARGETS, {"hidden": (6,), "learning_rate": 0.02}, id="hidden layer"),
    pytest.param(SQUASHED, {"activation": "tanh", "learning_rate": 0.05}, id="activation", marks=slow),
    pytest.param(TARGETS, TANH, id="hidden layer with activation, momentum, cosine", marks=slow),
    pytest.param(
        TARGETS, {"hidden": (6,), "optimizer": "adam", "learning_rate": 0.02}, id="hidden layer by adam", marks=slow
    ),
]


def followed_runs(y, changes, count: int) -> tuple[list[Curve], np.ndarray]:
    """So many predictions, each with a band of eight runs, and the losses of others that are trained."""
    settings = dataclasses.replace(BASE, **changes)
    curves = [predict(INPUTS, dataclasses.replace(settings, seed=seed), target=y) for seed in range(count)]
    return curves, trained(INPUTS, y, settings, range(1000, 1060))


def starts_alone(monkeypatch):
    """The negative control: bands about a line without the noise of batches."""
    monkeypatch.setattr(bands, "goes_to_its_end", lambda _: False)


@pytest.mark.parametrize(("y", "changes"), FOLLOWED)
def test_trained_runs_fall_into_the_band_of_those_followed(y, changes, monkeypatch):
    """The mean coverage of six bands is 95%, less three standard errors."""
    curves, losses = followed_runs(y, changes, 6)
    found = [curve.train_band for curve in curves]
    assert all(band.over == "starts and orders of the rows, 8 runs followed" for band in found)
    assert np.mean([covered(losses, band) for band in found]) >= 0.80
    assert np.mean([covered(losses, middle_third(band)) for band in found]) < 0.75
    # The line leaves the noise of the batches out: that it lies beside the band is said.
    note = [note for note in curves[0].notes if "the runs that the band is made of end" in note]
    assert bool(note) == (not found[0].low[-1] <= curves[0].train[-1] <= found[0].high[-1])
    if curves[0].status is Status.FOLLOWED:  # the kernel drifts: the line is of runs on the rows too
        return
    starts_alone(monkeypatch)
    alone = predict(INPUTS, dataclasses.replace(BASE, **changes), target=y).train_band
    assert alone.over == "starts"
    assert covered(losses, alone) < 0.80


def test_runs_that_diverge_have_no_band_and_are_named():
    """The line without the noise of batches is stable; the full batch, which has none, has a band."""
    settings = dataclasses.replace(BASE, hidden=(6,), learning_rate=0.1, batch_size=2, epochs=5)
    curve = predict(INPUTS, settings, target=TARGETS)
    assert np.isfinite(curve.train).all()
    assert curve.train_band is None
    assert "8 of 8 runs followed on the rows diverge" in curve.notes[-1]
    assert predict(INPUTS, dataclasses.replace(settings, batch_size=800), target=TARGETS).train_band is not None


def test_moments_alone_have_bands_over_starts_alone():
    settings = dataclasses.replace(BASE, hidden=(6,), learning_rate=0.02)
    band = predict_from_moments(measure(INPUTS, TARGETS, False), None, settings).train_band
    assert band is not None
    assert band.over == "starts"


def test_orders_alone_where_the_start_is_given(tmp_path):
    """All layers of a file: the followed runs differ by the order of their rows, and in nothing on the full batch."""
    settings = dataclasses.replace(BASE, hidden=(6,), learning_rate=0.02, epochs=5)
    (tmp_path / "start.msgpack").write_bytes(to_bytes(start_layers("glorot", (8, 6, 3), 0)))
    given = dataclasses.replace(settings, start=str(tmp_path / "start.msgpack"))
    band = predict(INPUTS, given, target=TARGETS).train_band
    assert band is not None
    assert band.over == "orders of the rows, 8 runs followed"
    drawn = predict(INPUTS, settings, target=TARGETS).train_band
    assert drawn is not None
    # Until all starts have learned what can be learned they differ by more than the orders do.
    assert np.all((np.log(drawn.high / drawn.low) > 3 * np.log(band.high / band.low))[:2])
    assert predict(INPUTS, dataclasses.replace(given, batch_size=800), target=TARGETS).train_band is None
