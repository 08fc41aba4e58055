"""Calls of any Flax model: what its layers are given, and what is wrong with a call in one line."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from flax.training.train_state import TrainState
from planted_models import MLP, cross_entropy, planted_model

import idjax
from idjax import IdjaxError
from idjax.diagnosis.program.diagnose import diagnose_model


def test_moments_are_those_of_all_rows():
    x = (np.random.default_rng(0).normal(size=(256, 3)) * [1, 2, 3] + 7).astype(np.float32)
    (layer,) = dense((x, np.zeros(256, int))).layers
    stacked = np.append(x, np.ones((256, 1)), axis=1)
    values = np.linalg.eigvalsh(stacked.T @ stacked / 256)
    assert (layer.top, layer.bottom) == pytest.approx((values[-1], values[0]), rel=1e-3)


def test_nnx_and_linen_are_told_the_same():
    planted = planted_model("mlp", "offset", 0)
    model = planted_model("nnx", "", 0).model
    weights = planted.params["params"]
    state = {name: dict(part) for name, part in weights.items()}
    linen = diagnose_model(MLP(), planted.params, planted.batch, planted.loss)
    nnx_found = diagnose_model(model, state, planted.batch, planted.loss)
    for ours, theirs in zip(linen.layers, nnx_found.layers, strict=True):
        for field in dataclasses.fields(ours):
            a, b = getattr(ours, field.name), getattr(theirs, field.name)
            assert a == (pytest.approx(b, rel=1e-3, nan_ok=True) if isinstance(b, float) else b), field.name


class NnxAttention(nnx.Module):
    def __init__(self):
        self.embed = nnx.Embed(20, 16, rngs=nnx.Rngs(0))
        self.attention = nnx.MultiHeadAttention(4, 16, decode=False, rngs=nnx.Rngs(0))
        self.logits = nnx.Linear(16, 20, rngs=nnx.Rngs(0))

    def __call__(self, tokens):
        return self.logits(self.attention(self.embed(tokens)))


@pytest.mark.slow
def test_every_projection_of_attention_is_seen():
    tokens = np.random.default_rng(0).integers(0, 20, (32, 6))
    found = diagnose_model(NnxAttention(), None, (tokens, tokens), cross_entropy)
    kinds = {layer.path: layer.kind for layer in found.layers}
    assert kinds["embed"] == "embed"
    assert kinds["logits"] == "dense"
    assert [kinds[f"attention/{name}"] for name in ("query", "key", "value", "out")] == ["dense"] * 4
    shares = np.bincount(tokens.ravel(), minlength=20) / tokens.size
    assert found.layers[0].top == pytest.approx(shares.max())


class Fussy(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(x))
        return nn.Dropout(0.5, deterministic=not train)(x)


class NormedLast(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.BatchNorm(use_running_average=False)(nn.Dense(4)(x)))


class NnxNormed(nnx.Module):
    def __init__(self):
        self.first = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=nnx.Rngs(0))
        self.last = nnx.Linear(4, 2, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.last(self.norm(self.first(x)))


def fussy_params():
    return dict(Fussy().init(jax.random.key(0), NORMAL, train=False))


def fussy(**call):
    return diagnose_model(Fussy(), call.pop("params", fussy_params()), (NORMAL, DATA[1]), cross_entropy, **call)


class Remat(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.remat(nn.Dense)(3)(x))


DATA = (np.ones((8, 3), np.float32), np.zeros(8, int))


NORMAL = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)


def dense(batch, params=None, loss=cross_entropy, **call):
    params = params or nn.Dense(2).init(jax.random.key(0), DATA[0])
    return diagnose_model(nn.Dense(2), params, batch, loss, **call)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: diagnose_model(object(), None, DATA, cross_entropy), "is of type object: give a flax.linen.Module"),
        (lambda: diagnose_model(nn.Dense, None, DATA, cross_entropy), r"is the class Dense: make one"),
        (lambda: diagnose_model(nn.Dense(2), None, DATA, cross_entropy), "give model.init"),
        (lambda: diagnose_model(nn.Dense(2), {"bias": np.ones(2)}, DATA, cross_entropy), "not this model's for these"),
        (lambda: diagnose_model(MLP(), MLP().init(jax.random.key(0), np.ones((2, 5))), DATA, cross_entropy),
         "not this model's for these inputs"),
        (fussy, "pass what it takes besides the inputs as kwargs"),
        (lambda: fussy(kwargs={"train": True}), r"pass kwargs=\{'train': False\}"),
        (lambda: fussy(kwargs={"train": False}), "BatchNorm_0 normalises nothing"),
        (lambda: diagnose_model(NnxNormed(), None, DATA, cross_entropy), "norm normalises nothing"),
        (lambda: fussy(kwargs={"train": False}, params={"params": {"Dense_0": {}}}), "give what init"),
        (lambda: diagnose_model(nnx.Linear(5, 2, rngs=nnx.Rngs(0)), None, DATA, cross_entropy), "has the shapes"),
        (lambda: diagnose_model(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), {"kernel": np.ones((3, 2))}, DATA, cross_entropy),
         "params have other names"),
        (lambda: idjax.diagnose_model(nn.Dense(2), {"a": 1}, DATA[0], cross_entropy), r"give \(inputs, targets\)"),
        (lambda: diagnose_model(nn.Dense(2), nn.Dense(2).init(jax.random.key(0), DATA[0]), DATA,
                                lambda outputs, _: outputs), "return the mean"),
        (lambda: diagnose_model(nn.Dense(2), {"a": 1}, (DATA[0], DATA[1][:3]), cross_entropy), "3, 8 rows"),
        (lambda: dense((DATA[0].tolist(), DATA[1])), "give arrays"),
        (lambda: dense((DATA[0].astype(str), DATA[1])), "the inputs are of type <U32"),
        (lambda: dense(((), ())), "holds no arrays"),
        (lambda: dense(DATA, jax.eval_shape(nn.Dense(2).init, jax.random.key(0), DATA[0])), "kernel|bias is of type"),
        (lambda: dense(DATA, {"kernel": np.full((3, 2), np.nan), "bias": np.ones(2)}), "kernel is not finite"),
        (lambda: dense(DATA, loss=lambda outputs, targets: (cross_entropy(outputs, targets), 1)), "returned 2 arrays"),
        (lambda: dense(DATA, loss=lambda outputs, targets: jnp.sum(outputs.argmax(-1) == targets)), "returned int32"),
        (lambda: dense(DATA, kwargs={"train": False}), "leave it out of kwargs"),
        (lambda: dense(DATA, codes=["x"]), "no finding in a program"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_call_is_told_in_one_line(call, line):
    with pytest.raises(IdjaxError, match=line) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_train_state_with_its_optimizer_and_a_mapping_as_batch_are_taken():
    params = nn.Dense(2).init(jax.random.key(0), NORMAL)["params"]
    state = TrainState.create(apply_fn=nn.Dense(2).apply, params=params, tx=optax.sgd(1e-8))
    batch = {"image": NORMAL, "label": np.arange(8) % 2}
    found = diagnose_model(nn.Dense(2), state, batch, cross_entropy)
    assert [finding.code for finding in found.causes] == ["step-too-small"]
    state = state.replace(tx=optax.sgd(0.1))
    assert diagnose_model(nn.Dense(2), state, batch, cross_entropy).causes == ()


def test_layers_inside_remat_are_seen_and_dropout_of_nnx_is_taken():
    batch = (NORMAL, np.arange(8) % 2)
    found = diagnose_model(Remat(), Remat().init(jax.random.key(0), NORMAL), batch, cross_entropy)
    assert [(layer.inputs, layer.outputs) for layer in found.layers] == [(3, 3), (3, 2)]
    drops = nnx.Sequential(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(0)))
    assert len(diagnose_model(drops, None, batch, cross_entropy).layers) == 1


def test_flags_and_collections_are_passed_on():
    trained = fussy_params()
    trained["batch_stats"] = jax.tree.map(lambda leaf: leaf + 1, trained["batch_stats"])
    assert [layer.path for layer in fussy(kwargs={"train": False}, params=trained).layers] == ["Dense_0"]


def test_batch_norm_in_training_normalises_by_the_rows():
    """The layer after it is given numbers of mean 0 and size 1, as in training, by linen and by NNX."""
    x = (50 * np.random.default_rng(0).normal(size=(64, 3)) + 200).astype(np.float32)
    batch = (x, np.zeros(64, int))
    linen, normed = NormedLast(), NnxNormed()
    normed.set_attributes(use_running_average=False)
    for model, params in ((linen, linen.init(jax.random.key(0), x)), (normed, None)):
        last = diagnose_model(model, params, batch, cross_entropy).layers[-1]
        assert last.input_scale == pytest.approx(1, rel=1e-3)
        assert last.mean_share < 1e-6


def test_centring_is_the_cure_only_where_it_gains():
    """Small inputs with a large mean: the bias's own input, 1, keeps the curvature; what varies has to be scaled."""
    noise = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    labels = (noise[:, 0] > 0).astype(int)
    small = dense((0.05 + 0.001 * noise, labels)).causes
    assert [finding.code for finding in small] == ["layer-scale"]
    assert "vary around their mean by 0.00" in small[0].message
    assert small[0].effect.condition_after < 10 < small[0].effect.condition_before
    large = dense((5 + 0.1 * noise, labels)).causes
    assert [finding.code for finding in large] == ["layer-mean"]
