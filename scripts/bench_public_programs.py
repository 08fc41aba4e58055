"""Diagnoses of public faulty programs and their corrections: a table in Markdown.

The pairs are those of Benchmark/StackOverflow of Wardat-ISU/DeepLocalize whose number is even, each described by its
layers, loss and optimizer, for Keras 3 on JAX. Rows are made in the size and range of the ones that belong to it.

python scripts/bench_public_programs.py [numbers of pairs]
"""

import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import optax
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification

from idjax import diagnose_loss, from_keras

Rows = tuple[np.ndarray, np.ndarray]
Layer = tuple[str, int]


class Described(NamedTuple):
    """A program: (activation, units) of its dense layers, kernel start, loss, optimizer, rows."""

    layers: tuple[Layer, ...]
    loss: str
    optimizer: Any
    rows: Callable[[], Rows]
    start: Any = "glorot_uniform"
    before: Callable[[], list[Any]] = list


class Pair(NamedTuple):
    """A program with a fault, the codes that name it, and its correction; no codes where it shows in training alone."""

    number: int
    fault: str
    codes: tuple[str, ...]
    buggy: Described
    corrected: Described | None


RNG = np.random.default_rng(0)
UNIFORM, NORMAL = (keras.initializers.get(name) for name in ("random_uniform", "random_normal"))
ADAM = optax.adam(1e-3)


def xor(repeats: int = 1) -> Rows:
    x = np.array([[1, 1], [1, 0], [0, 0], [0, 1]] * repeats, np.float32)
    return x, (x.sum(1, keepdims=True) == 1).astype(np.float32)


def halves() -> Rows:
    x = np.repeat([1.0, 0.0], 128)[:, None] * np.ones(128)
    return x, (x[:, :1] > 0.5).astype(np.float32)


def scaled(rows: Callable[[], Rows], targets: bool = False) -> Callable[[], Rows]:
    """Inputs, and targets where asked, standardised."""

    def made() -> Rows:
        x, y = rows()
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        return (x - x.mean(0)) / np.maximum(x.std(0), 1e-9), (y - y.mean(0)) / y.std(0) if targets else y

    return made


def passengers() -> Rows:
    """Age, fare, numbers of relatives, class, and codes of name, ticket and cabin."""
    n = 400
    columns = [RNG.integers(1, 4, n), RNG.integers(0, 1300, n), RNG.integers(0, 2, n), RNG.gamma(4, 7.5, n),
               RNG.poisson(0.5, n), RNG.poisson(0.4, n), RNG.integers(0, 929, n), RNG.gamma(0.5, 64, n),
               RNG.integers(0, 187, n), RNG.integers(0, 3, n)]  # fmt: skip
    return np.stack(columns, 1), np.eye(2)[(columns[2] + RNG.normal(size=n) > 0.8).astype(int)]


def speeches() -> Rows:
    scale = [2e5, 2, 87, 66, 3.7, 3.8, 6e4, 8e4, 0.08, 8, 4, 7, 3e4, 1, 1, 0.2]
    mean = [1.4e5, 38, 65, 38, 14, 14, 4.7e4, 5.5e4, 2.5, 61, 18, 19, 9e4, 0.2, 0.3, 0.6]
    return RNG.normal(mean, scale, (9, 16)), np.eye(2)[[1, 1, 1, 1, 0, 0, 0, 0, 0]]


def letters() -> Rows:
    x = np.array([[65, 66, 67], [68, 69, 70], [65, 66, 70], [68, 69, 67]] * 5)
    return x, np.array([[0], [1], [0], [1]] * 5)


def sine() -> Rows:
    now = np.sin(0.0628 * np.arange(240))
    return np.stack([np.abs(now) * 0.84, np.roll(now, 1)], 1), np.ones((240, 1))


def packets() -> Rows:
    n, reply = 21, RNG.integers(0, 2, 21)
    columns = [3232235775 + RNG.integers(0, 6, n), np.full(n, 3232235779), np.full(n, 6), np.full(n, 128),
               np.where(RNG.uniform(size=n) < 0.1, 8192, 524288), np.where(reply, 502, 56783), 12 * reply,
               RNG.choice([0, 61, 65280], n), 6 * reply, np.zeros(n), 206 * reply]  # fmt: skip
    return np.stack(columns, 1).astype(np.float64), reply[:, None]


def digits(size: float = 1.0, n: int = 500) -> Rows:
    """Digits of 28 x 28 points, made of those of 8 x 8."""
    made: Any = load_digits()
    large = np.kron(made.images[:n] / 16, np.ones((1, 4, 4)))[:, 2:30, 2:30]
    return size * large.reshape(n, 784), np.eye(10)[made.target[:n]]


def photographs(size: float = 255.0) -> Rows:
    x = np.kron(RNG.uniform(size=(64, 4, 4, 3)), np.ones((1, 8, 8, 1)))
    return size * x, np.eye(10)[x.reshape(64, -1)[:, ::307].argmax(1) % 10]


def parabola() -> Rows:
    x = np.arange(0, 5, 0.1)[:, None]
    return x, 5 * x**2 + RNG.normal(size=(50, 1)) ** 3


