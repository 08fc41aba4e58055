"""Every optimizer against the real Keras in float64, and against optax's own of the same name.

Keras's backend and floating point type hold for a whole process, so it runs in one of its own, once.
"""

import functools
import importlib.util
import json
import os
import subprocess
import sys
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from idjax import settings
from idjax.nn import optimizers

STEPS = 200
TOLERANCE = 1e-13  # of weights of order 1: roundings, no more
DIFFERENT = 1e-9  # what another rule has to differ by, so that the check above means something
NAMES = typing.get_args(settings.Optimizer)

# optimizer, what is not left at its default, and whether the learning rate follows the schedule
CASES: dict[str, tuple[str, dict[str, typing.Any], bool]] = {
    **{name: (name, {}, False) for name in NAMES},
    "sgd momentum": ("sgd", {"momentum": 0.9}, False),
    "sgd nesterov": ("sgd", {"momentum": 0.9, "nesterov": True}, False),
    "sgd momentum schedule": ("sgd", {"momentum": 0.9}, True),
    "sgd nesterov schedule": ("sgd", {"momentum": 0.9, "nesterov": True}, True),
    "rmsprop momentum": ("rmsprop", {"momentum": 0.9}, False),
    "rmsprop settings": ("rmsprop", {"rho": 0.8, "momentum": 0.5, "epsilon": 1e-5}, True),
    "adagrad settings": ("adagrad", {"initial_accumulator_value": 1e-3, "epsilon": 1e-5}, True),
    "adadelta settings": ("adadelta", {"rho": 0.8, "epsilon": 1e-5}, True),
    "adam settings": ("adam", {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-5}, True),
    "adamw settings": ("adamw", {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-5, "weight_decay": 0.05}, True),
    "adamax settings": ("adamax", {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-5}, True),
    "nadam settings": ("nadam", {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-5}, True),
}
TRACEABLE = ["sgd", "sgd momentum", "sgd nesterov", *(case for case in CASES if case.endswith("settings"))]

KERAS = """
import json, sys
import numpy as np, jax.numpy as jnp, keras

keras.config.set_floatx("float64")
assert keras.backend.backend() == "jax"
classes = {c.__name__.lower(): c for c in vars(keras.optimizers).values() if isinstance(c, type)}
inputs = np.load(sys.argv[1])
weights = {}
for case, (name, options, schedule) in json.loads(sys.argv[3]).items():
    if schedule:
        options["learning_rate"] = keras.optimizers.schedules.ExponentialDecay(0.01, 50, 0.5)
    kernel, bias = (keras.Variable(inputs[key]) for key in ("kernel", "bias"))
    optimizer = classes[name](**options)
    optimizer.build([kernel, bias])
    for gradient_kernel, gradient_bias in zip(inputs["gradient_kernel"], inputs["gradient_bias"]):
        optimizer.apply([jnp.asarray(gradient_kernel), jnp.asarray(gradient_bias)])
    weights[case + "/kernel"], weights[case + "/bias"] = np.asarray(kernel), np.asarray(bias)
    assert weights[case + "/kernel"].dtype == np.float64
np.savez(sys.argv[2], **weights)
"""


def schedule(count):
    """Keras's ExponentialDecay(0.01, 50, 0.5)."""
    return 0.01 * 0.5 ** (jnp.asarray(count, float) / 50)  # JAX divides an int32 in float32, even in x64 mode


def start():
    rng = np.random.default_rng(1)
    return {"kernel": rng.normal(size=(4, 3)), "bias": rng.normal(size=3)}


def gradients():
    """Noise and a drift, each entry on its own scale: from 1 down to 1e-9, where ε takes over."""
    rng = np.random.default_rng(2)
    scales = {"kernel": np.logspace(0, -9, 12).reshape(4, 3), "bias": np.array([0.1, 1e-8, 1e-9])}
    return {key: scale * (0.5 + rng.normal(size=(STEPS, *scale.shape))) for key, scale in scales.items()}


def run(transformation, dtype="float64"):
    """The weights and the optimizer's state after all updates."""
    params, sequence = (jax.tree.map(lambda x: jnp.asarray(x, dtype), tree) for tree in (start(), gradients()))

    def update(carry, gradient):
        params, state = carry
        updates, state = transformation.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(update, (params, transformation.init(params)), sequence)[0]


def train(transformation):
    return jax.tree.map(np.asarray, run(transformation)[0])


def default_rate(name: typing.Any) -> float:
    return settings.Settings(optimizer=name).step_size


def ours(case, **changes):
    name, options, scheduled = CASES[case]
    rate = schedule if scheduled else default_rate(name)
    return getattr(optimizers, name)(rate, **options | changes)


def split(options):
    """Flags, which are static, and numbers, which may be traced."""
    flags = {key: value for key, value in options.items() if isinstance(value, bool)}
    return flags, {key: value for key, value in options.items() if key not in flags}


def distance(left, right):
    return max(float(np.max(np.abs(left[key] - right[key]))) for key in ("kernel", "bias"))


