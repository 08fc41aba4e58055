"""Cures that are built in: losses as the user's own, with the effect that is told; rates that are raced."""

import json
import pickle
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree
from loss_faults import LOSS_FAULTS, X, Y, binary, integer_labels, squares

from idjax import IdjaxError, diagnose_loss
from idjax.diagnosis.cures.race import steps_to
from idjax.results.store import to_json

FAR = X + 30


def top_of(loss, params, *args):
    flat, unravel = ravel_pytree(params)
    hessian = jax.hessian(lambda flat: loss(unravel(flat), *args))(flat)
    return float(np.linalg.eigvalsh(np.asarray(hessian, np.float64))[-1])


@pytest.mark.slow
def test_a_cured_loss_is_differentiated_compiled_and_vectorised():
    made = LOSS_FAULTS["inputs around 30"]()
    found = diagnose_loss(made.loss, made.params, *made.args)
    cured = found.cure("layer-mean")
    assert "largest curvature" in cured.text
    value, slope = jax.jit(jax.value_and_grad(cured))(cured.params, *made.args)
    assert jax.tree.structure(slope) == jax.tree.structure(made.params)
    each = jax.jit(jax.vmap(lambda x, y: cured(cured.params, x[None], y[None])))(*made.args)
    assert float(each.mean()) == pytest.approx(float(value), rel=1e-5)
    # Centred by hand it is the same loss, and the program as given is another.
    assert float(made.loss(made.params, FAR - FAR.mean(0), made.args[1])) == pytest.approx(float(value), rel=1e-4)
    assert abs(float(made.loss(made.params, *made.args)) / float(value) - 1) > 0.1
    before, after = (top_of(loss, made.params, *made.args) for loss in (made.loss, cured))
    told = [float(number) for number in re.findall(r"([\d.e+]+) (?:before|after)", cured.text)[:2]]
    assert told == pytest.approx([before, after], rel=0.02)
    json.loads(to_json(found))
    with pytest.raises(IdjaxError, match="without its program"):
        pickle.loads(pickle.dumps(found)).cure("layer-mean")
    with pytest.raises(IdjaxError, match="not found here"):
        found.cure("layer-scale")


@pytest.mark.quick(1)
@pytest.mark.parametrize("library", ["nnx", "equinox"])
def test_models_of_other_libraries_are_cured(library):
    if library == "nnx":
        model = nnx.Sequential(nnx.Linear(2, 8, rngs=nnx.Rngs(0)), nnx.tanh, nnx.Linear(8, 1, rngs=nnx.Rngs(1)))
        grad = nnx.value_and_grad
    else:
        model = eqx.nn.MLP(2, 1, 8, 1, jnp.tanh, key=jax.random.key(0))
        grad = eqx.filter_value_and_grad

    def loss(model, x, y):
        outputs = model(x) if library == "nnx" else jax.vmap(model)(x)
        return squares(outputs, y), outputs

    args = 5 * X, Y[:, None]
    found = diagnose_loss(loss, model, *args, has_aux=True, optimizer="adam", codes=["layer-scale"])
    cured = found.cure("layer-scale") if found.causes else found.workshop.as_given
    (value, outputs), slope = grad(cured, has_aux=True)(cured.params, *args)
    assert outputs.shape == (100, 1)
    assert float(value) == pytest.approx(float(squares(outputs, args[1])), rel=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(eqx.filter(slope, eqx.is_array)))


@pytest.mark.slow
def test_each_step_of_a_scan_has_its_own_cure_behind_those_before():
    size = 6
    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(3, size, size)).astype(np.float32) / size, "o": np.ones((size, 1), np.float32)}
    means = np.array([6.0, -8.0, 9.0], np.float32)

    def loss(params, x, y):
        def step(h, layer):
            return jnp.tanh((h + layer[1]) @ layer[0]), None

        return squares(jax.lax.scan(jax.checkpoint(step), x, (params["w"], means))[0] @ params["o"], y)

    x = rng.normal(size=(64, size)).astype(np.float32)
    y = np.tanh(x[:, :1])
    found = diagnose_loss(loss, params, x, y, optimizer="adam")
    cured = found.cure("layer-mean")

    def centred(params, x, y):
        h = x
        for step in range(3):
            h = jnp.tanh((h - h.mean(0)) @ params["w"][step])
        return squares(h @ params["o"], y)

    assert float(cured(params, x, y)) == pytest.approx(float(centred(params, x, y)), rel=1e-3)
    assert abs(float(loss(params, x, y)) / float(centred(params, x, y)) - 1) > 0.1


@pytest.mark.slow
def test_another_start_and_other_targets_are_cures():
    made = LOSS_FAULTS["P11, a constant start"]()
    cured = diagnose_loss(made.loss, made.params, *made.args).cure("symmetric-start")
    assert np.ptp(cured.params["params"]["Dense_0"]["kernel"], axis=1).min() > 0

    def loss(params, x, y):
        return squares(jnp.tanh(x @ params["a"]) @ params["b"], y)

    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(2, 8)).astype(np.float32), "b": rng.normal(size=(8, 1)).astype(np.float32) / 3}
    y = 1e4 * Y[:, None] + 3e4
    cured = diagnose_loss(loss, params, X, y, optimizer="adam").cure("target-scale")
    assert float(cured(params, X, y)) == pytest.approx(float(loss(params, X, (y - y.mean()) / y.std())), rel=1e-4)