def line_data() -> Rows:
    x = np.arange(-10, 10.05, 0.1)[:, None]
    return x, x**2 + 3


def two_boxes() -> Rows:
    x = np.concatenate([RNG.uniform(0.2, 0.4, (100, 2)), RNG.uniform(0.5, 0.7, (100, 2))])
    return x, np.repeat([0, 1], 100)[:, None]


def one_label() -> Rows:
    made: Any = make_multilabel_classification(800, 4, n_classes=1, random_state=0)
    return made[0], made[1].reshape(-1, 1)


def iris() -> Rows:
    made: Any = load_iris()
    order = np.random.default_rng(2).permutation(150)[:75]
    return made.data[order], np.eye(3)[made.target[order]]


def fourth_power() -> Rows:
    x = np.arange(-100, 100, 0.5)[:, None]
    return x, x**4


def one_hot(rows: Callable[[], Rows]) -> Callable[[], Rows]:
    def made() -> Rows:
        x, y = rows()
        return x, np.eye(2)[y[:, 0].astype(int)]

    return made


def convolutions(widths: tuple[int, ...], size: int, start: Any = "glorot_uniform", first: Any = ()) -> Callable:
    def made() -> list[Any]:
        layers = list(first)
        for width in widths:
            layers += [keras.layers.Conv2D(width, size, padding="same", activation="relu", kernel_initializer=start),
                       keras.layers.MaxPooling2D()]  # fmt: skip
        return [*layers, keras.layers.Flatten()]

    return made


def as_image() -> list[Any]:
    return [keras.layers.Reshape((28, 28, 1)), *convolutions((32, 64), 5)()]


def dense(*layers: Layer) -> tuple[Layer, ...]:
    return layers


