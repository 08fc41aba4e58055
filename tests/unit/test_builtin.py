"""Built-in data sets, Gaussian rows of prescribed moments, and the split into training and validation rows."""

import math
from pathlib import Path

import numpy as np
import pytest
from data_files import one_line

from idjax.data import keras_split, load, prescribed
from idjax.types import IdjaxError


@pytest.mark.parametrize(
    ("name", "shape", "mean", "deviation"),
    [
        ("narrow-normal", (139_336, 84), 1.1090579, 0.0012380764),
        ("unit-uniform", (99_999, 84), 0.5, math.sqrt(1 / 12)),
        ("unit-uniform-5", (99_999, 5), 0.5, math.sqrt(1 / 12)),
    ],
)
def test_builtin(name, shape, mean, deviation):
    data = load(name)
    assert data.x.shape == shape
    assert data.x.dtype == np.float32
    assert (data.y, data.source) == (None, name)
    count = math.prod(shape)
    kurtosis = 3.0 if name == "narrow-normal" else 1.8
    sample = data.x.astype(np.float64)
    error = deviation * math.sqrt((kurtosis - 1) / 4 / count)
    assert abs(sample.mean() - mean) < 4 * deviation / math.sqrt(count)
    assert abs(sample.std() - deviation) < 4 * error
    each = (sample.mean(axis=0) - mean) / deviation * math.sqrt(shape[0])
    assert np.abs(each).max() < 5
    if name != "narrow-normal":
        assert data.x.min() >= 0
        assert data.x.max() < 1


def test_builtin_in_full():
    """unit-uniform-5: independent columns, rows in no order, the same numbers in either dtype every time."""
    x = load("unit-uniform-5").x
    wide = load("unit-uniform-5", dtype="float64").x
    assert wide.dtype == np.float64
    np.testing.assert_array_equal(wide, x)
    np.testing.assert_array_equal(load("unit-uniform-5").x, x)
    rows = len(wide)
    correlation = np.corrcoef(wide.T) - np.eye(5)
    assert np.abs(correlation).max() < 5 / math.sqrt(rows)
    serial = [np.corrcoef(wide[1:, j], wide[:-1, j])[0, 1] for j in range(5)]
    assert np.abs(serial).max() < 5 / math.sqrt(rows)
    counts = np.histogram(wide, bins=20, range=(0, 1))[0]
    expected = wide.size / 20
    assert ((counts - expected) ** 2 / expected).sum() < 50  # chi² of 19 degrees of freedom


def test_builtin_name_wins_over_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("unit-uniform-5").write_text("1,2\n")
    assert load("unit-uniform-5").x.shape == (99_999, 5)


def sample_moments(x):
    """Mean and covariance without cancellation: exact sums for the mean, then deviations in long double."""
    mean = np.array([math.fsum(column) / len(x) for column in x.T])
    d = x.astype(np.longdouble) - mean
    d = d - d.mean(axis=0)
    return mean, (d.T @ d / len(x)).astype(np.float64)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("rows", [8, 1000])
def test_exact_moments(offset, rows):
    deviation = 1e-3
    eigenvalues = deviation**2 * np.array([1.0, 0.5, 0.0, 2.0, 1e-3, 0.0, 1.0])
    mean = offset * deviation * np.array([1.0, -1.0, 0.5, 2.0, 1.0, -0.3, 0.7])
    x = prescribed(mean, eigenvalues, rows, 3, exact=True)
    assert x.shape == (rows, 7)
    assert x.dtype == np.float64
    found_mean, found = sample_moments(x)
    rounding = 2e-16 * (1 + 2 * offset)  # of one number, in units of the deviation
    np.testing.assert_allclose(found_mean, mean, rtol=0, atol=10 * rounding * deviation)
    found = np.linalg.eigvalsh(found)
    np.testing.assert_allclose(found, np.sort(eigenvalues), rtol=0, atol=20 * max(rounding, 1e-15) * deviation**2)


