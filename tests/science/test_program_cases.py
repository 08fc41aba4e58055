"""Public cases of programs that train badly, P7 to P17: what is found first, and what is to be done."""

import flax.training.train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

from idjax import IdjaxError, diagnose_loss

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4)).astype(np.float32)
Y = (X @ np.array([1, -2, 0.5, 0]) + np.sin(2 * X[:, 0])).astype(np.float32)[:, None]


class Layers(nn.Module):
    widths: tuple[int, ...] = (32,)
    activation: object = nn.relu

    @nn.compact
    def __call__(self, x):
        for width in self.widths:
            x = self.activation(nn.Dense(width)(x))
        return nn.Dense(1)(x)


class Dropped(nn.Module):
    norm: bool = False

    @nn.compact
    def __call__(self, x):
        layer = nn.BatchNorm(use_running_average=False) if self.norm else nn.Dropout(0.5, deterministic=False)
        return nn.Dense(1)(layer(nn.Dense(8)(x)))


def squares(model):
    return lambda params, x, y: jnp.mean((model.apply(params, x) - y) ** 2)


def found(model, x=X, y=Y, loss=None, **options):
    return diagnose_loss(loss or squares(model), model.init(KEY, x[:2]), x, y, **options)


LONG = np.arange(1000, dtype=np.float32)[:, None]


@pytest.mark.slow
def test_p7_inputs_to_999_come_before_the_tanh_that_they_saturate_and_the_waves_after():
    told = found(Layers(activation=nn.tanh), LONG, np.sin(LONG / 20), optimizer=optax.adam(1e-3))
    assert [finding.code for finding in told.causes] == ["layer-scale", "target-frequency"]
    assert told.causes[0].layers == ("Dense_0",)
    assert "divide the inputs by 5" in told.causes[0].fix
    assert "subtract their mean, squared 3 times their variance" in told.causes[0].fix
    assert "saturated-units" in {finding.code for finding in told.findings if finding.kind == "consequence"}


@pytest.mark.slow
def test_p7_divided_the_offset_and_the_frequency_are_left():
    (finding,) = found(Layers(activation=nn.tanh), LONG / 577, np.sin(LONG / 20), optimizer=optax.adam(1e-3)).causes
    assert finding.code == "target-frequency"
    assert finding.evidence["mean of the input squared over its variance"] == pytest.approx(3, rel=0.01)
    assert finding.evidence["periods along the input"] == pytest.approx(1000 / (2 * np.pi * 20), rel=0.05)
    waves = np.concatenate([np.sin(LONG / 20), np.cos(LONG / 20), (LONG - 500) / 289], 1)
    assert found(Layers(activation=nn.tanh), waves, np.sin(LONG / 20), optimizer=optax.adam(1e-3)).causes == ()
    slow = np.sin(LONG / 160)
    assert found(Layers(activation=nn.tanh), (LONG - 500) / 289, slow, optimizer=optax.adam(1e-3)).causes == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "optimizer", "code"),
    [((32,), optax.sgd(4e-7), "step-too-small"), ((32,), optax.adam(1e-6), "step-too-small"),
     ((64, 64, 64), optax.adam(0.3), "step-too-large"), ((64, 64, 64), optax.adam(1e-3), ""),
     ((32,), optax.sgd(0.05), "")],
)  # fmt: skip
def test_p8_rates(widths, optimizer, code):
    told = found(Layers(widths), optimizer=optimizer)
    assert [finding.code for finding in told.causes] == [code] * bool(code), told.verdict


@pytest.mark.slow
def test_p8_a_thousandth_of_the_stable_rate_of_a_sum_is_too_small():
    model = Layers()
    told = found(model, loss=lambda *given: 200 * squares(model)(*given), optimizer=optax.sgd(4e-7))
    assert [finding.code for finding in told.causes] == ["step-too-small"], told.verdict
    assert found(model, loss=lambda *given: 200 * squares(model)(*given), optimizer=optax.sgd(1e-4)).causes == ()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_p9_a_rate_too_small_in_float32_is_to_be_raised(optimizer):
    told = found(Layers(), optimizer=optimizer, learning_rate=1e-8)
    assert [finding.code for finding in told.findings] == ["step-too-small"]
    assert told.causes[0].fix.startswith("a learning rate of 1e-06, or larger")


@pytest.mark.slow
def test_p13_a_linear_program_of_a_sine():
    x = RNG.uniform(-3, 3, (128, 1)).astype(np.float32)
    model = Layers((16,), lambda h: h)
    (finding,) = found(model, x, np.sin(2 * x)).causes
    slope, offset = np.polyfit(x[:, 0], np.sin(2 * x[:, 0]), 1)
    rest = np.sin(2 * x[:, 0]) - slope * x[:, 0] - offset
    explained = 1 - np.var(rest) / np.var(np.sin(2 * x))
    assert finding.code == "only-linear"
    assert finding.evidence["explained variance of the best linear program"] == pytest.approx(explained, rel=1e-3)
    assert finding.evidence["with ReLU between the layers"] < 0.5 * finding.evidence["loss of rows held out, as given"]
    assert found(model, x, 0.4 * x + 0.1).findings == ()


@pytest.mark.slow
def test_epsilon_above_the_gradients():
    (finding,) = found(Layers(activation=nn.tanh), optimizer=optax.adam(1e-3, eps=1.0)).causes
    assert finding.code == "layer-epsilon"
    assert finding.fix.startswith("an epsilon (eps) of")
    assert found(Layers(activation=nn.tanh), optimizer=optax.adam(1e-3)).findings == ()


