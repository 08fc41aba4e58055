"""Activations by linearisation at the start: against training while the kernel stands still, and said where not."""

import dataclasses

import jax
import numpy as np
import pytest

from idjax.nn.model import to_bytes
from idjax.nn.optimizers import sgd
from idjax.nn.starts import start_layers
from idjax.nn.step import plan_for
from idjax.prediction import budget
from idjax.prediction.dynamics import linearised, network
from idjax.prediction.predict import predict
from idjax.report.comparison import prediction_error
from idjax.results.curve import Status
from idjax.settings import Settings
from idjax.theory.full_batch import stepped
from idjax.theory.networks import tangent
from idjax.training.train import train

BASE = Settings(learning_rate=0.01, batch_size=42, epochs=40, dtype="float64", activation="sigmoid")


def rows(count=60, p=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, p)) @ rng.normal(size=(p, p)) * 0.4 + 0.5


def both(settings, x=None, y=None):
    x = rows() if x is None else x
    return train(x, settings, target=y), predict(x, settings, target=y, band=False)


@pytest.mark.slow
def test_some_of_many_rows_tell_the_form(monkeypatch):
    """A third of the rows tells the losses within 2%, a hundred of them, the control, do not."""
    x, settings = rows(4000), dataclasses.replace(BASE, epochs=10, learning_rate=1e-4)
    curves = {}
    for most in (2**14, 1000, 100):
        monkeypatch.setattr(budget, "TANGENT_ROWS", most)
        curves[most] = predict(x, settings, band=False)
    off = {most: np.abs(curves[most].train / curves[2**14].train - 1).max() for most in (1000, 100)}
    assert off[1000] < 0.02, off
    assert off[100] > 0.02, off
    assert curves[1000].how.endswith("on 934 of the 2,800 rows")
    assert " rows" not in curves[2**14].how


