"""Any Flax model: what its layers are given, its curvature, and the faults that have to be named."""

import dataclasses
import json
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from jax.flatten_util import ravel_pytree
from planted_models import FAULTS, HEALTHY, MLP, PlantedModel, Transformer, cases, cross_entropy, planted_model

import idjax
from idjax import IdjaxError
from idjax.cli import app as cli
from idjax.diagnosis.program import EXPLANATIONS, diagnose_model
from idjax.diagnosis.program.findings import MODULES
from idjax.diagnosis.program.gauss_newton import PROBES, extremes, gauss_newton_product
from idjax.diagnosis.program.layer_moments import ends, gather, moments_of_inputs
from idjax.diagnosis.program.rows import rows_of
from idjax.report.program import render
from idjax.results.program import Eigenvalue
from idjax.settings import DiagnosisSettings

QUICK = [
    ("cnn", "bytes", 0), ("vae", "bytes", 0), ("nnx", "large", 0), ("cnn", "small", 0), ("transformer", "no norm", 0),
    ("transformer", "large", 0), ("mlp", "offset", 0), ("vae", "offset", 0), ("transformer", "offset", 0),
    ("cnn", "constant", 0), ("nnx", "bfloat16", 0), ("normed", "no norm", 1),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _compiled():
    yield
    jax.clear_caches()  # every model is compiled for itself


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
def test_of_a_hundred_planted_faults_ninety_five_are_named():
    missed = [case for case in cases(100) if not is_named(*case)]
    assert len(missed) <= 5, missed
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


def steps_to(planted: PlantedModel, level: float, most: int, batch=None, params=None) -> float:
    """Full-batch SGD at half the largest stable rate, until the loss is at the level."""
    batch = batch or planted.batch
    params = params or planted.params
    found = diagnose_model(planted.model, params, batch, planted.loss, planted.settings, kwargs=planted.kwargs)
    if found.curvature is None:
        return math.inf  # a loss that is not finite has no gradient
    optimizer = optax.sgd(found.curvature.largest_rate / 2)
    x, y = jax.tree.map(jnp.asarray, batch)

    @jax.jit
    def step(params, state):
        loss, slope = jax.value_and_grad(
            lambda params: planted.loss(planted.model.apply(params, x, **planted.kwargs), y)
        )(params)
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


def small_problem():
    rng = np.random.default_rng(3)
    model = nn.Sequential([nn.Dense(4), nn.tanh, nn.Dense(3)])
    x, y = jnp.asarray(rng.normal(size=(20, 5)), jnp.float32), jnp.asarray(rng.integers(0, 3, 20))
    params = model.init(jax.random.key(0), x)["params"]
    return (lambda params, x: model.apply({"params": params}, x)), params, x, y


def dense_gauss_newton(forward, params, x, y, loss=cross_entropy):
    flat, nested = ravel_pytree(params)
    jacobian = jax.jacobian(lambda flat: forward(nested(flat), x).ravel())(flat)
    out = forward(params, x)
    curved = jax.hessian(lambda out: loss(out.reshape(len(x), -1), y))(out.ravel())
    return np.asarray(jacobian.T @ curved @ jacobian), nested


def test_products_are_those_of_the_gauss_newton_matrix():
    forward, params, x, y = small_problem()
    matrix, nested = dense_gauss_newton(forward, params, x, y)
    vector = np.random.default_rng(0).normal(size=len(matrix)).astype(np.float32)
    product = ravel_pytree(gauss_newton_product(forward, cross_entropy, params, x, y, nested(jnp.asarray(vector))))[0]
    np.testing.assert_allclose(product, matrix @ vector, atol=2e-6)


def test_eigenvalues_are_true_ones_by_their_residual():
    forward, params, x, y = small_problem()
    matrix, _ = dense_gauss_newton(forward, params, x, y)
    true = np.linalg.eigvalsh(matrix)
    found = extremes(forward, cross_entropy, params, x, y, jax.random.key(0), 20)
    for value, residual in zip(found.values, found.residuals, strict=True):
        assert np.abs(true - value).min() <= residual + 1e-6 * true[-1]
    assert found.values[0] == pytest.approx(true[-1], rel=1e-5)
    assert Eigenvalue(float(found.values[0]), float(found.residuals[0])).resolved
    assert sum(jax.tree.leaves(found.top_shares)) == pytest.approx(1.0, rel=1e-5)
    exact, off = np.trace(matrix), np.sqrt(2 * (matrix**2).sum() / PROBES)
    assert abs(sum(jax.tree.leaves(found.traces)) - exact) < 4 * off
    # Too few products: what is not an eigenvalue is not taken for one.
    rough = extremes(forward, cross_entropy, params, x, y, jax.random.key(0), 2)
    assert not Eigenvalue(float(rough.values[-1]), float(rough.residuals[-1])).resolved


def top_of_first_block(model, params, first, x, y, loss):
    """The largest eigenvalue of a layer's block of H, formed."""

    def forward(part, x):
        return model.apply({"params": {**params, **part}}, x)

    own = {first: params[first]} if first else params
    return np.linalg.eigvalsh(dense_gauss_newton(forward, own, x, y, loss)[0].astype(float))[-1]


def test_a_cure_changes_a_linear_block_exactly_as_predicted():
    """One linear layer under a squared error: H is M ⊗ G without any approximation."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(256, 6)).astype(np.float32), rng.normal(size=(256, 2)).astype(np.float32)
    model = nn.Dense(2)
    params = model.init(jax.random.key(1), x)["params"]

    def loss(outputs, targets):
        return jnp.mean((outputs - targets) ** 2)

    effect = diagnose_model(model, params, (x + 10, y), loss).causes[0].effect
    centred = x - x.mean(axis=0)
    measured = top_of_first_block(model, params, "", centred, y, loss) / top_of_first_block(
        model, params, "", x + 10, y, loss
    )
    assert effect.top == pytest.approx(measured, rel=1e-3)
    assert measured < 0.01


@pytest.mark.slow
def test_a_cure_changes_the_block_of_a_network_about_as_predicted():
    """Behind a ReLU the inputs and the outputs' gradients are not independent: within a factor of 3."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(256, 6)).astype(np.float32), rng.integers(0, 10, 256)
    model = MLP()
    params = model.init(jax.random.key(1), x)["params"]
    first = params["dense1"]
    shifted = {**params, "dense1": {**first, "bias": first["bias"] - 10 * first["kernel"].sum(0)}}
    found = diagnose_model(model, {"params": shifted}, (x + 10, y), cross_entropy)
    effect = found.causes[0].effect
    assert found.causes[0].code == "layer-mean"
    measured = top_of_first_block(model, params, "dense1", x, y, cross_entropy) / top_of_first_block(
        model, shifted, "dense1", x + 10, y, cross_entropy
    )
    assert measured / 3 < effect.top < 3 * measured
    assert measured < 0.01


@pytest.mark.parametrize(
    "options",
    [{}, {"strides": 2}, {"padding": "VALID"}, {"padding": 2}, {"kernel_dilation": 2}, {"padding": "CIRCULAR"},
     {"padding": ((0, 1), (2, 0))}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("flavour", ["linen", "nnx"])
def test_a_convolution_multiplies_its_patches(options, flavour):
    x = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
    if flavour == "linen":
        module = nn.Conv(5, (3, 2), use_bias=False, **options)
        params = module.init(jax.random.key(1), x)
        kernel, outputs = params["params"]["kernel"], module.apply(params, x)
    else:
        module = nnx.Conv(3, 5, (3, 2), use_bias=False, rngs=nnx.Rngs(0), **options)
        kernel, outputs = module.kernel[...], module(x)
    rows = rows_of(module, x).rows
    by_channel = jnp.moveaxis(kernel, 2, 0).reshape(-1, 5)
    np.testing.assert_allclose(rows @ by_channel, outputs.reshape(-1, 5), atol=1e-5)


def test_moments_are_those_of_all_rows():
    x = np.random.default_rng(0).normal(size=(300, 5)) * [1, 2, 3, 4, 5] + 7
    gathered = None
    for part in np.array_split(x, 7):
        gathered = gather(gathered, part, part)
    moments = moments_of_inputs(gathered, True, 0.0)
    stacked = np.append(x, np.ones((300, 1)), axis=1)
    np.testing.assert_allclose(moments.second_moment, stacked.T @ stacked / 300, rtol=1e-12)
    values = np.linalg.eigvalsh(stacked.T @ stacked / 300)
    assert ends(moments.second_moment)[:2] == pytest.approx((values[-1], values[0]))


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
    assert [kinds[f"attention/{name}"] for name in ("query", "key", "value", "out")] == ["attention"] * 4
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
        (lambda: diagnose_model(nn.Dense(2), {"bias": 1.0}, DATA, cross_entropy), "not this model's for these inputs"),
        (lambda: diagnose_model(MLP(), MLP().init(jax.random.key(0), np.ones((2, 5))), DATA, cross_entropy),
         "not this model's for these inputs"),
        (fussy, "pass what it takes besides the inputs as kwargs"),
        (lambda: fussy(kwargs={"train": True}), r"pass kwargs=\{'train': False\}"),
        (lambda: fussy(kwargs={"train": False}), "BatchNorm_0 normalises nothing"),
        (lambda: diagnose_model(NnxNormed(), None, DATA, cross_entropy), "norm normalises nothing"),
        (lambda: fussy(kwargs={"train": False}, params={"params": {"Dense_0": {}}}), "pass"),
        (lambda: diagnose_model(nnx.Linear(5, 2, rngs=nnx.Rngs(0)), None, DATA, cross_entropy), "has the shapes"),
        (lambda: diagnose_model(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), {"kernel": np.ones((3, 2))}, DATA, cross_entropy),
         "params have other names"),
        (lambda: diagnose_model(nnx.Dropout(0.5, rngs=nnx.Rngs(0)), None, DATA, cross_entropy), r"model.eval\(\)"),
        (lambda: diagnose_model(nn.LayerNorm(), {"params": {"scale": np.ones(3), "bias": np.ones(3)}}, DATA,
                                cross_entropy), "no Dense, Conv or Embed"),
        (lambda: idjax.diagnose_model(nn.Dense(2), {"a": 1}, DATA[0], cross_entropy), r"give \(inputs, targets\)"),
        (lambda: diagnose_model(nn.Dense(2), nn.Dense(2).init(jax.random.key(0), DATA[0]), DATA,
                                lambda outputs, _: outputs), "return the mean"),
        (lambda: diagnose_model(nn.Dense(2), {"a": 1}, (DATA[0], DATA[1][:3]), cross_entropy), "3, 8 rows"),
        (lambda: dense((DATA[0].tolist(), DATA[1])), "give arrays"),
        (lambda: dense((DATA[0].astype(str), DATA[1])), "the inputs are of type <U32"),
        (lambda: dense(((), ())), "holds no arrays"),
        (lambda: dense(DATA, jax.eval_shape(nn.Dense(2).init, jax.random.key(0), DATA[0])), "kernel|bias is of type"),
        (lambda: dense(DATA, {"kernel": np.ones((3, 2), int), "bias": np.ones(2)}), "kernel is of type int64"),
        (lambda: dense(DATA, {"kernel": np.full((3, 2), np.nan), "bias": np.ones(2)}), "kernel is not finite"),
        (lambda: dense(DATA, loss=lambda outputs, targets: (cross_entropy(outputs, targets), 1)), "returned a tuple"),
        (lambda: dense(DATA, loss=lambda outputs, targets: jnp.sum(outputs.argmax(-1) == targets)), "returned int32"),
        (lambda: dense((NORMAL, DATA[1]), loss=lambda outputs, _: jnp.mean(0 * outputs)), "has no gradient"),
        (lambda: dense(DATA, kwargs={"train": False}), "leave it out of kwargs"),
        (lambda: diagnose_model(nn.Embed(5, 2), nn.Embed(5, 2).init(jax.random.key(0), DATA[1]), (DATA[1] + 9, DATA[1]),
                                cross_entropy), "tokens go from 9 to 9, and it has vectors for 0 to 4"),
        (lambda: diagnose_model(Remat(), Remat().init(jax.random.key(0), DATA[0]), DATA, cross_entropy),
         "layers inside scan, vmap, remat"),
        (lambda: diagnose_model(nn.Dense(2), {"a": 1}, DATA, cross_entropy, codes=["x"]), "no finding in a model"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_call_is_told_in_one_line(call, line):
    with pytest.raises(IdjaxError, match=line) as error:
        call()
    assert "\n" not in str(error.value)


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
    small = dense((0.05 + 0.001 * noise, np.zeros(64, int))).causes
    assert [finding.code for finding in small] == ["layer-scale"]
    assert "vary around their mean by 0.00" in small[0].message
    assert small[0].effect.condition_after < 10 < small[0].effect.condition_before
    large = dense((5 + 0.1 * noise, np.zeros(64, int))).causes
    assert [finding.code for finding in large] == ["layer-mean"]


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
    assert {finding.code for finding in fast.causes} == {"layer-rate"}


def factory():
    planted = planted_model("mlp", "bytes", 0)
    return planted.model, planted.params, planted.batch, planted.loss


def run(capsys, *argv):
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(argv))
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def test_the_command_line_and_the_page(capsys, tmp_path):
    status, out, _ = run(capsys, "diagnose", "--model", f"{__name__}:factory", "--quiet", "--out", str(tmp_path))
    assert status == 1
    assert out.startswith("dense1 slows training up to")
    assert "idjax explain layer-scale" in out
    assert json.loads((tmp_path / "diagnosis.json").read_text())["layers"][0]["path"] == "dense1"
    page = (tmp_path / "report.html").read_text()
    for part in ("dense1", "dense3", 'class="is-cause"', "layer-scale", "a true eigenvalue", "What slows training"):
        assert part in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["diagnose"], "give DATA, or --model"),
        (["diagnose", "--model", "nowhere"], "give package.module:factory"),
        (["diagnose", "--model", "not_there_at_all:factory"], "there is no module"),
        (["diagnose", "--model", "json:nothing"], "json has no function nothing"),
        (["diagnose", "--model", "no_such.py:factory"], "give no_such:factory"),
        (["diagnose", "--model", "operator:neg"], "the factory failed: TypeError"),
        (["diagnose", "--model", "os:getcwd"], "the factory returned a str"),
    ],
)
def test_bad_factories_are_told(capsys, argv, line):
    status, _, err = run(capsys, *argv)
    assert status == 2
    assert line in err


def test_every_code_is_explained(capsys):
    assert [module.EXPLANATION.code for module in MODULES] == list(EXPLANATIONS)
    status, out, _ = run(capsys, "explain", "layer-mean")
    assert status == 0
    assert "λ_max(M)" in out
    assert "layer-init" in run(capsys, "explain")[1]


def test_names_of_layers_show_themselves_and_do_nothing():
    hostile = "<script>\x1b"
    x, y = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32), np.zeros(16, int)
    model = nn.Dense(3, name=None)
    found = diagnose_model(model, model.init(jax.random.key(0), x), (x, y), cross_entropy, source=hostile)
    page = render(found, {hostile: hostile})
    assert "<script>" not in page
    assert "\x1b" not in page


def test_importing_stays_light():
    import subprocess

    code = "import idjax.cli.app, idjax.results.program, idjax.report.terminal, sys; print('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