@pytest.mark.parametrize("look_up", [lambda table, t: table[t], lambda table, t: jnp.take(table, t, axis=0)])
@pytest.mark.parametrize("tokens", [70, 50])
def test_tokens_past_the_table_are_told_with_layer_and_line(look_up, tokens):
    def loss(params, t, y):
        return jnp.mean((look_up(params["words"], t).mean(1) @ params["head"] - y) ** 2)

    t = np.arange(200 * 5).reshape(200, 5) % tokens
    told = diagnose_loss(loss, {"words": RNG.normal(size=(50, 8)), "head": RNG.normal(size=(8, 1)) / 3}, t, Y)
    assert [finding.code for finding in told.causes] == ["tokens-outside"] * (tokens > 50)
    if told.causes:
        assert "words: tokens go up to 69" in told.verdict
        assert told.causes[0].where.startswith("test_program_cases.py:")


class Pooled(nn.Module):
    """A convolutional network of .6 million parameters."""

    @nn.compact
    def __call__(self, x):
        for features in (32, 64):
            x = nn.max_pool(nn.relu(nn.Conv(features, (3, 3))(x)), (2, 2), (2, 2))
        return nn.Dense(10)(nn.relu(nn.Dense(256)(x.reshape(len(x), -1))))


@pytest.mark.slow
def test_p15_a_large_cnn_is_silent():
    labels = np.arange(1024) % 10
    x = RNG.normal(size=(10, 24, 24, 1))[labels] + RNG.normal(size=(1024, 24, 24, 1))

    def loss(params, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(Pooled().apply(params, x), y).mean()

    params = Pooled().init(KEY, x[:2])
    told = diagnose_loss(loss, params, x.astype(np.float32), labels, optimizer=optax.adam(1e-3))
    assert (told.parameters, told.rows) == (611_466, 1024)
    assert told.findings == (), told.verdict


def of_batch(params, batch):
    return jnp.mean((Layers().apply({"params": params}, batch["image"]) - batch["label"]) ** 2)


@pytest.mark.slow
def test_p17_a_train_state_a_mapping_and_its_optimizer():
    params, batch = Layers().init(KEY, X[:2])["params"], {"image": X, "label": Y}
    made = flax.training.train_state.TrainState.create(apply_fn=None, params=params, tx=optax.adam(1e-6))
    assert [finding.code for finding in diagnose_loss(of_batch, made, batch).causes] == ["step-too-small"]
    assert diagnose_loss(of_batch, params, batch, optimizer=optax.adam(1e-3)).causes == ()


@pytest.mark.slow
def test_p17_an_nnx_model_and_its_optimizer():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.a, self.b = nnx.Linear(4, 16, rngs=rngs), nnx.Linear(16, 1, rngs=rngs)

    def loss(model, batch):
        return jnp.mean((model.b(nnx.relu(model.a(batch["image"]))) - batch["label"]) ** 2)

    model = Model(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-6), wrt=nnx.Param)
    told = diagnose_loss(loss, model, {"image": X, "label": Y}, optimizer=optimizer)
    assert [finding.code for finding in told.causes] == ["step-too-small"]


def branching(params, x, y):
    error = squares(Layers())(params, x, y)
    return error if error > 0 else -error


@pytest.mark.parametrize(
    ("model", "loss", "line"),
    [(Dropped(), squares(Dropped()), "needs PRNG.*; pass rngs to the model inside the loss"),
     (Dropped(norm=True), squares(Dropped(norm=True)), "immutable; a loss may not change what is outside of it"),
     (Layers(), lambda p, x, y: (Layers().apply(p, x) - y) ** 2, "of shape .*: return the mean, one real number"),
     (Layers(), branching, "the loss must be traceable"),
     (Layers(), lambda p, x: jnp.mean(x), "give loss, params and arguments exactly as to jax.value_and_grad"),
     (Layers(), Layers(), "the loss is a model, Layers: give a function")],
)  # fmt: skip
def test_p17_calls_that_fail_say_what_to_pass(model, loss, line):
    params = model.init({"params": KEY, "dropout": KEY}, X[:2])
    with pytest.raises(IdjaxError, match=line) as error:
        diagnose_loss(loss, params, X, Y)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "line"),
    [({"optimizer": 3}, "of type int: give a name"), ({"optimizer": "adamm"}, "optax has no such optimizer"),
     ({"optimizer": optax.multi_transform({"a": optax.sgd(0.1)}, {"head": "a"})}, "does not take the parameters")],
)  # fmt: skip
def test_p17_optimizers_that_cannot_be_tried_say_what_to_give(given, line):
    with pytest.raises(IdjaxError, match=line):
        found(Layers(), **given)


@pytest.mark.slow
def test_p17_a_warm_up_is_not_blamed_for_its_first_steps():
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1e-3, 10_000, 20_000)
    assert found(Layers(), optimizer=optax.adam(schedule)).causes == ()
    with pytest.raises(IdjaxError, match="x is a list of numbers: give an array"):
        diagnose_loss(squares(Layers()), Layers().init(KEY, X[:2]), X.tolist(), Y)


@pytest.mark.slow
def test_p17_statistics_beside_the_parameters_are_not_learned():
    def loss(variables, x, y):
        return jnp.mean((Dropped(norm=True).apply(variables, x, mutable=["batch_stats"])[0] - y) ** 2)

    assert diagnose_loss(loss, Dropped(norm=True).init(KEY, X[:2]), X, Y).findings == ()
