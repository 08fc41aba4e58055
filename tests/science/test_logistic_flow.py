"""Cross-entropy at small rates in closed form: the flow against descent, its two corrections against training by
batches, each of which is missed if it is left out; and where it does not hold."""

import dataclasses

import numpy as np
import pytest
import test_classes as classes
from test_classes import beyond, by_optax, rows_of, settings_of

from idjax import Settings, predict
from idjax.nn.logistic import least_loss, mean_loss, shares_and_loss
from idjax.prediction.dynamics import logistic_flow
from idjax.results.curve import Status
from idjax.theory.logistic import LabelledInputs, SmallUpdates, curvature_bound, flow, lagged, updates_of

MIXED = slice(19, 22)
"""Columns of the digits that do not separate them; elsewhere the first three."""


def rows(name: str, mixed: bool) -> tuple[np.ndarray, np.ndarray]:
    x, y = rows_of(name, True)
    return (x[:, MIXED] if name == "digits" else x[:, :3]) if mixed else x, y


def descended(data: LabelledInputs, weights: np.ndarray, rate: float, steps: int) -> float:
    """The loss after descent on the full batch, written out."""
    for _ in range(steps):
        weights = weights - rate * data.a.T @ (shares_and_loss(data.a @ weights, data.y)[0] - data.y) / len(data.a)
    return mean_loss(data.a @ weights, data.y)


def flowed(data: LabelledInputs, weights: np.ndarray, updates: SmallUpdates, end: float) -> float:
    return next(look.loss for look in flow(data, weights, updates, end) if look.clock == end)


@pytest.mark.parametrize("name", classes.SETS)
def test_the_flow_is_the_limit_of_small_rates_and_its_bend_is_of_second_order(name):
    x, y = (part.astype(np.float64) for part in rows_of(name, True))
    data = LabelledInputs(np.append(x, np.ones((len(x), 1)), axis=1), y)
    start = 0.3 * np.random.default_rng(0).normal(size=(data.a.shape[1], y.shape[1]))
    shares = shares_and_loss(data.a @ start, y)[0]
    curvature, _ = curvature_bound(data.a, shares, np.ones(data.a.shape[1]), powers=200)
    end, off = 20 / curvature, {}
    for parts in (100, 200):
        rate = end / parts
        trained = descended(data, start, rate, parts)
        for bend in (0.0, rate / 2):
            off[parts, bend > 0] = abs(flowed(data, start, SmallUpdates(rate, bend, 0.0), end) / trained - 1)
    assert off[100, True] < 0.2 * off[100, False]
    assert off[200, True] < 2e-3
    assert off[200, False] == pytest.approx(off[100, False] / 2, rel=0.15)


CASES = [
    pytest.param(*case, marks=() if case[0] == "wine" and case[2] == "sgd" else pytest.mark.slow)
    for case in [
        (name, mixed, rule, share)
        for name in classes.SETS
        for mixed in (False, True)
        for rule, share in (("sgd", 0.03), ("sgd", 0.1), ("momentum", 0.01))
    ]
]


@pytest.mark.parametrize(("name", "mixed", "rule", "share"), CASES)
def test_small_rates_are_within_three_percent_of_plain_optax(name, mixed, rule, share):
    x, y = rows(name, mixed)
    settings = dataclasses.replace(settings_of(name, True, rule, share), epochs=40)
    found, runs = predict(x, settings, target=y, band=False), by_optax(settings, x, y)
    assert (found.status, found.no_theory) == (Status.VALID, "")
    assert np.all(beyond(found.train, runs) <= 0)