def test_exact_moments_in_a_random_basis():
    eigenvalues = np.array([3.0, 1.0, 1e-6])
    x = prescribed(np.zeros(3), eigenvalues, 50, 0, exact=True)
    found = np.linalg.eigvalsh(sample_moments(x)[1])[::-1]
    np.testing.assert_allclose(found, eigenvalues, rtol=1e-9)
    other = prescribed(np.zeros(3), eigenvalues, 50, 1, exact=True)
    assert np.abs(sample_moments(x)[1] - sample_moments(other)[1]).max() > 0.1
    np.testing.assert_array_equal(x, prescribed(np.zeros(3), eigenvalues, 50, 0, exact=True))


def test_population_moments():
    mean, eigenvalues, rows = np.array([5.0, -2.0]), np.array([4.0, 0.25]), 100_000
    x = prescribed(mean, eigenvalues, rows, 11)
    found, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    found, vectors = found[::-1], vectors[:, ::-1]
    assert (np.abs((x.mean(axis=0) - mean) @ vectors) < 4 * np.sqrt(eigenvalues / rows)).all()
    assert (np.abs(found / eigenvalues - 1) < 4 * math.sqrt(2 / rows)).all()
    assert np.abs(found / eigenvalues - 1).max() > 1e-6, "drawn, not forced"


def test_prescribed_extremes():
    still = prescribed(np.ones(3), np.zeros(3), 4, 0, exact=True)
    np.testing.assert_array_equal(still, np.ones((4, 3)))
    smallest = prescribed(np.zeros(2), np.ones(2), 3, 0, exact=True)
    np.testing.assert_allclose(smallest.T @ smallest / 3, np.eye(2), atol=1e-14)


@pytest.mark.parametrize(
    ("mean", "eigenvalues", "rows", "options", "said"),
    [
        ([0.0, 0.0], [1.0, 1.0], 2, {"exact": True}, "rows is 2: give at least 3 for 2 nonzero eigenvalues"),
        ([0.0, 0.0], [1.0, 1.0], 0, {}, "rows is 0: give at least 1"),
        ([0.0, 0.0], [1.0], 5, {}, "mean has 2 numbers and eigenvalues 1"),
        ([], [], 5, {}, "mean has 0 numbers"),
        ([0.0], [-1.0], 5, {}, "zero or more"),
        ([0.0], [np.nan], 5, {}, "finite"),
        ([np.inf], [1.0], 5, {}, "finite"),
    ],
)
def test_bad_prescription(mean, eigenvalues, rows, options, said):
    with pytest.raises(IdjaxError) as caught:
        prescribed(np.array(mean), np.array(eigenvalues), rows, 0, **options)
    one_line(caught, said)


@pytest.mark.parametrize(
    ("rows", "split", "training"),
    [
        (139_336, 0.3, 97_535),
        (99_999, 0.3, 69_999),
        (10, 0.3, 7),
        (10, 0.7, 3),
        (10, 0.0, 10),
        (10, 0.01, 9),
        (2, 0.5, 1),
    ],
)
def test_keras_split(rows, split, training):
    assert keras_split(rows, split) == training


@pytest.mark.parametrize(
    ("rows", "split", "said"),
    [
        (10, 0.9, "of 10 rows that leaves none for training"),  # 10 * (1 - 0.9) is below 1 in floating point
        (1, 0.5, "leaves none for training"),
        (3, 1e-20, "leaves none for validation"),
        (0, 0.0, "leaves none for training"),
        (10, 1.0, "validation_split is 1.0"),
        (10, -0.1, "validation_split is -0.1"),
        (10, math.nan, "validation_split is nan"),
    ],
)
def test_bad_split(rows, split, said):
    with pytest.raises(IdjaxError) as caught:
        keras_split(rows, split)
    one_line(caught, said)


@pytest.mark.slow
@pytest.mark.parametrize("split", [0.1, 0.25, 0.3, 0.7, 0.9, 1 / 3])
def test_split_is_that_of_keras(split, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    adapters = pytest.importorskip("keras.src.trainers.data_adapters.array_slicing")
    for rows in range(2, 200):
        try:
            (training,), _ = adapters.train_validation_split((np.zeros(rows),), split)
        except ValueError:
            with pytest.raises(IdjaxError):
                keras_split(rows, split)
        else:
            assert keras_split(rows, split) == len(training)