@pytest.fixture(scope="session")
def keras_weights(tmp_path_factory):
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed")
    folder = tmp_path_factory.mktemp("keras")
    sequence = {f"gradient_{key}": value for key, value in gradients().items()}
    np.savez(folder / "inputs.npz", **start(), **sequence)
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "KERAS_HOME": str(folder),
        "JAX_ENABLE_X64": "1",
        "JAX_PLATFORMS": "cpu",
    }
    arguments = [str(folder / "inputs.npz"), str(folder / "weights.npz"), json.dumps(CASES)]
    command = [sys.executable, "-c", KERAS, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "weights.npz") as saved:
        return {case: {key: saved[f"{case}/{key}"] for key in ("kernel", "bias")} for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_keras(keras_weights, case):
    with jax.enable_x64(True):
        weights = train(ours(case))
    assert weights["kernel"].dtype == np.float64
    assert distance(weights, keras_weights[case]) < TOLERANCE
    assert distance(weights, start()) > 1e-5  # it moved


@pytest.mark.parametrize(
    ("name", "control"),
    [
        ("rmsprop", optax.rmsprop),
        ("adadelta", optax.adadelta),
        ("adam", optax.adam),
        ("adam", functools.partial(optax.adam, eps=1e-7)),
        ("adamax", optax.adamax),
        ("adamax", functools.partial(optax.adamax, eps=1e-7)),
        ("nadam", optax.nadam),
        ("nadam", functools.partial(optax.nadam, eps=1e-7)),
    ],
)
def test_optax_of_the_same_name_is_another_optimizer(keras_weights, name, control):
    with jax.enable_x64(True):
        weights = train(control(learning_rate=0.001))
    assert distance(weights, keras_weights[name]) > DIFFERENT


def test_optax_adagrad_is_the_same_optimizer(keras_weights):
    with jax.enable_x64(True):
        weights = train(optax.adagrad(0.001))
        control = train(optax.adagrad(0.001, initial_accumulator_value=0.0))
    assert distance(weights, keras_weights["adagrad"]) < TOLERANCE
    assert distance(control, keras_weights["adagrad"]) > DIFFERENT


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sgd"])
def test_the_gradients_show_a_wrong_epsilon(keras_weights, name):
    with jax.enable_x64(True):
        weights = train(ours(name, epsilon=1e-8))
    assert distance(weights, keras_weights[name]) > DIFFERENT


@pytest.mark.parametrize("nesterov", [False, True])
def test_rate_is_inside_the_velocity(nesterov):
    expected = start()
    for key, sequence in gradients().items():
        velocity = np.zeros_like(expected[key])
        for count, gradient in enumerate(sequence):
            rate = 0.01 * 0.5 ** (count / 50)
            velocity = 0.9 * velocity - rate * gradient
            expected[key] = expected[key] + (0.9 * velocity - rate * gradient if nesterov else velocity)
    with jax.enable_x64(True):
        weights = train(optimizers.sgd(schedule, momentum=0.9, nesterov=nesterov))
        control = train(optax.sgd(schedule, momentum=0.9, nesterov=nesterov))
    assert distance(weights, expected) < TOLERANCE
    assert distance(control, expected) > DIFFERENT


@pytest.mark.parametrize("case", TRACEABLE)
def test_other_numbers_need_no_new_compilation(case):
    name, options, _ = CASES[case]
    flags, numbers = split(options)
    traces = 0

    def weights(rate, numbers):
        nonlocal traces
        traces += 1
        return run(getattr(optimizers, name)(rate, **flags, **numbers), "float32")[0]

    halved = {key: x / 2 for key, x in numbers.items()}
    jitted = jax.jit(weights)
    first, second, third = jitted(0.001, numbers), jitted(0.01, numbers), jitted(0.02, halved)
    assert traces == 1
    assert min(distance(first, second), distance(second, third)) > 1e-3
    assert distance(third, weights(0.02, halved)) < 1e-4


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", TRACEABLE)
def test_states_keep_the_dtype_of_the_parameters(case, dtype, x64):
    name, options, _ = CASES[case]
    flags, numbers = split(options)

    def final(rate, numbers):
        transformation = getattr(optimizers, name)(rate, **flags, **numbers)
        params, state = run(transformation, dtype)
        updates, state = transformation.update(params, state, params)
        return params, updates, state

    with jax.enable_x64(x64):
        traced = jax.tree.map(np.asarray, (0.001, numbers))  # unlike Python's numbers, these have a dtype
        params, updates, state = jax.eval_shape(final, *traced)
    assert {x.dtype for x in jax.tree.leaves((params, updates))} == {jnp.dtype(dtype)}
    assert {x.dtype for x in jax.tree.leaves(state)} <= {jnp.dtype(dtype), jnp.dtype("int32")}


@pytest.mark.parametrize("case", [*NAMES, "sgd nesterov", "rmsprop momentum"])
def test_build_in_float32_follows_keras(keras_weights, case):
    name, options, _ = CASES[case]
    weights, _ = run(optimizers.build(name, default_rate(name), **options), "float32")
    assert distance(weights, keras_weights[case]) < 1e-4
    assert distance(start(), keras_weights[case]) > 1e-4
