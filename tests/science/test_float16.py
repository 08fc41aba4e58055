"""`float-stall` of float16 weights: gradients that vanish or overflow, updates that are lost, each with its cure."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from idjax.diagnosis.data import DiagnosisSettings, diagnose
from idjax.diagnosis.program.diagnose_loss import diagnose_loss
from idjax.training.train import train

ROWS = 1000
RNG = np.random.default_rng(0)
X, W, SMALL_W = RNG.normal(size=(ROWS, 6)), RNG.normal(size=(6, 3)), 0.01 * RNG.normal(size=(6, 10))
BASE = DiagnosisSettings(dtype="float16", batch_size=ROWS)
ADAM = {"optimizer": "adam", "epsilon": 1e-12, "learning_rate": 0.01}
CASES = {
    "vanish": (1e-4 * X, 1e-4 * X @ W, {**ADAM, "epochs": 1000}, {"loss_scale"}, "are 0 in float16"),
    "vanish in batches": (1e-4 * X, 1e-4 * X @ W, {**ADAM, "epochs": 20, "batch_size": 20}, {"loss_scale"}, "are 0"),
    "overflow": (X, X @ W, {"learning_rate": 0.3, "epochs": 200, "loss_scale": 2.0**20}, {"loss_scale"}, "overflow"),
    "updates": (
        0.02 * X, 0.02 * X @ SMALL_W, {"learning_rate": 3.0, "epochs": 40_000}, {"rounding"}, "updates are rounded",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name != "vanish" else name for name in CASES]
)
def test_the_stall_is_named_and_its_cure_trains(name):
    x, y, changes, cured_by, words = CASES[name]
    settings = dataclasses.replace(BASE, **changes)
    found = diagnose(x, settings, target=y, codes={"float-stall"}, prescriptions=False)
    [finding] = [each for each in found.findings if each.code == "float-stall"]
    assert finding.kind == "cause"
    assert words in finding.message
    assert set(finding.changes) == cured_by
    cured = train(x, dataclasses.replace(settings, **finding.changes), target=y)
    assert cured.epochs_to_learn <= settings.epochs
    assert abs(finding.fixed / cured.epochs_to_learn - 1) < 0.1 or cured.epochs_to_learn < 3
    assert not train(x, settings, target=y).epochs_to_learn <= settings.epochs
    # What has the cure has no such fault.
    again = diagnose(
        x, dataclasses.replace(settings, **finding.changes), target=y, codes={"float-stall"}, prescriptions=False
    )
    assert not again.findings


@pytest.mark.parametrize(
    ("dtype", "size", "told"), [("float16", 1e-5, True), ("float16", 1.0, False), ("bfloat16", 1e-5, False)]
)
def test_layers_whose_gradients_are_too_small_for_float16_are_told_to_scale_the_loss(dtype, size, told):
    def loss(params, x, y):
        return size * jnp.mean((x @ params["w"].astype(jnp.float32) - y) ** 2)

    x, y = (jnp.asarray(part[:256], jnp.float32) for part in (X, X @ W))
    found = diagnose_loss(
        loss, {"w": jnp.asarray(0.1 + 0 * W, dtype)}, x, y, optimizer="sgd", learning_rate=1e-5 / size
    )
    [stall] = [each for each in found.findings if each.code == "layer-float-stall"]
    assert ("times the loss" in stall.fix) is told
