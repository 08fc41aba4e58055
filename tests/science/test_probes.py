"""Linear probes: the race is the training it stands for, the closed forms and the flow are its limits, and a
prescription holds on rows that are trained."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import idjax
from idjax.prediction.probe import predict_probe, softmax
from idjax.prediction.probe.flow import flow_to
from idjax.prediction.probe.predict import SHARE, fastest, features
from idjax.prediction.probe.race import LabelledRows, arrivals, race


def clusters(rows: int, inputs: int = 8, classes: int = 4, spread: float = 0.8, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=rows)
    centres = spread * rng.normal(size=(classes, inputs))
    return (centres[labels] + rng.normal(size=(rows, inputs))) * np.arange(1, inputs + 1) ** -0.6, labels


def descend(u: np.ndarray, codes: np.ndarray, rate: float, steps: int, momentum: float = 0.0) -> np.ndarray:
    """Full-batch softmax regression written out, float64."""
    weights, velocity = np.zeros((u.shape[1], codes.shape[1])), 0.0
    for _ in range(steps):
        odds = np.exp(u @ weights)
        gradient = u.T @ (odds / odds.sum(axis=1, keepdims=True) - codes) / len(u)
        velocity = momentum * velocity - rate * gradient
        weights = weights + velocity
    return weights


def epochs_of_optax(x: np.ndarray, labels: np.ndarray, rate: float, batch: int, epochs: int, seed: int) -> np.ndarray:
    """Accuracy on all rows after each epoch of a plain loop, the shape that most people would write."""
    a, targets = jnp.asarray(softmax.with_bias(x), jnp.float32), jnp.asarray(labels)
    weights = jnp.zeros((a.shape[1], int(labels.max()) + 1))
    rule = optax.sgd(rate)
    state = rule.init(weights)

    @jax.jit
    def update(weights, state, rows, targets):
        def loss(w):
            return optax.softmax_cross_entropy_with_integer_labels(rows @ w, targets).mean()

        updates, state = rule.update(jax.grad(loss)(weights), state)
        return optax.apply_updates(weights, updates), state

    rng, seen = np.random.default_rng(seed), [0.0]
    for _ in range(epochs):
        order = rng.permutation(len(a))
        for chosen in np.split(order, range(batch, len(a), batch)):
            weights, state = update(weights, state, a[chosen], targets[chosen])
        seen.append(softmax.accuracy(np.asarray(a @ weights), labels))
    return np.array(seen)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_a_race_is_plain_training(momentum):
    x, labels = clusters(120)
    u, codes = softmax.with_bias(x), np.eye(4)[labels]
    rates = np.array([0.1, 0.4])
    ran = race(
        LabelledRows(u, labels),
        LabelledRows(u, labels),
        4,
        rates,
        2.0,
        batch_size=120,
        most_steps=16,
        momentum=momentum,
        orders=1,
    )
    for column, rate in enumerate(rates):
        expected = [softmax.accuracy(u @ descend(u, codes, rate, int(t), momentum), labels) for t in ran.looks[1:]]
        np.testing.assert_allclose(ran.accuracy[1:, column], expected, atol=1e-6)
    assert np.isinf(ran.steps).all()  # nobody is right twice as often as always


def test_minibatches_see_every_row_once_an_epoch():
    # Each row has an input of its own, and class 0 is what zero weights answer: right are the rows seen so far.
    labels = np.random.default_rng(0).integers(1, 4, size=50)
    rows = LabelledRows(np.eye(50), labels)
    ran = race(rows, rows, 4, np.array([1e-3]), 2.0, batch_size=8, most_steps=16, orders=3)
    np.testing.assert_allclose(ran.accuracy[:8, 0], np.minimum(8 * np.arange(8), 50) / 50, atol=1e-6)


def test_learning_rates_share_one_compilation():
    x, labels = clusters(64)
    rows = LabelledRows(softmax.with_bias(x), labels)

    def go(rate: float) -> None:
        race(rows, rows, 4, np.array([rate]), 2.0, batch_size=16, most_steps=4, orders=1, momentum=rate / 10)

    go(0.1)
    from idjax.prediction.probe import race as module

    before = module._advance._cache_size()  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    go(0.2)
    assert module._advance._cache_size() == before  # pyright: ignore


def test_arrivals_stay():
    looks = np.arange(6.0)
    accuracy = np.array([[0, 0, 0], [0.9, 0.2, 0.5], [0.1, 0.6, 0.5], [0.8, 1.0, 0.5], [1, 1, 0.5], [1, 1, 0.5]])
    steps = arrivals(looks, accuracy.astype(np.float64), 0.8)
    np.testing.assert_allclose(steps, [3.0, 2.5, np.inf])  # 0.9 at the first look did not last


def test_the_limits_are_those_of_the_hessian():
    x, _ = clusters(400, classes=5)
    a = softmax.with_bias(x)
    u = a @ softmax.principal_axes(a).vectors
    second = a.T @ a / len(a)
    centring = np.eye(5) / 5 - np.ones((5, 5)) / 25
    start = 2 / np.linalg.eigvalsh(np.kron(centring, second))[-1]
    limits = softmax.stable_rates(u, 5, 10**9)
    assert limits.start == pytest.approx(start, rel=1e-10)
    # Böhning: no weights at all have a larger curvature.
    rng = np.random.default_rng(0)
    for scale in (0.1, 1.0, 10.0):
        p = jax.nn.softmax(jnp.asarray(a @ (scale * rng.normal(size=(a.shape[1], 5)))), axis=1)
        blocks = np.einsum("ni,ij,na,nb->iajb", p, np.eye(5), a, a) - np.einsum("ni,nj,na,nb->iajb", p, p, a, a)
        hessian = blocks.reshape(5 * a.shape[1], -1) / len(a)
        assert 2 / np.linalg.eigvalsh(np.asarray(hessian, np.float64))[-1] >= limits.always * (1 - 1e-6)
    assert limits.minibatch == pytest.approx(limits.always, rel=1e-6)
    assert softmax.stable_rates(u, 5, 1).minibatch < limits.always / 3


def test_the_closed_form_is_training_at_the_start_and_not_later():
    x, labels = clusters(300)
    a = softmax.with_bias(x)
    u, codes = a @ softmax.principal_axes(a).vectors, np.eye(4)[labels]

    def error(rate: float, steps: int) -> float:
        exact = descend(u, codes, rate, steps)
        linear = softmax.linearised_weights(np.mean(u**2, axis=0), u.T @ (codes - 1 / 4) / len(u), rate * steps)
        return float(np.abs(linear - exact).max() / np.abs(exact).max())

    assert error(1e-3, 50) < 0.03
    assert error(0.2, 5000) > 0.3


def test_the_flow_is_training_at_small_rates_however_far():
    x, labels = clusters(300, spread=0.5)
    data = features(20 * x + 50, labels, 4, "none")  # λ₁ of 2e4: a rate of 1e-4 is close to its limit
    u, codes = np.asarray(data.training.a), data.codes
    target = softmax.accuracy(u @ descend(u, codes, 1e-4, 4000), labels)
    clock, weights = flow_to(data.training, data.training, 4, 2.0, growth=1.05)
    assert np.isinf(clock)
    assert np.isfinite(weights).all()
    clock, _ = flow_to(data.training, data.training, 4, target - 0.01, growth=1.05)
    rate, steps = 1e-4, np.arange(100, 4001, 100)
    seen = np.array([softmax.accuracy(u @ descend(u, codes, rate, int(t)), labels) for t in steps])
    first = steps[np.argmax(seen >= target - 0.01)]
    assert clock / rate == pytest.approx(first, abs=200, rel=0.15)
    # The tangent at the start is not enough.
    linear = softmax.linearised_step(u, codes, u, labels, target - 0.01) / rate
    assert abs(linear / first - 1) > 0.15


@pytest.mark.slow
def test_a_prescription_holds_in_a_loop_of_its_own():
    x, labels = clusters(3000, inputs=12, classes=5, spread=0.6, seed=3)
    batch = 100
    probe = predict_probe(x, labels, 5, batch_size=batch, normalizers=("none", "feature"), given=0.1)
    run = probe.runs[0]
    target = probe.target
    assert target == pytest.approx(SHARE * probe.converged)
    slow = np.mean([epochs_of_optax(x, labels, 0.1, batch, 120, seed) for seed in range(2)], axis=0)
    assert probe.given_epochs == pytest.approx(float(np.argmax(slow >= target)), rel=0.25)
    fast = np.mean([epochs_of_optax(x, labels, run.learning_rate, batch, 12, seed) for seed in range(6)], axis=0)
    assert run.epochs == pytest.approx(float(np.argmax(fast >= target)), abs=1.0)
    assert run.learning_rate > 1


def test_scaling_the_features_scales_the_rate_by_its_square():
    x, _ = clusters(300)
    x -= x.mean(axis=0)
    limits = [softmax.stable_rates(scale * x, 4, 32) for scale in (1.0, 0.01)]
    assert limits[1].always == pytest.approx(1e4 * limits[0].always)


def test_one_class_is_refused():
    with pytest.raises(idjax.IdjaxError, match="at least 2 classes"):
        predict_probe(np.random.default_rng(0).normal(size=(20, 3)), np.zeros(20, int), 2, batch_size=4)


@pytest.mark.slow
def test_diagnose_shows_the_probe_first(tmp_path, command):
    x, labels = clusters(300, classes=3)
    np.save(tmp_path / "features.npy", x)
    np.save(tmp_path / "labels.npy", labels)
    argv = ["diagnose", str(tmp_path / "features.npy"), "--target", str(tmp_path / "labels.npy"), "--labels",
            "--batch-size", "32", "--normalize", "none", "--quiet", "--out", str(tmp_path / "out")]  # fmt: skip
    _, said, _ = command(*argv)
    assert said.startswith("As a linear probe (softmax cross-entropy, 3 classes, SGD, batches of 32): learning rate")
    assert "whitened (PCA)" in said
    assert "As a linear probe" in (tmp_path / "out" / "report.html").read_text()
    probe = json.loads((tmp_path / "out" / "diagnosis.json").read_text())["probe"]
    assert [run["normalize"] for run in probe["runs"]] == ["none", "center", "feature", "pca"]
    assert probe["given_epochs"] > probe["runs"][0]["epochs"]


def test_rates_of_a_start_that_answers_well_enough_take_no_time():
    """Times of 0 have no logarithm; where there is none the parabola tells."""
    rates = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    assert fastest(rates, np.array([3.0, 0.0, 2.0, 5.0, 9.0])) == 1
    assert fastest(rates, np.array([9.0, 4.0, 3.0, 4.0, 9.0])) == 2
