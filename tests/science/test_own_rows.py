"""`predict` with the rows' own fourth moment, against training over many shuffles and on real data."""

import dataclasses
import functools
import importlib.util
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from idjax import IdjaxError, Schedule, Settings, predict, train
from idjax.moments.moments import measure
from idjax.prediction import budget
from idjax.prediction.predict import predict_from_moments
from idjax.results.curve import Curve, Status

ROWS = 75
TRAINED = 60
SHUFFLES = 40

CASES = {
    "momentum": ({"momentum": 0.8, "learning_rate": 0.003}, True),
    "feature, original units": (
        {"normalize": "feature", "loss_space": "original", "learning_rate": 0.0006, "momentum": 0.5, "nesterov": True},
        True,
    ),
    "feature, judged in other units": ({"normalize": "feature", "learning_rate": 0.02}, True),
    "sample, original units": ({"normalize": "sample", "loss_space": "original", "learning_rate": 0.02}, False),
    "penalty": ({"activity_l2": 0.1, "learning_rate": 0.01}, False),
}

QUICK = "momentum", "penalty"


def rows() -> tuple[np.ndarray, np.ndarray]:
    """Skewed inputs with a mean, and label noise that grows with one of them."""
    rng = np.random.default_rng(3)
    x = rng.exponential(size=(ROWS, 4)) ** 1.5 * np.array([1, 0.6, 0.4, 0.2]) + 1
    return x, x @ rng.normal(size=(4, 2)) * np.array([1, 3]) + rng.normal(size=(ROWS, 2)) * x[:, :1]


@functools.cache
def shuffled(name: str) -> tuple[Settings, np.ndarray, np.ndarray | None, list[Curve]]:
    """The settings and data of a case, and its trainings: the same start, and the rows in another order."""
    changes, targets = CASES[name]
    settings = Settings(batch_size=4, validation_split=0.2, epochs=3, dtype="float64", **changes)
    x, y = rows()
    y = y if targets else None
    curves = []
    for seed in range(SHUFFLES):
        order = np.append(np.random.default_rng(seed).permutation(TRAINED), np.arange(TRAINED, ROWS))
        curves.append(train(x[order], settings, target=None if y is None else y[order]))
    return settings, x, y, curves


def standardised(predicted: Curve, curves: list[Curve]) -> float:
    """The largest difference of mean and prediction in standard errors: losses, explained variance, weights."""

    def parts(curve: Curve) -> np.ndarray:
        kernel, bias = curve.weights
        return np.concatenate([curve.train, curve.validation, curve.explained_variance, kernel.ravel(), bias])

    measured = np.array([parts(curve) for curve in curves])
    error = measured.std(axis=0, ddof=1) / np.sqrt(len(measured))
    return float(np.max(np.abs(measured.mean(axis=0) - parts(predicted)) / error))


def each(cases):
    """Runs a test for each case; those that are not quick are slow tests."""
    marked = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(cases)]
    return pytest.mark.parametrize("name", marked)


@each(CASES)
def test_prediction_on_the_rows_against_training(name):
    """Every normaliser, weighted rows and outputs, judged in other units, and a penalty."""
    settings, x, y, curves = shuffled(name)
    own = predict(x, dataclasses.replace(settings, moments="data"), target=y)
    assert "their own fourth moment" in own.how
    assert "outside" not in own.how
    assert standardised(own, curves) < 4


@each(CASES.keys() - {"momentum"})
def test_gaussian_rows_fail_against_training(name):
    """The control of the test above."""
    settings, x, y, curves = shuffled(name)
    assert standardised(predict(x, settings, target=y, band=False), curves) > 4


def test_group_times_and_steps_to_learn_within_the_run():
    settings, x, _, _ = shuffled("penalty")
    curve = predict(x, dataclasses.replace(settings, moments="data", learned_at=0.2, epochs=30))
    reached = np.flatnonzero(curve.explained_variance >= 0.2)[0]
    assert reached * curve.steps_per_epoch < curve.steps_to_learn <= (reached + 1) * curve.steps_per_epoch
    assert 0 < curve.mode_groups[0].steps < curve.mode_groups[1].steps
    assert curve.learning_rates is None
    assert curve.train_band is not None
    assert curve.train_band.over == "starts and orders of the rows"