def answers(params, x):
    return x @ params["w"] + params["b"]


ENDS = {
    "broadcast-loss": (lambda z, y: jnp.mean((z - y) ** 2), lambda z, y: jnp.mean((z[:, 0] - y) ** 2), 1),
    "softmax-twice": (
        lambda z, y: integer_labels(jax.nn.softmax(z), 1 * (y > 0)), lambda z, y: integer_labels(z, 1 * (y > 0)), 3
    ),
    "softmax-twice, sigmoids": (
        lambda z, y: binary(jax.nn.sigmoid(z)[:, 0], y > 0), lambda z, y: binary(z[:, 0], y > 0), 1
    ),
    "unbounded-loss, without log_softmax": (
        lambda z, y: -jnp.mean(z[jnp.arange(len(y)), 1 * (y > 0)]), lambda z, y: integer_labels(z, 1 * (y > 0)), 3
    ),
    "unbounded-loss, maximised": (
        lambda z, y: -integer_labels(z, 1 * (y > 0)), lambda z, y: integer_labels(z, 1 * (y > 0)), 3
    ),
    "unbounded-loss, absolute errors maximised": (
        lambda z, y: -jnp.mean(jnp.abs(z[:, 0] - y)), lambda z, y: jnp.mean(jnp.abs(z[:, 0] - y)), 1
    ),
    "unbounded-loss, not squared": (lambda z, y: jnp.mean(z[:, 0] - y), lambda z, y: jnp.mean((z[:, 0] - y) ** 2), 1),
}  # fmt: skip


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ENDS)
def test_a_cured_end_is_the_loss_that_was_meant(name):
    """At any parameters and for any number of rows, with its gradient; the loss as given is another."""
    given, meant, outputs = ENDS[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    y = x @ rng.normal(size=4).astype(np.float32)

    def drawn(size):
        return {"w": size * rng.normal(size=(4, outputs)).astype(np.float32), "b": np.ones(outputs, np.float32)}

    found = diagnose_loss(lambda params, x, y: given(answers(params, x), y), drawn(0.1), x, y, optimizer="adam")
    cured = found.cure(name.split(",")[0])
    params, rows = drawn(2.0), slice(50, 170)
    value, slope = jax.value_and_grad(cured)(params, x[rows], y[rows])
    right, true = jax.value_and_grad(lambda params: meant(answers(params, x[rows]), y[rows]))(params)
    assert float(value) == pytest.approx(float(right), rel=1e-5)
    np.testing.assert_allclose(slope["w"], true["w"], rtol=1e-4, atol=1e-5)
    assert abs(float(given(answers(params, x[rows]), y[rows])) / float(right) - 1) > 0.1


def test_an_unbounded_loss_judges_no_training():
    """What trainings are compared by is the loss that was meant; its own falls without end."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype(np.float32)
    y = x @ rng.normal(size=(4, 1)).astype(np.float32)
    params = {"w": 0.1 * rng.normal(size=(4, 1)).astype(np.float32), "b": np.ones(1, np.float32)}
    found = diagnose_loss(lambda params, x, y: -jnp.mean((answers(params, x) - y) ** 2), params, x, y, optimizer="adam")
    best, cured = found.proven(64).proof.runs
    assert best.losses.min() > 0.9 * best.losses[0] > 0
    assert cured.losses.min() < 0.05 * best.losses.min()
    assert cured.steps < np.inf == best.steps


def test_a_loss_that_may_have_meant_anything_is_not_rewritten():
    """Labels that multiply one output alone may belong to a hinge, a sigmoid or a critic."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype(np.float32)
    params = {"w": 0.1 * rng.normal(size=(4, 1)).astype(np.float32), "b": np.ones(1, np.float32)}
    y = (x[:, 0] > 0).astype(np.float32)
    found = diagnose_loss(lambda params, x, y: -jnp.mean(answers(params, x)[:, 0] * y), params, x, y, optimizer="adam")
    assert found.causes[0].code == "unbounded-loss"
    assert "sigmoid" in found.causes[0].fix
    with pytest.raises(IdjaxError, match="meant to be is not known"):
        found.cure("unbounded-loss")


@pytest.mark.parametrize("optimizer", ["sgd", optax.sgd, optax.chain(optax.sgd(1.0))])
def test_the_raced_rate_of_a_quadratic_is_the_best_one(optimizer):
    curvatures = np.array([4.0, 0.2])

    def loss(w, x):
        return 0.5 * jnp.sum(curvatures * w**2) + 0.0 * jnp.sum(x)

    def steps(rate):
        """To a hundredth of the first loss, in closed form."""
        losses = 0.5 * (curvatures * (1 - rate * curvatures) ** (2 * np.arange(200)[:, None])).sum(1)
        return steps_to(losses, 0.01 * losses[0])

    found = diagnose_loss(loss, jnp.array([1.0, 1.0]), X, optimizer=optimizer)
    best = min(map(steps, np.linspace(0.01, 0.6, 400)))
    assert steps(found.learning_rate) <= 1.3 * best
    assert steps(found.learning_rate / 2) > 1.3 * best  # a negative control
    assert found.race.spent < 3000