@pytest.mark.parametrize("left_out", ["", "noise", "bend", "the curvature that changes"])
def test_to_the_floor_within_half_a_percent_and_not_without_a_correction(left_out, monkeypatch):
    """At a rate where both matter; 90% of the way and more, on rows that have a floor."""
    x, y = rows("wine", True)
    settings = dataclasses.replace(settings_of("wine", True, "sgd", 0.5), epochs=60)
    if left_out in SmallUpdates._fields:

        def without(*given):
            return updates_of(*given)._replace(**{left_out: 0.0})

        monkeypatch.setattr(logistic_flow, "updates_of", without)
    found, runs = predict(x, settings, target=y, band=False), by_optax(settings, x, y)
    predicted = found.train if left_out != "the curvature that changes" else classes.with_the_curvature_of_the_start(
        settings, x, y)  # fmt: skip
    mean, error = runs.mean(axis=0), runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    assert runs[:, -5:].mean() < mean[0] - 0.9 * (mean[0] - least_loss(x, y).loss)
    assert np.all(np.abs(predicted / mean - 1) < 0.005 + 3 * error / mean) == (not left_out)


def test_accuracy_validation_and_the_time_to_learn_beyond_the_run():
    x, y = rows("wine", True)
    settings = dataclasses.replace(settings_of("wine", True, "sgd", 0.3), epochs=40, validation_split=0.3)
    short = predict(x, dataclasses.replace(settings, epochs=4), target=y, band=False)
    whole = predict(x, settings, target=y, band=True)
    followed = predict(x, dataclasses.replace(settings, nesterov=True, momentum=1e-6), target=y, band=False)
    assert followed.status is Status.FOLLOWED
    assert "--nesterov" in followed.no_theory
    assert short.epochs_to_learn > 4
    assert short.epochs_to_learn == pytest.approx(whole.epochs_to_learn, rel=0.01)
    np.testing.assert_allclose(whole.validation, followed.validation, rtol=0.03)
    np.testing.assert_allclose(whole.accuracy, followed.accuracy, atol=0.03)
    assert whole.train_band is not None
    assert np.all((whole.train_band.low < whole.train) & (whole.train < whole.train_band.high))


def test_rates_that_are_too_large_are_followed():
    x, y = rows("wine", False)
    found = predict(x, settings_of("wine", True, "sgd", 1.0), target=y, band=False)
    assert found.status is Status.FOLLOWED
    assert "at rates above" in found.no_theory
    noisy = Settings(loss="cross-entropy", learning_rate=0.1, batch_size=1, epochs=5, validation_split=0.0)
    assert "noise of batches" in predict(x[:, :3], noisy, target=y, band=False).no_theory


@pytest.mark.parametrize("shuffled", [True, False])
def test_shuffled_epochs_leave_little_of_the_excess_that_fresh_batches_have(shuffled):
    """Fresh batches: η tr F/(4B), which is tr(H C)/2 of H C + C H = η F/B; shuffled ones a fraction of it."""
    x, y = (part.astype(np.float64) for part in rows("wine", True))
    a, batch, orders = np.append(x, np.ones((len(x), 1)), axis=1)[:176], 16, 24
    y, rate, rng = y[:176], 0.1, np.random.default_rng(0)
    weights, floors = np.zeros((orders, 4, 3)), least_loss(x[:176], y).loss
    seen = []
    for epoch in range(600):
        order = rng.permuted(np.tile(np.arange(176), (orders, 1)), axis=1)
        for part in np.split(order if shuffled else rng.integers(176, size=order.shape), 11, axis=1):
            odds = np.exp(a[part] @ weights)
            errors = odds / odds.sum(axis=2, keepdims=True) - y[part]
            weights = weights - rate * np.einsum("obn,obq->onq", a[part], errors) / batch
        if epoch >= 200:
            seen.append(np.mean([mean_loss(a @ each, y) for each in weights]))
    scatter = float(np.mean(np.sum(a**2, axis=1) * np.sum((shares_and_loss(a @ weights[0], y)[0] - y) ** 2, axis=1)))
    excess = (np.mean(seen) - floors) / (rate * scatter / (4 * batch))
    assert (excess < 0.3) if shuffled else (0.75 < excess < 1.25)


def test_velocity_starts_from_rest():
    position = velocity = 0.0
    for step in range(1, 30):
        velocity = 0.8 * velocity + 0.2
        position += velocity
        assert lagged(np.array([float(step)]), 0.8)[0] == pytest.approx(position)