@pytest.mark.parametrize("share", [0.01, 0.6, 0.999, 1.001])
@pytest.mark.parametrize("every", [1, 7])
def test_descent_in_closed_form_is_descent_step_by_step(share, every):
    """To rounding at rates below and above the stable one, with a mode that nothing bends; not at half the updates."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        jacobian, residual = rng.normal(size=(2, 3, 9, 5)), rng.normal(size=(2, 3, 9))
        jacobian[0, 1, :, 4] = 0
        shares = np.full((3, 9), 1 / 27)
        bent, watched = (tangent.form_of(jacobian[i], residual[i], shares) for i in range(2))
        train, _ = tangent.diagonal(bent)
        origin, rate = np.zeros_like(train.linear), share / float(train.matrix.max())
        state, problem = stepped.begin(sgd, rate, origin), tangent.Linearised(train, (watched,), origin)
        for windows in (6, 20):
            followed = stepped.follow(sgd, rate, problem, state, windows, every)
            state = followed[0]
        step, losses, (seen,) = tangent.descend(train, (watched,), rate, 6, 20, every)
        _, fewer, _ = tangent.descend(train, (watched,), rate, 3, 20, every)
    np.testing.assert_allclose(step, state.params, atol=1e-13)
    np.testing.assert_allclose(losses, followed[1], rtol=1e-13)
    np.testing.assert_allclose(seen, followed[2][0], rtol=1e-13)
    assert np.abs(fewer / losses - 1).max() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"normalize": "sample", "momentum": 0.5},
        pytest.param(
            {"hidden": (64,), "hidden_activation": "tanh", "activation": "linear", "normalize": "feature"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"hidden": (6, 5), "hidden_activation": "gelu", "optimizer": "adam", "learning_rate": 1e-4},
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_the_curve_while_the_kernel_stands_still(changes):
    """Within 2% at every epoch with a drift below 0.1, in all three spaces; not with another learning rate."""
    settings = dataclasses.replace(BASE, **changes)
    trained, predicted = both(settings)
    still = predicted.kernel_drift < 0.1
    assert still.sum() >= 5
    for name in ("train", "validation"):
        measured, said = getattr(trained, name)[still], getattr(predicted, name)[still]
        assert np.max(np.abs(said / measured - 1)) < 0.02
        fall = measured[0] - measured[-1]
        assert abs((said[0] - said[-1]) / fall - 1) < 0.1
    np.testing.assert_allclose(predicted.explained_variance[still], trained.explained_variance[still], atol=0.02)
    faster = predict(rows(), dataclasses.replace(settings, learning_rate=2 * settings.step_size), band=False)
    assert abs((faster.train[still][0] - faster.train[still][-1]) / fall - 1) > 0.1


def test_where_the_kernel_drifts_the_run_is_followed_for_the_linearised_losses_differ(monkeypatch):
    settings = dataclasses.replace(BASE, hidden=(8,), hidden_activation="relu", learning_rate=0.1, epochs=100)
    trained, predicted = both(settings)
    assert "its tangent kernel has moved by" in predicted.no_theory
    assert prediction_error(trained, predicted) < 1e-3
    monkeypatch.setattr(linearised, "TRUSTED", np.inf)
    _, predicted = both(settings)
    assert predicted.kernel_drift[-1] > 0.1
    assert prediction_error(trained, predicted) > 0.02


@pytest.mark.slow
def test_outputs_and_weights_give_the_same_modes():
    """More weights than outputs or fewer: the run is the same, whatever space its modes are found in."""
    x = rows(8)
    settings = dataclasses.replace(BASE, batch_size=8, validation_split=0.0, hidden=(12,), hidden_activation="tanh")
    few = predict(x, settings, band=False)
    twice = predict(np.concatenate([x] * 6), dataclasses.replace(settings, batch_size=48), band=False)
    assert "40 modes" in few.how
    assert "137 modes" in twice.how
    np.testing.assert_allclose(few.train, twice.train, rtol=1e-9)
    np.testing.assert_allclose(few.explained_variance, twice.explained_variance, atol=1e-9)


def test_derivatives_are_those_of_the_flax_model():
    for settings, sizes in (
        (BASE, (5, 3)),
        (dataclasses.replace(BASE, hidden=(4,), hidden_activation="gelu"), (5, 4, 3)),
    ):
        with jax.enable_x64(True):
            plan = plan_for(settings, autoencoder=False, outputs=3)
            net = network.network_of(plan, start_layers("glorot", sizes, 0))
            z = np.asarray(rows(4))
            step = 1e-6 * np.random.default_rng(1).normal(size=net.start.shape)
            change = net.linearised(net.start + step, z)[0] - net.linearised(net.start - step, z)[0]
            jacobian = net.linearised(net.start, z)[1]
            np.testing.assert_allclose(change / 2, (jacobian @ step[..., None])[..., 0], atol=1e-14)
            assert tangent.drift(jacobian, jacobian) == 0


@pytest.mark.slow
def test_unreachable_outputs_and_dead_units_are_named(tmp_path):
    x = rows()
    y = np.stack([x[:, 0] * 0 + 0.5, x[:, 1] - 9, np.abs(x[:, 2])], axis=1)
    notes = both(dataclasses.replace(BASE, activation="relu", epochs=2), x, y)[1].notes
    assert any("lie outside the range of relu" in note and "(output 1)" in note for note in notes)
    layers = start_layers("glorot", (5, 4, 3), 0)
    layers[0].bias[2] = -100
    (tmp_path / "start.msgpack").write_bytes(to_bytes(layers, "float64"))
    settings = dataclasses.replace(
        BASE,
        hidden=(4,),
        hidden_activation="relu",
        activation="linear",
        start=str(tmp_path / "start.msgpack"),
        epochs=2,
    )
    notes = both(settings, x, y)[1].notes
    assert any("dead at the start" in note and "unit 2 of hidden layer 1" in note for note in notes)
    alive = predict(x, dataclasses.replace(settings, start="glorot"), target=y, band=False).notes
    assert not any("unit 2 of hidden" in note for note in alive)


def test_what_is_too_large_is_followed():
    large = dataclasses.replace(BASE, hidden=(300,), hidden_activation="relu", epochs=2)
    for data, settings, why in (
        (rows(3000), large, "fewer hidden units"),
        (rows(), dataclasses.replace(BASE, normalize="pca", epochs=2), "pca with an activation"),
    ):
        found = predict(data, settings, band=False)
        assert found.status is Status.FOLLOWED
        assert why in found.no_theory
