"""Faults planted in Flax models: each is named, nothing else is, and its cure is proven by training."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree
from planted_models import FAULTS, HEALTHY, MLP, PlantedModel, Transformer, cases, cross_entropy, planted_model

from idjax.diagnosis.program.diagnose import diagnose_model
from idjax.settings import DiagnosisSettings

QUICK = [
    ("cnn", "bytes", 0), ("vae", "bytes", 0), ("nnx", "large", 0), ("cnn", "small", 0), ("transformer", "no norm", 0),
    ("transformer", "large", 0), ("mlp", "offset", 0), ("vae", "offset", 0), ("transformer", "offset", 0),
    ("cnn", "constant", 0), ("nnx", "bfloat16", 0), ("normed", "no norm", 1),
]  # fmt: skip


def diagnosed(planted: PlantedModel):
    return diagnose_model(
        planted.model, planted.params, planted.batch, planted.loss, planted.settings, kwargs=planted.kwargs
    )


def is_named(kind: str, fault: str, seed: int) -> bool:
    """The planted cause and no other, in the layer that has it."""
    planted = planted_model(kind, fault, seed)
    found = diagnosed(planted)
    codes = {finding.code for finding in found.causes}
    if not (codes and codes <= planted.codes):
        return False
    if fault == "bfloat16":
        return planted.layers <= found.slow
    return all(set(finding.layers) & planted.layers for finding in found.causes)


def quick(*case: object) -> Any:
    """Models that take long to compile are slow tests."""
    return pytest.param(*case, marks=() if case[0] == "mlp" else pytest.mark.slow)


@pytest.mark.parametrize(("kind", "fault", "seed"), [quick(*case) for case in QUICK])
def test_a_planted_fault_is_named(kind, fault, seed):
    assert is_named(kind, fault, seed)


@pytest.mark.slow
def test_of_a_hundred_planted_faults_ninety_eight_are_named():
    missed = [case for case in cases(100) if not is_named(*case)]
    assert len(missed) <= 2, missed
    assert {fault for _, fault, _ in cases(100)} == set(FAULTS)


@pytest.mark.parametrize("kind", [quick(kind) for kind in HEALTHY])
def test_nothing_is_named_in_a_healthy_model(kind):
    found = diagnosed(planted_model(kind, "", 0))
    assert found.causes == ()
    assert "nothing found" in found.verdict


@pytest.mark.slow
@pytest.mark.parametrize("kind", [quick(kind) for kind in HEALTHY])
@pytest.mark.parametrize("seed", range(1, 5))
def test_nothing_is_named_in_healthy_models(kind, seed):
    assert diagnosed(planted_model(kind, "", seed)).causes == ()


def curvature(planted, params, x, y) -> float:
    """The largest eigenvalue of the Gauss-Newton matrix Jᵀ (∂²loss) J, by the power method."""
    flat, nested = ravel_pytree(params)

    def outputs(flat):
        return planted.model.apply(nested(flat), x, **planted.kwargs)

    @jax.jit
    def turned(vector):
        made, pushed = jax.jvp(outputs, (flat,), (vector,))
        curved = jax.jvp(jax.grad(lambda made: planted.loss(made, y)), (made,), (pushed,))[1]
        return jax.vjp(outputs, flat)[1](curved)[0]

    vector = jax.random.normal(jax.random.key(0), flat.shape)
    for _ in range(30):
        vector = turned(vector / jnp.linalg.norm(vector))
    return float(jnp.linalg.norm(vector))


def steps_to(planted: PlantedModel, level: float, most: int, batch=None, params=None) -> float:
    """Full-batch SGD at half the largest stable rate, 2 over the curvature, until the loss is at the level."""
    params = params or planted.params
    x, y = jax.tree.map(jnp.asarray, batch or planted.batch)

    def whole(params):
        return planted.loss(planted.model.apply(params, x, **planted.kwargs), y)

    if not jnp.isfinite(whole(params)):
        return math.inf  # a loss that is not finite has no gradient
    optimizer = optax.sgd(1 / curvature(planted, params, x, y))

    @jax.jit
    def step(params, state):
        loss, slope = jax.value_and_grad(whole)(params)
        updates, state = optimizer.update(slope, state)
        return loss, optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for count in range(most):
        loss, params, state = step(params, state)
        if loss <= level:
            return count
    return math.inf


@pytest.mark.slow
def test_centring_the_inputs_is_proven_by_training():
    model, rng = nn.Dense(3), np.random.default_rng(0)
    x = rng.normal(size=(256, 8)).astype(np.float32)
    y = x @ rng.normal(size=(8, 3)).astype(np.float32)
    params = {"params": {"kernel": jnp.zeros((8, 3)), "bias": jnp.zeros(3)}}

    def loss(outputs, targets):
        return jnp.mean((outputs - targets) ** 2)

    planted = PlantedModel(model, params, (x + 10, y), loss, DiagnosisSettings(), {}, set(), frozenset())
    finding = diagnosed(planted).causes[0]
    assert finding.code == "layer-mean"
    level = 0.01 * float(np.mean(y**2))
    before, after = steps_to(planted, level, 500), steps_to(planted, level, 500, (x, y))
    assert after < 40
    assert before == math.inf


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "level"), [("cnn", 1.2), ("vae", 60.0), ("mlp", 1.2)])
def test_dividing_the_inputs_is_proven_by_training(kind, level):
    faulty = planted_model(kind, "bytes", 0)
    scale = diagnosed(faulty).causes[0].evidence["root mean square input"]
    x, y = faulty.batch
    before, after = steps_to(faulty, level, 400), steps_to(faulty, level, 400, (x / np.float32(scale), y))
    print(f"{kind}, bytes: {before} steps to a loss of {level} before, {after} after")
    assert after < 400
    assert before > 2 * after


@pytest.mark.slow
def test_taking_the_mean_out_of_a_transformer_is_proven_by_training():
    faulty = planted_model("transformer", "offset", 3)
    cured = faulty._replace(model=Transformer())
    before, after = steps_to(faulty, 3.5, 200), steps_to(cured, 3.5, 200)
    print(f"transformer, offset: {before} steps to a loss of 3.5 before, {after} after")
    assert after < 200
    assert before > 2 * after


@pytest.mark.slow
def test_outliers_and_epsilon_are_named():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 16)).astype(np.float32)
    y = rng.integers(0, 10, 256)
    params = MLP().init(jax.random.key(0), x)
    assert diagnose_model(MLP(), params, (x, y), cross_entropy).causes == ()
    x[:, 3] *= 60
    found = diagnose_model(MLP(), params, (x, y), cross_entropy)
    assert [(finding.code, finding.layers) for finding in found.causes] == [("layer-outliers", ("dense1",))]
    x[:, 3] /= 60
    adam = DiagnosisSettings(optimizer="adam", epsilon=0.1)
    found = diagnose_model(MLP(), params, (x, y), cross_entropy, adam)
    assert {finding.code for finding in found.causes} == {"layer-epsilon"}
    fast = diagnose_model(MLP(), params, (x, y), cross_entropy, DiagnosisSettings(learning_rate=50.0))
    assert {finding.code for finding in fast.causes} == {"step-too-large"}