PEAK = keras.initializers.RandomNormal(stddev=1.0, seed=1)
BINARY, CLASSES = "binary_crossentropy", "categorical_crossentropy"
SMALL = dense(("relu", 12), ("relu", 3), ("sigmoid", 1))
DEEP = tuple(("relu", width) for width in (10, 20, 30, 40, 50))
PHOTOGRAPHS = {"before": convolutions((64, 256), 3, "he_normal")}
PAIRS = (
    Pair(31556268, "mean absolute error, small rate", (),
         Described(dense(("sigmoid", 4), ("sigmoid", 1)), "mean_absolute_error", optax.sgd(0.05, 0.11), xor),
         Described(dense(("sigmoid", 4), ("sigmoid", 1)), "mse", ADAM, xor)),
    Pair(31627380, "inputs not scaled; output", ("layer-scale", "layer-mean", "layer-outliers"),
         Described(dense(("relu", 512), ("softmax", 2)), CLASSES, ADAM, passengers),
         Described(dense(("relu", 512), ("sigmoid", 2)), BINARY, ADAM, passengers)),
    Pair(31880720, "softmax of one unit", ("no-gradient",),
         Described(dense(("relu", 50), ("relu", 50), ("softmax", 1)), BINARY, optax.rmsprop(1e-3), halves),
         Described(dense(("relu", 50), ("relu", 50), ("sigmoid", 1)), BINARY, optax.rmsprop(1e-3), halves)),
    Pair(34311586, "softmax of one unit", ("no-gradient",),
         Described(dense(("sigmoid", 2), ("sigmoid", 3), ("softmax", 1)), "mse", optax.sgd(1e-3, 0.9), xor, UNIFORM),
         Described(dense(("sigmoid", 2), ("sigmoid", 3), ("sigmoid", 1)), "mse", optax.sgd(0.1, 0.9), xor, UNIFORM)),
    Pair(34673164, "inputs not scaled", ("layer-scale", "layer-mean", "saturated-units", "no-gradient"),
         Described(dense(("tanh", 64), ("tanh", 64), ("softmax", 2)), "mse", optax.sgd(0.1, 0.9), speeches, UNIFORM),
         Described(dense(("tanh", 64), ("tanh", 64), ("sigmoid", 2)), BINARY, optax.sgd(0.1, 0.9), speeches, UNIFORM,
                   lambda: [keras.layers.BatchNormalization()])),
    Pair(39525358, "inputs not centred", ("layer-scale", "layer-mean"),
         Described(SMALL, BINARY, ADAM, letters, UNIFORM), Described(SMALL, BINARY, ADAM, scaled(letters), UNIFORM)),
    Pair(41372874, "one class; a start that is small", ("constant-target",),
         Described(dense(("relu", 2), ("relu", 2), ("sigmoid", 1)), BINARY, ADAM, sine, UNIFORM), None),
    Pair(44066044, "inputs not scaled; ReLU at the output",
         ("layer-scale", "layer-mean", "no-gradient", "not-finite", "unreachable-output"),
         Described(dense(("relu", 12), ("relu", 12), ("relu", 1)), BINARY, ADAM, packets, NORMAL),
         Described(dense(("relu", 12), ("relu", 12), ("sigmoid", 1)), BINARY, ADAM, scaled(packets), NORMAL)),
    Pair(47352366, "ReLU at the output", ("no-gradient", "not-finite", "unreachable-output"),
         Described(dense(("relu", 1024), ("relu", 10)), CLASSES, ADAM, lambda: digits(n=64), before=as_image),
         Described(dense(("relu", 1024), ("softmax", 10)), CLASSES, ADAM, lambda: digits(n=64), before=as_image)),
    Pair(48221692, "sigmoid at the output", ("unreachable-output",),
         Described(dense(("sigmoid", 5), ("sigmoid", 1)), "mse", optax.sgd(0.01), line_data),
         Described(dense(("sigmoid", 5), ("linear", 1)), "mse", optax.sgd(0.01), line_data)),
    Pair(48385830, "no activations; rate", ("only-linear", "step-too-large", "layer-init"),
         Described(dense(("linear", 30), ("linear", 10)), "mse", optax.sgd(3.0), digits, PEAK),
         Described(dense(("sigmoid", 30), ("softmax", 10)), CLASSES, optax.sgd(3.0), digits, PEAK)),
    Pair(48594888, "inputs not scaled", ("layer-scale", "layer-mean"),
         Described(dense(("relu", 512), ("softmax", 10)), CLASSES, ADAM, photographs, **PHOTOGRAPHS),
         Described(dense(("relu", 1024), ("softmax", 10)), CLASSES, ADAM, lambda: photographs(1.0), **PHOTOGRAPHS)),
    Pair(48934338, "rate", ("step-too-large",),
         Described(dense(("relu", 50), ("relu", 30), ("linear", 1)), "mse", optax.sgd(0.1), parabola),
         Described(dense(("relu", 50), ("relu", 30), ("linear", 1)), "mse", optax.sgd(0.001), parabola)),
    Pair(50306988, "too few epochs", (),
         Described(dense(("sigmoid", 2), ("softmax", 2)), CLASSES, ADAM, one_hot(two_boxes)),
         Described(dense(("sigmoid", 2), ("sigmoid", 1)), BINARY, ADAM, two_boxes)),
    Pair(50481178, "output and loss", (),
         Described(dense(*DEEP, ("sigmoid", 1)), BINARY, ADAM, one_label),
         Described(dense(*DEEP, ("softmax", 2)), CLASSES, ADAM, one_hot(one_label))),
    Pair(51930566, "sigmoid for classes; inputs not scaled", ("layer-mean", "layer-scale"),
         Described(dense(("relu", 4), ("sigmoid", 3)), CLASSES, ADAM, iris, NORMAL),
         Described(dense(("relu", 4), ("softmax", 3)), CLASSES, ADAM, scaled(iris), NORMAL)),
    Pair(52800582, "inputs and targets not scaled", ("target-scale", "layer-scale"),
         Described(dense(("sigmoid", 50), ("elu", 50), ("linear", 1)), "mse", ADAM, fourth_power),
         Described(dense(("relu", 50), ("elu", 50), ("linear", 1)), "mse", ADAM, scaled(fourth_power, True))),
    Pair(55328966, "inputs not scaled; sigmoid for classes", ("layer-scale", "layer-mean"),
         Described(dense(("linear", 784), ("relu", 50), ("sigmoid", 10)), CLASSES, optax.sgd(1e-4),
                   lambda: digits(255.0)),
         Described(dense(("linear", 784), ("relu", 50), ("softmax", 10)), CLASSES, optax.sgd(1e-4), digits)),
)  # fmt: skip


def causes(program: Described) -> list[str]:
    """The codes of the causes that a diagnosis names."""
    keras.utils.set_random_seed(0)
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state  # the same rows, whatever ran before
    x, y = (np.asarray(part, np.float32) for part in program.rows())
    layers = program.before()
    for act, units in program.layers:
        start = program.start
        start = start if isinstance(start, str) else start.__class__.from_config(start.get_config() | {"seed": units})
        layers.append(keras.layers.Dense(units, activation=act, kernel_initializer=start))
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers])
    found = diagnose_loss(*from_keras(model, program.loss), x, y, optimizer=program.optimizer)
    return [finding.code for finding in found.causes]


def main(*numbers: str) -> None:
    """Prints a row for each pair, and the counts."""
    named = asked = silent = corrected = 0
    print("| pair | fault | named | corrected |\n|---|---|---|---|")
    for pair in PAIRS:
        if numbers and str(pair.number) not in numbers:
            continue
        told = causes(pair.buggy)
        after = causes(pair.corrected) if pair.corrected is not None else []
        if pair.codes:
            asked, named = asked + 1, named + (told[:1] != [] and told[0] in pair.codes)
        if pair.corrected is not None:
            corrected, silent = corrected + 1, silent + (not after)
        then = "none given" if pair.corrected is None else ", ".join(after) or "silent"
        what = pair.fault if pair.codes else f"{pair.fault} (in training)"
        print(f"| {pair.number} | {what} | {', '.join(told) or 'nothing'} | {then} |", flush=True)
    print(f"\nnamed first {named} of {asked}; corrected ones silent {silent} of {corrected}")


if __name__ == "__main__":
    main(*sys.argv[1:])
