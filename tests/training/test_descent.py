"""One loop for all: a proof trains what `train` trains, the short last batch included; shuffles go through all rows."""

import dataclasses

import numpy as np
import pytest

from idjax.data import as_dataset
from idjax.diagnosis.data.verify import prove
from idjax.moments.moments import measure
from idjax.nn.descent import Shuffle
from idjax.settings import Settings
from idjax.training.train import train

SETTINGS = Settings(dtype="float64", validation_split=0.0, epochs=12, seed=3, solver="steps")


def curves(rows, epoch_rows=None, **changes):
    """Explained variance at the epoch ends that a proof looks at, of the proof and of `train`."""
    settings = dataclasses.replace(SETTINGS, **changes)
    x = np.random.default_rng(1).normal(0.5, 1, (rows, 4))
    dataset = as_dataset(x, None, "float64")
    proof = prove(dataset, measure(x).raw, settings, epoch_rows or rows, float(settings.epochs), 1.0)
    ends = proof.curve_epochs == np.round(proof.curve_epochs)
    trained = train(dataset, settings).explained_variance
    epochs = proof.curve_epochs[ends].astype(int)
    assert len(epochs) >= 5
    return proof.curve_explained[ends], trained[epochs - 1]


CASES = [
    (40, {"batch_size": 32, "learning_rate": 0.05}),
    (103, {"batch_size": 8, "learning_rate": 0.05, "momentum": 0.5}),
    (96, {"batch_size": 8, "learning_rate": 0.05, "normalize": "feature"}),
    pytest.param(
        40, {"batch_size": 32, "optimizer": "adam", "learning_rate": 0.01, "epochs": 600}, marks=pytest.mark.slow
    ),
    (30, {"batch_size": 30, "learning_rate": 0.05, "epochs": 40}),
]


@pytest.mark.quick(2)
@pytest.mark.parametrize(("rows", "changes"), CASES)
def test_a_proof_trains_what_train_trains(rows, changes):
    proven, trained = curves(rows, **changes)
    np.testing.assert_allclose(1 - proven, 1 - trained, rtol=1e-12)


def test_a_proof_without_the_short_last_batch_is_another_training():
    """The control: what does not fill a batch at the end of an epoch is left out."""
    proven, trained = curves(40, epoch_rows=32, batch_size=32, learning_rate=0.05)
    assert np.max(np.abs((1 - proven) / (1 - trained) - 1)) > 0.01


def test_every_epoch_is_a_permutation_however_it_is_cut():
    whole, cut = (Shuffle(np.random.default_rng(0), 7, 7) for _ in range(2))
    epochs = whole.epochs(2)
    assert (np.sort(epochs, axis=1) == np.arange(7)).all()
    assert (epochs[0] != epochs[1]).any()
    np.testing.assert_array_equal(np.concatenate([cut.take(count) for count in (2, 4, 1, 7)]), epochs.ravel())


def test_an_epoch_of_more_rows_than_are_held_goes_through_them_again():
    shuffle = Shuffle(np.random.default_rng(0), 10, 4)
    epoch = np.concatenate([shuffle.take(3), shuffle.take(7)])
    assert np.bincount(epoch, minlength=4).sum() == 10
    assert (np.sort(epoch[:8].reshape(2, 4), axis=1) == np.arange(4)).all()
    assert np.bincount(epoch).min() >= 2


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_every_seed_can_be_trained_with(rounding):
    """Seeds go up to 2^32 - 1, which no int32 holds; another one rounds or shuffles in another way."""
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    settings = Settings(epochs=2, batch_size=8, dtype="bfloat16", rounding=rounding, learning_rate=0.1)
    largest, less = (train(x, dataclasses.replace(settings, seed=seed)).train for seed in (2**32 - 1, 2**31 - 1))
    assert np.isfinite(largest).all()
    assert (largest != less).any()
