"""Faults of losses, labels, outputs and starts: each is the first cause, with its line, and none without one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from library_programs import LIBRARY_PROGRAMS
from loss_faults import LOSS_FAULTS, X, Y

from idjax import IdjaxError, diagnose_loss

QUICK = (
    "healthy regression",
    "healthy policy",
    "P1,",
    "P2, without",
    "P3, softmax",
    "P6",
    "P11",
    "P14",
    "P16",
    "P12",
    "labels from 1",
)


def quick(name: str) -> Any:
    return pytest.param(name, marks=() if name.startswith(QUICK) else pytest.mark.slow)


@pytest.mark.parametrize("name", [quick(name) for name in LOSS_FAULTS])
def test_the_fault_is_the_first_cause(name):
    made = LOSS_FAULTS[name]()
    found = diagnose_loss(made.loss, made.params, *made.args)
    codes = [finding.code for finding in found.causes]
    assert codes[:1] == [made.code] * bool(made.code), found.verdict
    assert len(codes) <= 1 or made.code.startswith(("layer-", "target-"))
    for finding in found.causes:
        assert finding.where.startswith("loss_faults.py:") or made.code == "unused-parameters" or "NaN" in name
        assert finding.fix
    assert found.looked_at


@pytest.mark.parametrize("library", [pytest.param(name, marks=pytest.mark.slow) for name in LIBRARY_PROGRAMS])
def test_nothing_is_named_in_healthy_programs_of_any_library(library):
    made = LIBRARY_PROGRAMS[library]()
    found = diagnose_loss(made.loss, made.params, *made.args, has_aux=library == "linen, convolutions")
    assert found.findings == (), found.verdict
    assert "nothing found" in found.verdict


def test_the_message_has_the_shapes_and_the_line():
    made = LOSS_FAULTS["P1, outputs (100, 1), targets (100,)"]()
    (finding,) = diagnose_loss(made.loss, made.params, *made.args).causes
    assert "(100, 1)" in finding.message
    assert "(100, 100)" in finding.message
    assert finding.where.startswith("loss_faults.py:")


@pytest.mark.slow
def test_what_is_broadcast_learns_the_mean_and_reshaped_the_targets():
    made = LOSS_FAULTS["P1, outputs (100, 1), targets (100,)"]()

    def trained(y):
        params, optimizer = made.params, optax.adam(0.05)
        state = optimizer.init(params)
        step = jax.jit(lambda params, state: optimizer.update(jax.grad(made.loss)(params, X, y), state))
        for _ in range(300):
            updates, state = step(params, state)
            params = optax.apply_updates(params, updates)
        return float(made.loss(params, X, Y[:, None]) / np.var(Y))

    assert trained(Y) > 0.9
    assert trained(Y[:, None]) < 0.2


def test_zero_start_of_one_layer_and_frozen_arguments_are_meant():
    def loss(params, x, y):
        return jnp.mean((jnp.tanh(x @ params["a"]) @ params["zero"] - y) ** 2)

    a = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    assert diagnose_loss(loss, {"a": a, "zero": np.zeros((8, 1), np.float32)}, X, Y[:, None]).findings == ()


@pytest.mark.slow
def test_adam_is_asked_for_its_own_speed():
    made = LOSS_FAULTS["healthy, P4, a network that pools"]()
    assert diagnose_loss(made.loss, made.params, *made.args, optimizer=optax.adam(1e-3)).causes == ()
    made = LOSS_FAULTS["bytes"]()
    found = diagnose_loss(made.loss, made.params, *made.args, optimizer=optax.adam(1e-3)).causes
    assert [finding.code for finding in found] == ["layer-scale"]
    assert any("steps to one loss" in name for name in found[0].evidence)


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("optimizer", "code"),
    [(optax.adam(1e-6), "step-too-small"), (optax.adam(3.0), "step-too-large"), (optax.adam(1e-3), None),
     (optax.sgd(1e-2), None), (optax.sgd(20.0), "step-too-large"), (optax.sgd(1e-8), "step-too-small")],
)  # fmt: skip
def test_p8_rates_are_tried(optimizer, code):
    made = LOSS_FAULTS["healthy regression"]()
    found = diagnose_loss(made.loss, made.params, *made.args, optimizer=optimizer)
    assert [finding.code for finding in found.causes] == [code] * bool(code), found.verdict
    assert "never" not in found.verdict


def test_unknown_codes_are_told():
    with pytest.raises(IdjaxError, match="no finding in a program has this code"):
        diagnose_loss(lambda w: jnp.sum(w), np.ones(2, np.float32), codes=["x"])
