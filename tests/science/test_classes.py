"""Cross-entropy: predicted against plain optax, its least loss against scikit-learn, and what is refused."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import sklearn.datasets
from sklearn.linear_model import LogisticRegression

import idjax
from idjax import IdjaxError, Settings, predict, train
from idjax.nn.logistic import base_loss, least_loss, mean_loss
from idjax.nn.starts import start_weights
from idjax.prediction.probe import softmax

ORDERS, EPOCHS, BATCH = 12, 12, 32
SETS = {"breast_cancer": False, "digits": True, "wine": True}
RULES = {"sgd": {}, "momentum": {"momentum": 0.9}, "adam": {"optimizer": "adam"}}
WITHIN = 0.03


@functools.cache
def rows_of(name: str, standardised: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows in random order, standardised or as they are, and one column of 0 and 1 or one-hot codes."""
    x, labels = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, labels = x[order], labels[order]
    deviation = np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    x = (x - x.mean(axis=0)) / deviation if standardised else x
    y = np.eye(labels.max() + 1)[labels] if SETS[name] else labels[:, None].astype(float)
    return x.astype(np.float32), y.astype(np.float32)


def settings_of(name: str, standardised: bool, rule: str, share: float) -> Settings:
    """At a share of the rate that is stable wherever training goes (P4), twice as large for one logit; Adam's own."""
    a = softmax.with_bias(rows_of(name, standardised)[0].astype(np.float64))
    u = a @ softmax.principal_axes(a).vectors
    stable = softmax.stable_rates(u, 2, BATCH).minibatch * (1 if SETS[name] else 2)
    rate = 0.005 if rule == "adam" else stable * (1 - RULES[rule].get("momentum", 0.0))
    given = Settings(loss="cross-entropy", batch_size=BATCH, epochs=EPOCHS, validation_split=0.0)
    return dataclasses.replace(given, learning_rate=share * float(rate), **RULES[rule])


