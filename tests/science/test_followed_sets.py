"""Each loss, optimizer and penalty without a theory, followed on the failing set and two real ones: `-m slow`."""

import dataclasses
import itertools

import numpy as np
import pytest
import sklearn.datasets

import idjax
from idjax import Settings, predict
from idjax.data import as_dataset
from idjax.training.many import train_many

RUNS = 16
CHANGES = (
    {"loss": "mae"},
    {"loss": "huber"},
    {"loss": "log-cosh"},
    {"activity_l1": 1e-3},
    {"optimizer": "adagrad", "learning_rate": 0.05},
    {"optimizer": "adadelta", "learning_rate": 1.0},
    {"optimizer": "adamax", "learning_rate": 0.003},
    {"optimizer": "rmsprop", "learning_rate": 0.001},
)


def narrow() -> tuple[np.ndarray, None]:
    return idjax.load("narrow-normal").x[:3000, :20], None


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    x, y = sklearn.datasets.load_diabetes(return_X_y=True)
    return np.asarray(20 * x, np.float32), np.asarray((y[:, None] - 150) / 80, np.float32)


def wine() -> tuple[np.ndarray, None]:
    x, _ = sklearn.datasets.load_wine(return_X_y=True)
    x = np.asarray(x)
    order = np.random.default_rng(0).permutation(len(x))
    return ((x - x.mean(axis=0)) / x.std(axis=0))[order].astype(np.float32), None


@pytest.mark.slow
def test_followed_runs_are_those_of_training_and_their_bands_hold_others():
    """A band of eight starts holds more or fewer by chance: 24 of them, each of starts of its own, are counted."""
    inside = []
    for place, (rows, changes) in enumerate(itertools.product((narrow, diabetes, wine), CHANGES)):
        x, y = rows()
        settings = Settings(epochs=10, seed=100 + place, **changes)
        found = predict(x, settings, target=y)
        seeds = [settings, *(dataclasses.replace(settings, seed=seed) for seed in range(RUNS))]
        own, *others = train_many(as_dataset(x, y, "float32"), seeds)
        error, band = np.abs(own.train / found.train - 1), found.train_band
        assert np.median(error) <= 0.03
        assert error.max() <= 0.1
        assert band is not None
        inside.append(np.mean([(run.train >= band.low) & (run.train <= band.high) for run in others]))
    assert 0.85 <= np.mean(inside) <= 0.99
