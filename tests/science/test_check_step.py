"""check_step: steps that throw their update away (P18), leave parameters out, or make them NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

from idjax import IdjaxError, check_step

X = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
BATCH = (X, X[:, :1] - 2 * X[:, 1:2])


def squares(params, batch):
    return jnp.mean((batch[0] @ params["w"] + params["b"] - batch[1]) ** 2)


def state_of(optimizer):
    params = {"w": jnp.ones((3, 1)), "b": jnp.zeros(1)}
    return TrainState.create(apply_fn=squares, params=params, tx=optimizer)


@jax.jit
def good(state, batch):
    loss, slope = jax.value_and_grad(squares)(state.params, batch)
    return state.apply_gradients(grads=slope), loss


@jax.jit
def lost(state, batch):
    loss, slope = jax.value_and_grad(squares)(state.params, batch)
    state.apply_gradients(grads=slope)
    return state, loss


def test_a_step_that_learns():
    found = check_step(good, state_of(optax.sgd(0.1)), BATCH)
    assert found.unchanged == found.not_finite == ()
    assert found.fell
    assert found.verdict.startswith("every parameter changed")


def test_p18_an_update_that_is_thrown_away():
    found = check_step(lost, state_of(optax.sgd(0.1)), BATCH)
    assert found.unchanged == ("b", "w")
    assert not found.fell
    assert "throws its update away" in found.verdict


@pytest.mark.parametrize(("jit", "changed"), [(nnx.jit, True), (jax.jit, False)])
def test_p18_a_jit_of_jax_where_that_of_nnx_was_meant(jit, changed):
    model = nnx.Linear(3, 1, rngs=nnx.Rngs(0))

    def step(model, batch):
        loss, slope = nnx.value_and_grad(lambda model: jnp.mean((model(batch[0]) - batch[1]) ** 2))(model)
        nnx.update(model, jax.tree.map(lambda value, slope: value - 0.1 * slope, nnx.state(model, nnx.Param), slope))
        return loss

    if jit is jax.jit:
        graph = nnx.graphdef(model)
        inner = jax.jit(lambda weights, batch: step(nnx.merge(graph, weights), batch))
        found = check_step(lambda model, batch: inner(nnx.state(model), batch), model, BATCH)
    else:
        found = check_step(jit(step), model, BATCH)
    assert (found.unchanged == ()) == changed
    assert found.fell == changed


def test_steps_that_break_and_states_that_are_none():
    found = check_step(good, state_of(optax.sgd(float("inf"))), BATCH)
    assert found.not_finite
    assert "not finite" in found.verdict
    with pytest.raises(IdjaxError, match="holds no real numbers"):
        check_step(good, {"n": 3}, BATCH)
    with pytest.raises(IdjaxError, match="return the new state first"):
        check_step(lambda state, batch: 1.0, {"w": jnp.ones(2)}, BATCH)