def by_optax(settings: Settings, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean losses of the epochs, one row an order, by nothing of idjax but its start."""
    optimizer = {
        "adam": lambda rate: optax.adam(rate, eps=1e-7), "sgd": lambda rate: optax.sgd(rate, settings.momentum or None)
    }[settings.optimizer](settings.step_size)  # fmt: skip
    start = start_weights("glorot", x.shape[1], y.shape[1], settings.seed)
    params = jax.tree.map(lambda part: jnp.asarray(part, jnp.float32), (start.kernel, start.bias))

    def loss(params, batch):
        logits = batch[0] @ params[0] + params[1]
        if y.shape[1] == 1:
            return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, batch[1]))
        return jnp.mean(optax.softmax_cross_entropy(logits, batch[1]))

    @jax.jit
    def step(state, batch):
        value, gradient = jax.value_and_grad(loss)(state[0], batch)
        updates, inner = optimizer.update(gradient, state[1], state[0])
        return (optax.apply_updates(state[0], updates), inner), value

    @jax.jit
    def epoch(state, order):
        whole = len(order) // BATCH * BATCH
        batches = jax.tree.map(lambda part: part[order[:whole]].reshape(-1, BATCH, part.shape[1]), (x, y))
        state, values = jax.lax.scan(step, state, batches)
        total = values.sum() * BATCH
        if whole < len(order):
            state, value = step(state, (x[order[whole:]], y[order[whole:]]))
            total += value * (len(order) - whole)
        return state, total / len(order)

    x, y = jnp.asarray(x), jnp.asarray(y)
    draws, found = np.random.default_rng(99), np.zeros((ORDERS, settings.epochs))
    for run in range(ORDERS):
        state = params, optimizer.init(params)
        for index in range(settings.epochs):
            state, found[run, index] = epoch(state, jnp.asarray(draws.permutation(len(x))))
    return found


def beyond(predicted: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """How far beyond 3% and 3 standard errors the losses of every epoch are; none where it is negative."""
    allowed = WITHIN * runs.mean(axis=0) + 3 * runs.std(axis=0, ddof=1) * np.sqrt(1 / ORDERS + 1 / 8)
    return np.abs(predicted - runs.mean(axis=0)) - allowed


def with_the_curvature_of_the_start(settings: Settings, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The control: descent on the quadratic form that the loss is at the start, for ever."""
    start = start_weights("glorot", x.shape[1], y.shape[1], settings.seed)
    a = softmax.with_bias(x.astype(np.float64))

    def loss(weights):
        logits = a @ weights
        if y.shape[1] == 1:
            return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, y))
        return jnp.mean(optax.softmax_cross_entropy(logits, y))

    with jax.enable_x64(True):
        weights = jnp.asarray(start.stacked)
        value, slope = jax.value_and_grad(loss)(weights)

        def step(moved, _):
            bent = jax.jvp(jax.grad(loss), (weights,), (moved,))[1]
            return moved - settings.step_size * (slope + bent), value + jnp.sum(moved * (slope + bent / 2))

        steps = -(-len(x) // BATCH)
        losses = jax.lax.scan(step, jnp.zeros_like(weights), None, length=settings.epochs * steps)[1]
        return np.asarray(losses).reshape(settings.epochs, steps).mean(axis=1)


QUICK = [("breast_cancer", True, "sgd", 0.2), ("wine", True, "adam", 1.0)]
CASES = [
    pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
    for case in itertools.product(SETS, (True, False), RULES, (0.2, 1.0))
]


@pytest.mark.quick(1)
@pytest.mark.parametrize(("name", "standardised", "rule", "share"), CASES)
def test_every_epoch_is_that_of_plain_optax(name, standardised, rule, share):
    x, y = rows_of(name, standardised)
    settings = settings_of(name, standardised, rule, share)
    runs, found = by_optax(settings, x, y), predict(x, settings, target=y, band=False)
    assert np.all(beyond(found.train, runs) <= 0)
    if rule == "sgd" and standardised:
        assert np.any(beyond(with_the_curvature_of_the_start(settings, x, y), runs) > 0)


def test_the_least_loss_is_looked_for_once(monkeypatch):
    """For a prediction and the training beside it; other rows have one of their own."""
    asked, minimize = [], scipy.optimize.minimize
    monkeypatch.setattr(scipy.optimize, "minimize", lambda *given, **more: asked.append(1) or minimize(*given, **more))
    x = np.random.default_rng(3).normal(size=(80, 3))
    settings = Settings(loss="cross-entropy", epochs=2)
    for rows, times in ((x, 1), (x[::-1], 2)):
        y = (rows[:, :1] + rows[:, 1:2] ** 2 > 1).astype(float)
        predict(rows, settings, target=y, band=False)
        train(rows, settings, target=y)
        assert len(asked) == times


@pytest.mark.parametrize("name", SETS)
def test_the_least_loss_is_that_of_logistic_regression(name):
    """On as many inputs as leave the classes mixed; of all of them they are separable, and there is none."""
    x, y = (part.astype(np.float64) for part in rows_of(name, True))
    few = x[:, :2]
    least = least_loss(few, y)
    assert not least.separable
    labels = np.argmax(y, axis=1) if y.shape[1] > 1 else y[:, 0]
    fitted = LogisticRegression(C=1e10, tol=1e-8, max_iter=10_000).fit(few, labels)
    logits = few @ fitted.coef_.T + fitted.intercept_
    assert least.loss == pytest.approx(mean_loss(logits, y), rel=1e-5)
    assert least.explained == pytest.approx(1 - least.loss / base_loss(y.mean(axis=0)), rel=1e-9)
    if name != "breast_cancer":
        assert least_loss(x, y).separable


def test_predicted_and_trained_tell_accuracy_and_what_is_learned():
    x, y = rows_of("wine", True)
    words = np.array(["low", "middle", "high"])[np.argmax(y, axis=1)]
    settings = Settings(loss="cross-entropy", learning_rate=0.3, epochs=60)
    found, run = predict(x, settings, target=words, band=False), train(x, settings, target=words)
    numbers = train(x, settings, target=np.argmax(y, axis=1), labels=True)
    assert run.accuracy is not None
    assert found.accuracy is not None
    np.testing.assert_allclose(found.accuracy, run.accuracy, atol=0.06)
    assert run.accuracy[-1] > 0.9
    assert found.reachable == run.reachable < 1
    assert run.epochs_to_learn == pytest.approx(found.epochs_to_learn, rel=0.15)
    np.testing.assert_allclose(np.sort(numbers.accuracy)[-5:], np.sort(run.accuracy)[-5:], atol=0.06)


def test_soft_targets_of_one_output():
    x, y = rows_of("breast_cancer", True)
    soft = 0.1 + 0.8 * y
    settings = Settings(loss="cross-entropy", learning_rate=0.1, epochs=5, validation_split=0.0)
    run = train(x, settings, target=soft)
    assert base_loss(np.array([0.1])) < run.train[-1] < run.train[0]
    assert run.accuracy is not None
    assert run.accuracy[-1] > 0.9


@pytest.mark.parametrize("target", [None, np.full((50, 1), 2.0), np.full((50, 2), 0.7)])
def test_targets_that_are_no_classes_are_refused(target):
    x = np.random.default_rng(0).normal(size=(50, 2))
    for command in (predict, train):
        with pytest.raises(IdjaxError, match="loss is cross-entropy: it takes"):
            command(x, Settings(loss="cross-entropy"), target=target)
    with pytest.raises(IdjaxError, match="its outputs are logits"):
        dataclasses.replace(Settings(loss="cross-entropy"), activation="sigmoid")


def test_labels_of_a_file_are_one_hot_codes(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b,kind\n1,2,cat\n3,4,dog\n5,6,cat\n")
    loaded = idjax.load(tmp_path / "rows.csv", "kind")
    assert loaded.target_names == ("cat", "dog")
    np.testing.assert_array_equal(loaded.target, [[1, 0], [0, 1], [1, 0]])