def test_too_large_a_rate_is_said():
    settings, x, y, _ = shuffled("momentum")
    for rate, word, status in (
        (0.02, "outside its range", Status.OUTSIDE_RANGE),
        (1e3, "diverges", Status.DIVERGES),
    ):
        curve = predict(
            x, dataclasses.replace(settings, moments="data", learning_rate=rate, epochs=60), target=y, band=False
        )
        assert word in curve.how
        assert curve.status is status
    assert np.isnan(curve.train[-1])


def test_a_full_batch_needs_no_fourth_moment():
    x, _ = rows()
    settings = Settings(batch_size=TRAINED, validation_split=0.2, epochs=5, dtype="float64")
    own, gaussian = (
        predict(x, dataclasses.replace(settings, moments=kind), band=False) for kind in ("data", "gaussian")
    )
    assert own.how == gaussian.how
    np.testing.assert_array_equal(own.train, gaussian.train)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": "adam"}, "--optimizer adam"),
        ({"schedule": Schedule("cosine")}, "--schedule cosine"),
        ({"dtype": "bfloat16"}, "--dtype bfloat16"),
        ({"epochs": 1_000_000}, "minutes"),
    ],
)
def test_what_is_followed(changes, words, monkeypatch):
    monkeypatch.setattr(budget, "FOLLOWED_RUNS", 3e8)
    monkeypatch.setattr(budget, "OF_TRAINING", 0.0)
    x, _ = rows()
    settings = Settings(batch_size=4, validation_split=0.2, moments="data", epochs=3)
    found = predict(x, dataclasses.replace(settings, **changes), band=False)
    assert re.match(f".*--moments data.*{words}", found.no_theory)
    assert found.status in (Status.FOLLOWED, Status.OUTSIDE_RANGE)


def test_two_rows_are_too_few():
    found = predict(rows()[0][:2], Settings(batch_size=1, validation_split=0.0, moments="data"), band=False)
    assert "3 training rows" in found.no_theory


def test_moments_alone_do_not_hold_the_rows():
    with pytest.raises(IdjaxError, match="--moments data needs the rows"):
        predict_from_moments(measure(rows()[0]), None, Settings(batch_size=4, moments="data"))


def test_the_flag_on_the_command_line(tmp_path, command):
    np.save(tmp_path / "rows.npy", rows()[0])
    flags = ["--batch-size", "4", "--epochs", "2", "--moments", "data"]
    status, out, _ = command("predict", str(tmp_path / "rows.npy"), *flags)
    assert status == 0
    assert "their own fourth moment" in " ".join(out.split())


def real_data():
    spec = importlib.util.spec_from_file_location("real_data", Path(__file__).parents[2] / "scripts" / "real_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning:statsmodels")
def test_real_data_within_two_percent_in_the_median_and_ten_at_worst():
    """Wine, diabetes, breast cancer and some of the digits; mean and covariance alone do not do it."""
    module = real_data()
    worst_gaussian = 0.0
    with jax.enable_x64(True):
        for data in module.data_sets():
            if data.name not in ("wine", "diabetes, progression", "breast cancer", "digits"):
                continue
            few = data._replace(x=data.x[:600][:, data.x[:600].std(axis=0) > 0])
            for batch_size, share, momentum in ((8, 0.05, 0.0), (16, 0.2, 0.9)):
                errors = module.compare(module.Case(few, batch_size, share, momentum), 200).errors
                assert np.median(errors["own, shuffled"]) < 0.02
                assert np.max(errors["own, shuffled"]) < 0.1
                worst_gaussian = max(worst_gaussian, float(np.max(errors["Gaussian, (49)"])))
    assert worst_gaussian > 0.1
