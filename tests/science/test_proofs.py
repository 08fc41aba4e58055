"""Programs and their cures trained to a common loss; a few rows learned by heart, or what stops that."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from loss_faults import LOSS_FAULTS, X, Y, squares

from idjax import diagnose_loss, diagnose_model
from idjax.diagnosis.cures.race import steps_to
from idjax.diagnosis.program.findings import cannot_overfit
from idjax.report.pages import render_program
from idjax.results.store import to_json


@pytest.mark.slow
def test_a_proof_trains_what_the_user_would_train():
    made = LOSS_FAULTS["inputs around 30"]()
    heard = []
    found = diagnose_loss(
        made.loss, made.params, *made.args, optimizer="adam", learning_rate=1e-3, prove=True, progress=heard.append
    )
    best, given, cured = found.proof.runs
    assert [run.name for run in found.proof.runs] == ["as given, best rate", "as given", "layer-mean"]
    assert cured.steps < best.steps / 5 < given.steps

    def trained(loss, params, rate, steps):
        optimizer, losses = optax.adam(rate), []
        state = optimizer.init(params)
        step = jax.jit(jax.value_and_grad(loss))
        for _ in range(steps):
            value, slope = step(params, *made.args)
            losses.append(float(value))
            updates, state = optimizer.update(slope, state)
            params = optax.apply_updates(params, updates)
        return losses

    cure = found.cure("layer-mean")
    assert trained(cure, cure.params, cured.learning_rate, 8) == pytest.approx(cured.losses[:8].tolist(), rel=1e-3)
    assert trained(made.loss, made.params, 1e-3, 50) == pytest.approx(given.losses[:50].tolist(), rel=1e-3)
    assert trained(made.loss, made.params, 2e-3, 50)[-1] != pytest.approx(given.losses[49], rel=1e-3)
    told = json.loads(to_json(found))["proof"]
    assert [run["steps"] for run in told["runs"]] == [best.steps, None, cured.steps]
    page, figures = render_program(found, {})
    assert "proof.png" in figures
    assert "layer-mean" in page
    assert {event.total for event in heard if event.what.startswith("training")} == {3 * 512}


def test_steps_to_a_loss():
    losses = np.array([8.0, 4.0, 2.0, 1.0, np.nan])
    assert steps_to(losses, 5.0) == 3
    assert steps_to(losses, 1.0) == np.inf


def stopped(loss, params, *args):
    return diagnose_loss(loss, params, *args, optimizer="adam").few_rows


@pytest.mark.slow
def test_what_learns_no_rows_by_heart():
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(2, 32)).astype(np.float32), "b": rng.normal(size=(32, 1)).astype(np.float32) / 6}

    def net(last):
        return lambda params, x, y: squares(last(jnp.tanh(x @ params["a"]) @ params["b"]), y)

    healthy = stopped(net(lambda o: o), params, X, Y[:, None])
    assert healthy.learned
    assert not healthy.stopped
    bounded = stopped(net(lambda o: 0.1 * jnp.tanh(o)), params, X, Y[:, None])
    assert not bounded.learned
    assert bounded.stopped
    alike = stopped(net(lambda o: o), params, 0 * X, Y[:, None])
    assert not alike.learned
    assert not alike.stopped
    # What is left where all outputs are right is no failure to learn: of a penalty, and where it is not known.
    strong, weak = (stopped(with_penalty(net(lambda o: o), share), params, X, Y[:, None]) for share in (0.1, 0.02))
    assert weak.end > 0.05 * weak.start
    assert weak.learned
    assert "as of a penalty" in strong.stopped
    rates = stopped(lambda p, x, y: rate_loss(jnp.tanh(x @ p["a"]) @ p["b"], y), params, X, abs(Y[:, None]))
    assert rates.end > 0.05 * rates.start
    assert not rates.stopped
    assert cannot_overfit.find(rates) == cannot_overfit.find(weak) == []
    assert [finding.code for finding in cannot_overfit.find(bounded)] == ["cannot-overfit"]


def with_penalty(loss, share):
    return lambda params, x, y: loss(params, x, y) + share * sum((params[name] ** 2).sum() for name in params)


def rate_loss(o, y):
    """The likelihood of counts, which is lowest at their entropy."""
    return jnp.mean(jnp.exp(o) - y * o)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_divergence_that_is_subtracted_has_no_minimum(optimizer):
    """Seen in training alone; with its sign as it should be nothing is found."""
    rng = np.random.default_rng(0)
    params = {"in": rng.normal(size=(2, 4)).astype(np.float32), "out": rng.normal(size=(2, 2)).astype(np.float32)}

    def loss(sign):
        def given(params, x):
            mean, log_variance = jnp.split(x @ params["in"], 2, axis=1)
            code = mean + jnp.exp(log_variance / 2) * jax.random.normal(jax.random.key(0), mean.shape)
            divergence = jnp.mean(mean**2 + jnp.exp(log_variance) - 1 - log_variance) / 2
            return squares(code @ params["out"], x) + sign * divergence

        return given

    wrong, right = (diagnose_loss(loss(sign), params, X, optimizer=optimizer) for sign in (-1, 1))
    assert [finding.code for finding in cannot_overfit.find(wrong.few_rows)] == ["unbounded-loss"]
    assert not wrong.few_rows.learned
    assert cannot_overfit.find(right.few_rows) == []
    assert np.isfinite(right.learning_rate)


@pytest.mark.slow
def test_a_rate_that_does_not_last_is_not_the_raced_one():
    """A likelihood that bends more the better it fits: raced over few steps a rate is fast that is lost later."""
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(2, 32)).astype(np.float32), "b": rng.normal(size=(32, 2)).astype(np.float32) / 6}

    def loss(params, x, y):
        mean, log_variance = jnp.split(jnp.tanh(x @ params["a"]) @ params["b"], 2, axis=1)
        return jnp.mean(log_variance + (y - mean) ** 2 * jnp.exp(-log_variance)) / 2

    found = diagnose_loss(loss, params, X, Y[:, None])
    assert np.isfinite(found.race.losses).all()
    few = found.few_rows
    assert np.isfinite(few.end)
    assert few.end < few.start
    assert cannot_overfit.find(few) == []


@pytest.mark.slow
def test_batches_are_those_given_and_ctrl_c_tells_what_is_known():
    asked = []

    def batches(step):
        asked.append(step)
        rows = np.random.default_rng(step).choice(100, 20)
        return X[rows], Y[rows, None]

    def loss(w, x, y):
        return squares(x @ w, y)

    found = diagnose_loss(loss, np.ones((2, 1), np.float32), X, Y[:, None], batches=batches)
    assert found.race.spent
    assert set(range(256)) <= set(asked)
    assert np.ptp(found.race.losses[-50:]) > 1e-3  # of one batch they would be still
    fixed = diagnose_loss(loss, np.ones((2, 1), np.float32), X, Y[:, None], batches=iter([batches(0), batches(1)]))
    assert fixed.race.losses[-2] != pytest.approx(fixed.race.losses[-1], rel=1e-3)
    assert fixed.race.losses[-3] == pytest.approx(fixed.race.losses[-1], rel=1e-3)

    params = linen.Dense(1).init(jax.random.key(0), X)
    drawn = [{"x": rows, "y": targets} for rows, targets in map(batches, (0, 1))]
    for many in (iter(drawn), lambda step: drawn[step % 2]):
        model = diagnose_model(linen.Dense(1), params, (X, Y[:, None]), squares, batches=many)
        assert model.race.losses[-3] == pytest.approx(model.race.losses[-1], rel=1e-3)
        assert model.race.losses[-2] != pytest.approx(model.race.losses[-1], rel=1e-3)

    def interrupt(event):
        if event.what == "training: as given":
            raise KeyboardInterrupt

    proof = diagnose_loss(
        loss, np.ones((2, 1), np.float32), X, Y[:, None], learning_rate=1e-3, prove=True, progress=interrupt
    ).proof
    assert proof.interrupted
    assert [run.name for run in proof.runs] == ["as given, best rate"]
