"""Any transformation of optax: labels by the names of parameters, masks, and those that search along the gradient."""

import equinox as eqx
import jax
import optax
import pytest
from flax import nnx
from loss_faults import LOSS_FAULTS, X, Y, squares

from idjax import diagnose_loss
from idjax.diagnosis.trace.given import given_loss
from idjax.diagnosis.trace.rule import update_rule

MADE = LOSS_FAULTS["healthy regression"]()


def by_layer(params):
    """What most users write: labels by the names on the way to a parameter."""
    return jax.tree_util.tree_map_with_path(lambda path, _: "head" if "Dense_1" in str(path) else "body", params)


def split(rate):
    return optax.multi_transform({"body": optax.adam(rate), "head": optax.set_to_zero()}, by_layer)


def masked(rate):
    names = by_layer(MADE.params["params"])
    return optax.chain(
        optax.masked(optax.adam(rate), jax.tree.map(lambda name: name == "body", names)),
        optax.masked(optax.set_to_zero(), jax.tree.map(lambda name: name == "head", names)),
    )


def trained(optimizer, params, loss, steps):
    state = optimizer.init(params)
    for _ in range(steps):
        value, slope = jax.value_and_grad(loss)(params)
        more = {"value": value, "grad": slope, "value_fn": loss}
        updates, state = optax.with_extra_args_support(optimizer).update(slope, state, params, **more)
        params = optax.apply_updates(params, updates)
    return float(loss(params))


@pytest.mark.parametrize("made", [split, masked])
def test_a_part_that_is_frozen_has_the_rate_of_the_part_that_moves(made):
    rule = update_rule(made(1e-3), None, given_loss(MADE.loss, MADE.params, MADE.args))
    assert rule.adaptive
    assert rule.inside == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("made", "whole"),
    [
        pytest.param(split, True, marks=pytest.mark.slow),
        (masked, False),
        pytest.param(lambda rate: optax.lbfgs(), True, marks=pytest.mark.slow),
    ],
)
def test_steps_are_those_of_the_optimizer_itself(made, whole):
    def loss(params, x, y):
        return MADE.loss(params if whole else {"params": params}, x, y)

    params = MADE.params if whole else MADE.params["params"]
    found = diagnose_loss(loss, params, *MADE.args, optimizer=made(1e-2))
    assert found.causes == (), found.verdict
    shop = found.workshop
    descents = shop.descents(shop.as_given, 1)
    told = descents.advance(descents.start([1.0]), 16).losses[0]
    expected = trained(made(1e-2), params, lambda params: loss(params, *MADE.args), 15)
    assert told[15] == pytest.approx(expected, rel=1e-2)


def test_a_rate_too_small_is_named_where_only_a_part_is_trained():
    (finding,) = diagnose_loss(MADE.loss, MADE.params, *MADE.args, optimizer=split(1e-7)).causes
    assert finding.code == "step-too-small"
    assert finding.fix.startswith("a learning rate of 1e-05, or larger")


@pytest.mark.slow
def test_models_of_other_libraries_have_optimizers_by_name():
    def named(kind):
        return optax.multi_transform({"a": optax.adam(1e-7), "b": optax.set_to_zero()}, lambda params: (
            jax.tree_util.tree_map_with_path(lambda path, _: "b" if kind in str(path) else "a", params)))  # fmt: skip

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(2, 16, rngs=rngs), nnx.Linear(16, 1, rngs=rngs)

    def of_nnx(model, x, y):
        return squares(model.last(nnx.relu(model.first(x))), y)

    def of_equinox(model, x, y):
        return squares(jax.vmap(model)(x), y)

    model = eqx.nn.MLP(2, 1, 16, 1, key=jax.random.key(0))
    for loss, params, last in ((of_nnx, Model(nnx.Rngs(0)), "last"), (of_equinox, model, "layers[1]")):
        told = diagnose_loss(loss, params, X, Y[:, None], optimizer=named(last))
        assert [finding.code for finding in told.causes] == ["step-too-small"]


def test_several_steps_of_gradients_and_a_loss_that_is_asked_for_do_not_tell_a_rate():
    given = given_loss(MADE.loss, MADE.params, MADE.args)
    assert update_rule(optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()), None, given).rate is None
    assert update_rule(optax.MultiSteps(optax.sgd(0.1), 4), None, given).rate is None


def test_plain_sgd_by_its_name_is_what_its_first_updates_say():
    named, probed = update_rule("sgd", 0.1), update_rule(optax.sgd, 0.1)
    fields = "rate", "inside", "adaptive", "epsilon"
    assert [getattr(named, field) for field in fields] == [getattr(probed, field) for field in fields]
    assert update_rule("adam", 0.1).adaptive
