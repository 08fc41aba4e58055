"""The expected loss of minibatch SGD and momentum: against simulation, its fast form, and where it settles."""

import dataclasses
import functools

import numpy as np
import pytest
import scipy.stats
from sgd_simulation import Problem, draw, simulate

from idjax.data import prescribed
from idjax.prediction.predict import predict
from idjax.settings import Settings
from idjax.theory.sgd import minibatch
from idjax.training.train import train

RUNS = 2000
QUICK, ALL = range(10), range(100)


pytestmark = pytest.mark.usefixtures("in_float64")


@functools.cache
def simulated(seed: int, share: float) -> tuple[Problem, float, float, float]:
    """A problem, a step at this share of the way to 95% of its fall, and the mean loss there with its error."""
    problem = draw(seed, momentum=seed % 3 == 2)
    step = max(1, round(problem.steps * share))
    losses = simulate(problem, np.array([step]), RUNS, seed=5)[0]
    return problem, float(step), losses.mean(), losses.std(ddof=1) / np.sqrt(RUNS)


def standardised(seeds, times=(0.05, 0.3, 1.0), **changes) -> np.ndarray:
    """One standardised error for each problem, early, midway and late in turn."""
    scores = []
    for seed in seeds:
        problem, step, mean, error = simulated(seed, times[seed // 3 % len(times)])
        given = {name: change(problem) for name, change in changes.items()}
        scores.append((mean - problem.expected(np.array([step]), **given)[0]) / error)
    return np.array(scores)


def look_standard_normal(scores: np.ndarray) -> bool:
    """Kolmogorov-Smirnov against the standard normal, and the sum of squares against its chi-squared: 1 in 1000."""
    distance = scipy.stats.kstest(scores, "norm").pvalue
    squares = scipy.stats.chi2.sf(np.sum(scores**2), len(scores))
    return bool(min(distance, squares) > 1e-3)


@pytest.mark.slow
def test_expected_loss_against_simulation():
    assert look_standard_normal(standardised(QUICK))


@pytest.mark.slow
def test_expected_loss_against_simulation_of_all_problems():
    assert look_standard_normal(standardised(ALL))


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"batch_size": lambda problem: 2.0 * problem.batch}, id="B wrong", marks=pytest.mark.slow),
        pytest.param({"batch_size": lambda problem: 1e12}, id="no noise at all", marks=pytest.mark.slow),
        pytest.param(
            {"mean": lambda problem: np.zeros(len(problem.mean) + 1)},
            id="no mean term, as for zero mean",
            marks=pytest.mark.slow,
        ),
        pytest.param({"rate": lambda problem: 0.97 * problem.rate}, id="rate wrong by 3%", marks=pytest.mark.slow),
    ],
)
def test_wrong_theories_fail_against_simulation(wrong):
    assert not look_standard_normal(standardised(QUICK, times=(0.3,), **wrong))


def noisy(seed: int) -> Problem:
    """A problem above 0.3 of the limit."""
    problem = draw(seed)
    return problem._replace(rate=problem.rate * 0.7 / problem.share, share=0.7)


@pytest.mark.parametrize("seed", [1, 4, 9])
def test_above_a_third_of_the_limit_the_moments_of_one_step(seed):
    """Rare runs carry the mean over many steps; over the first two it can be measured, and all of C with it."""
    problem = noisy(seed)
    losses = simulate(problem, np.array([1, 2]), 40_000, seed=3)
    expected = problem.expected(np.array([1.0, 2.0]))
    scores = (losses.mean(axis=1) - expected) / (losses.std(axis=1, ddof=1) / np.sqrt(losses.shape[1]))
    assert np.abs(scores).max() < 3.5
    wrong = problem.expected(np.array([1.0, 2.0]), batch_size=1.3 * problem.batch)
    assert np.abs((losses.mean(axis=1) - wrong) / losses.std(axis=1) * np.sqrt(losses.shape[1])).max() > 3.5


