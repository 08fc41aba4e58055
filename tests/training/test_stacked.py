"""Many runs at once: each is the run it would be alone, the lost ones cost nothing, programs are few."""

import dataclasses

import numpy as np
import pytest

from idjax.data import load
from idjax.nn.descent import Descent
from idjax.nn.step import train_runs
from idjax.settings import Settings
from idjax.training import many as stacked
from idjax.training import train as training
from idjax.training.block_sgd import train_in_blocks
from idjax.training.many import train_many
from idjax.training.train import train
from idjax.types import IdjaxError

SINGLE = 2e-6
"""A row of a stack against the run alone, float32: losses, and weights over their norm. Sums have another order."""


@pytest.fixture
def dataset():
    return load(np.random.default_rng(0).normal(0.5, 1, (103, 5)), dtype="float32")


def settings_of(rates, **changes):
    return [Settings(**{"batch_size": 8, "epochs": 4, "learning_rate": rate} | changes) for rate in rates]


def assert_same(got, expected, bound):
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one.train, other.train, rtol=bound)
        np.testing.assert_allclose(one.validation, other.validation, rtol=bound)
        np.testing.assert_allclose(one.shape_correlation, other.shape_correlation, atol=bound)
        difference = np.linalg.norm(one.weights.kernel - other.weights.kernel)
        assert difference <= bound * np.linalg.norm(other.weights.kernel)
        assert one.how == other.how


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    "changes",
    [
        {"solver": "blocks"},
        {"solver": "blocks", "momentum": 0.9, "nesterov": True},
        {"solver": "steps"},
        {"optimizer": "adam"},
        {"normalize": "pca", "solver": "blocks"},
        {"batch_size": 72},
        {"rounding": "stochastic", "dtype": "bfloat16"},
    ],
)
def test_a_run_among_others_is_the_run_alone(dataset, changes):
    together = settings_of([0.01, 0.05, 0.02], **changes)
    alone = [train(dataset, each) for each in together]
    assert_same(train_many(dataset, together), alone, SINGLE)
    off = [dataclasses.replace(each, learning_rate=1.01 * each.step_size) for each in together]
    with pytest.raises(AssertionError):
        assert_same(train_many(dataset, off), alone, SINGLE)


@pytest.mark.parametrize("changes", [pytest.param({"solver": "blocks"}, marks=pytest.mark.slow), {"optimizer": "adam"}])
def test_whatever_their_seeds_momenta_epochs_and_numbers(dataset, changes):
    mixed = [
        *settings_of([0.01, 0.02], seed=1, **changes),
        *settings_of([0.01], **changes),
        *settings_of([0.03], epochs=2, **changes),
        Settings(batch_size=8, epochs=4, momentum=0.5, solver="blocks"),
        Settings(batch_size=8, epochs=4, momentum=0.8, solver="blocks", start="identity"),
        Settings(batch_size=8, epochs=4, optimizer="rmsprop", beta_2=0.8),
    ]
    assert_same(train_many(dataset, mixed), [train(dataset, each) for each in mixed], SINGLE)


def test_float64_and_targets():
    rng = np.random.default_rng(1)
    dataset = load(rng.normal(size=(90, 4)), rng.normal(size=(90, 2)), dtype="float64")
    together = settings_of([0.01, 0.1], dtype="float64", solver="blocks")
    assert_same(train_many(dataset, together), [train(dataset, each) for each in together], 1e-12)


@pytest.mark.parametrize("solver", ["blocks", "steps"])
def test_the_lost_and_the_learned_are_dropped(dataset, solver, monkeypatch):
    monkeypatch.setattr(training, "ROWS_PER_CALL", 1)
    widths, keep = [], Descent.keep

    def watched(self, chosen):
        widths.append(len(chosen))
        keep(self, chosen)

    monkeypatch.setattr(Descent, "keep", watched)
    together = settings_of([1e-4, 1e9, 0.05, 1e9, 1e-3], epochs=40, solver=solver)
    heard = []
    curves = train_many(dataset, together, on_epoch=lambda run, news: heard.append((run, news.done)), stop_at=0.9)
    assert widths == [4, 2]
    assert_same([curves[0], curves[4]], [train(dataset, together[run]) for run in (0, 4)], SINGLE)
    learned = curves[2].explained_variance
    last = int(np.flatnonzero(np.isfinite(learned))[-1])
    assert learned[last] >= 0.9
    assert last < 39
    assert (learned[:last] < 0.9).all()
    alone = train(dataset, together[2])
    np.testing.assert_allclose(learned[: last + 1], alone.explained_variance[: last + 1], atol=1e-5)
    for run in (1, 3):
        assert not np.isfinite(curves[run].train[-1])
        assert curves[run].steps_to_learn == np.inf
    assert [epoch for run, epoch in heard if run == 4] == list(range(1, 41))
    assert len([epoch for run, epoch in heard if run == 1]) < 40


def test_few_programs_for_any_number_of_runs(dataset):
    train_many(dataset, settings_of(np.linspace(0.01, 0.05, 7).tolist(), solver="blocks"))
    train_many(dataset, settings_of(np.linspace(0.01, 0.05, 7).tolist(), optimizer="adam"))
    before = train_in_blocks._cache_size(), train_runs._cache_size()
    for count in (5, 6, 8):
        train_many(dataset, settings_of(np.linspace(0.02, 0.06, count).tolist(), solver="blocks", seed=3))
        train_many(dataset, settings_of(np.linspace(0.02, 0.06, count).tolist(), optimizer="adam", beta_1=0.8))
    assert (train_in_blocks._cache_size(), train_runs._cache_size()) == before


def test_stacks_of_any_width(dataset, monkeypatch):
    together = settings_of(np.linspace(0.01, 0.05, 5).tolist(), solver="blocks")
    wide = train_many(dataset, together)
    monkeypatch.setattr(stacked, "MOST_COLUMNS", 11)  # two runs of five columns
    assert_same(train_many(dataset, together), wide, SINGLE)


def test_bad_settings_are_refused_before_any_training(dataset):
    with pytest.raises(IdjaxError, match=r"learning_rate is -1\.0"):
        train_many(dataset, [Settings(), Settings(learning_rate=-1.0)])
    assert train_many(dataset, []) == []