def test_above_a_third_of_the_limit_predict_says_so():
    x = prescribed(np.zeros(30), np.ones(30), 400, 1)
    settings = Settings(batch_size=4, validation_split=0.0, epochs=5, learning_rate=0.01)
    limits = predict(x, settings, band=False).learning_rates
    for share, word in ((0.25, "exact in expectation"), (0.5, "outside its range"), (1.1, "diverges")):
        curve = predict(x, dataclasses.replace(settings, learning_rate=share * limits.max), band=False)
        assert word in curve.how
        assert ("outside" in curve.how) == (word == "outside its range")
        assert np.isnan(curve.train).all() == (word == "diverges")


SEEDS = 40


@pytest.fixture(scope="module")
def shuffled_runs():
    """A regression with label noise, whose floor the noise of fresh batches would lift by half as much again."""
    rng = np.random.default_rng(8)
    x = prescribed(0.3 * rng.normal(size=10), np.logspace(0, -2, 10), 1000, 5)
    y = x @ rng.normal(size=(10, 1)) + rng.normal(size=(1000, 1)) + 1
    settings = Settings(
        batch_size=10, validation_split=0.0, epochs=20, learning_rate=0.02, dtype="float64", start="glorot"
    )
    trained = [train(x, dataclasses.replace(settings, seed=0), target=y, on_epoch=None)]
    trained += [_reshuffled(x, y, settings, seed) for seed in range(1, SEEDS)]
    return x, y, settings, trained


def _reshuffled(x, y, settings, seed):
    """Another order of the rows from the same start."""
    order = np.random.default_rng(seed).permutation(len(x))
    return train(x[order], settings, target=y[order])


def test_shuffled_epochs_keep_less_noise_than_fresh_batches(shuffled_runs, monkeypatch):
    x, y, settings, trained = shuffled_runs
    floor = np.mean((y - np.c_[x, np.ones(len(x))] @ np.linalg.lstsq(np.c_[x, np.ones(len(x))], y)[0]) ** 2)
    variance = np.var(y)
    excess = np.array([(1 - curve.explained_variance) * variance - floor for curve in trained])
    error = excess.std(axis=0, ddof=1) / np.sqrt(len(excess))
    train_excess = np.array([curve.train - floor for curve in trained])
    train_error = train_excess.std(axis=0, ddof=1) / np.sqrt(len(excess))

    def found() -> tuple[np.ndarray, np.ndarray]:
        curve = predict(x, settings, target=y, band=False)
        return (1 - curve.explained_variance) * variance - floor, curve.train - floor

    def differs(predicted, measured, error) -> float:
        """The largest difference beyond three standard errors, relative to the excess."""
        return float(np.max((np.abs(predicted - measured.mean(axis=0)) - 3 * error) / measured.mean(axis=0)))

    at_end, in_epoch = found()
    assert excess.mean(axis=0)[-1] < 0.1 * excess.mean(axis=0)[0]
    assert differs(at_end, excess, error) < 0.02
    assert differs(in_epoch, train_excess, train_error) < 0.02
    right = minibatch.updates
    for wrong in (
        lambda *given: right(*given[:6]),  # fresh batches
        lambda *given: right(given[0], given[1], 1e300, *given[3:]),  # no noise
    ):
        with monkeypatch.context() as patch:
            patch.setattr("idjax.prediction.dynamics.minibatch.minibatch.updates", wrong)
            assert differs(found()[0], excess, error) > 0.1


def test_the_noise_of_an_epoch_in_its_limits():
    decay = np.array([0.0, 1e-6, 1e-3, 1.0, 40.0, np.inf])
    share = minibatch.epoch_noise(decay)
    assert share[0, 0] == 0
    assert share[5, 5] == 1
    np.testing.assert_allclose(share[1, 1], 1e-12 / 12, rtol=1e-6)
    np.testing.assert_allclose(np.diag(share)[3:5], 1 - np.tanh(decay[3:5] / 2) / (decay[3:5] / 2))
    near = minibatch.epoch_noise(np.array([0.99e-4, 1.01e-4]))
    assert near[1, 1] / near[0, 0] == pytest.approx((1.01 / 0.99) ** 2, rel=1e-3)
