"""Programs with one planted fault: each kind in each library, in another body from library to library."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from programs import compared
from programs.compared import BINARY, CLASSES, SQUARES
from programs.flax_nets import linen, nnx_net
from programs.other_nets import equinox, haiku, keras_net, plain
from programs.shape import BODIES, MadeProgram, Shape, inputs_of, labels_of, targets_of
from programs.tokens import PAST_THE_TABLE

LIBRARIES = {
    "linen": linen, "nnx": nnx_net, "equinox": equinox, "haiku": haiku, "keras": keras_net, "plain": plain,
}  # fmt: skip
LAYERED = ("mlp", "cnn")
"""Bodies whose every layer has the activation and the start of the shape."""
Rows = tuple[np.ndarray, np.ndarray]


class Fault(NamedTuple):
    """A fault, in a net of this shape.

    rows:    makes inputs and targets for a body.
    compare: the loss, or that of each library.
    """

    code: str
    shape: Shape
    rows: Callable[[str], Rows]
    compare: Callable | Mapping[str, Callable]
    bodies: tuple[str, ...] = BODIES
    libraries: tuple[str, ...] = tuple(LIBRARIES)
    settings: dict[str, Any] | None = None


def numbers(body: str) -> Rows:
    x = inputs_of(body)
    return x, targets_of(x)


def classes(body: str) -> Rows:
    x = inputs_of(body)
    return x, labels_of(x)


def truths(body: str) -> Rows:
    x, y = numbers(body)
    return x, (y > 0).astype(np.float32)


def bent(body: str) -> Rows:
    """Targets that are even in the inputs, of which a linear program explains nothing."""
    x = inputs_of(body)
    return x, (np.abs(x[:, :1]) - x[:, 1:2] ** 2 + 0.2).astype(np.float32)


def waves(body: str) -> Rows:
    x = inputs_of(body)
    return x, np.sin(25 * x)


def put(rows: Callable[[str], Rows], x: Callable = lambda x: x, y: Callable = lambda y: y) -> Callable[[str], Rows]:
    """The rows with inputs and targets changed."""

    def made(body: str) -> Rows:
        given, wanted = rows(body)
        return x(given).astype(given.dtype), y(wanted)

    return made


def holed(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[7] = np.nan
    return x


FOUR, ONE = Shape(outputs=4), Shape()
DEEP = Shape(widths=(16,) * 10, activation="sigmoid")
MOST = ("linen", "equinox", "keras", "plain")
REST = ("nnx", "haiku", "keras", "plain")

FAULTS: dict[str, Fault] = {
    "log of a softmax": Fault("not-finite", FOUR, classes, compared.log_of_softmax),
    "a row of NaN": Fault("not-finite", ONE, put(numbers, holed), SQUARES, libraries=REST),
    "root left out": Fault("not-finite", ONE, numbers, compared.root_left_out, libraries=MOST),
    "exponential": Fault("not-finite", ONE, put(numbers, lambda x: 5 * x), compared.exponential, libraries=REST),
    "0/0": Fault("not-finite", ONE, put(numbers, y=lambda y: 0 * y + 3), compared.correlation, libraries=MOST),
    "ReLU at the output": Fault(
        "no-gradient", ONE._replace(last=lambda o: jax.nn.relu(o - 30)), numbers, SQUARES, libraries=MOST),
    "softmax of one": Fault("no-gradient", ONE._replace(last=jax.nn.softmax), truths, SQUARES),
    "stop_gradient": Fault("no-gradient", ONE._replace(last=jax.lax.stop_gradient), numbers, SQUARES, libraries=REST),
    "dead layer": Fault("no-gradient", FOUR._replace(bias=-50.0), classes, CLASSES),
    "argmax": Fault("no-gradient", FOUR, classes, compared.of_argmax, libraries=MOST),
    "rounded": Fault("no-gradient", ONE, numbers, compared.rounded, libraries=REST),
    "accuracy": Fault("no-gradient", ONE, truths, compared.accuracy, libraries=MOST),
    "targets (N,)": Fault("broadcast-loss", ONE, put(numbers, y=lambda y: y[:, 0]), compared.squares),
    "outputs (N,)": Fault("broadcast-loss", ONE._replace(last=lambda o: o[..., 0]), numbers, compared.absolute),
    "truths (N,)": Fault(
        "broadcast-loss", ONE, put(truths, y=lambda y: y[:, 0]), compared.stable_binary, libraries=REST),
    "no log_softmax": Fault("unbounded-loss", FOUR, classes, compared.without_logarithm, libraries=MOST),
    "no logarithm": Fault("unbounded-loss", FOUR, classes, compared.picked_without_logarithm, libraries=REST),
    "squares maximised": Fault("unbounded-loss", ONE, numbers, compared.squares_maximised, libraries=MOST),
    "entropy maximised": Fault("unbounded-loss", FOUR, classes, compared.entropy_maximised, libraries=REST),
    "softmax twice": Fault("softmax-twice", FOUR._replace(last=jax.nn.softmax), classes, CLASSES),
    "softmax twice, one-hot": Fault(
        "softmax-twice", FOUR._replace(last=jax.nn.softmax), classes, compared.one_hot, libraries=MOST),
    "sigmoid twice": Fault("softmax-twice", ONE._replace(last=jax.nn.sigmoid), truths, BINARY),
    "sigmoid, targets to 10": Fault(
        "unreachable-output", ONE._replace(last=jax.nn.sigmoid), put(numbers, y=lambda y: 5 * abs(y)), SQUARES),
    "tanh, targets to 100": Fault(
        "unreachable-output", ONE._replace(last=jnp.tanh), put(numbers, y=lambda y: 30 * y), SQUARES, libraries=REST),
    "ReLU, targets below 0": Fault(
        "unreachable-output", ONE._replace(last=jax.nn.relu), numbers, SQUARES, libraries=MOST),
    "labels from 1": Fault("unreachable-output", FOUR, put(classes, y=lambda y: y + 1), CLASSES),
    "bytes as truths": Fault("unreachable-output", ONE, put(truths, y=lambda y: 255 * y), BINARY),
    "labels -1 and 1": Fault(
        "unreachable-output", ONE, put(truths, y=lambda y: 2 * y - 1), BINARY, libraries=REST),
    "targets of 1e5": Fault("target-scale", ONE, put(numbers, y=lambda y: 1e5 * y), SQUARES),
    "years": Fault("target-scale", ONE, put(numbers, y=lambda y: 2000 + 10 * y), SQUARES),
    "targets all 3": Fault("constant-target", ONE, put(numbers, y=lambda y: 0 * y + 3), SQUARES),
    "one class": Fault("constant-target", FOUR, put(classes, y=lambda y: 0 * y + 2), CLASSES, libraries=MOST),
    "constant start": Fault("symmetric-start", FOUR._replace(start="constant"), classes, CLASSES, LAYERED),
    "start of zeros": Fault("symmetric-start", FOUR._replace(start="zeros"), classes, CLASSES, LAYERED),
    "dead units": Fault("dead-units", FOUR._replace(bias="dead"), classes, CLASSES),
    "steep sigmoid": Fault(
        "saturated-units", ONE._replace(activation="sigmoid", start=15.0), numbers, SQUARES, ("mlp",)),
    "steep tanh": Fault("saturated-units", FOUR._replace(activation="tanh", start=15.0), classes, CLASSES, ("mlp",),
                        libraries=REST),
    "ten sigmoids": Fault("vanishing-gradient", DEEP, numbers, SQUARES, ("mlp",)),
    "ten sigmoids, classes": Fault("vanishing-gradient", DEEP._replace(outputs=4), classes, CLASSES, LAYERED, MOST),
    "SGD, 1e-7": Fault("step-too-small", ONE, numbers, SQUARES, libraries=MOST,
                       settings={"optimizer": "sgd", "learning_rate": 1e-7}),
    "Adam, 1e-8": Fault("step-too-small", FOUR, classes, CLASSES, libraries=REST,
                        settings={"optimizer": optax.adam(1e-8)}),
    "SGD, 1e4": Fault("step-too-large", ONE, numbers, SQUARES, libraries=REST,
                      settings={"optimizer": "sgd", "learning_rate": 1e4}),
    "Adam, 10": Fault("step-too-large", ONE, numbers, SQUARES, libraries=MOST,
                      settings={"optimizer": "adam", "learning_rate": 10.0}),
    "softmax over the rows": Fault("mixed-rows", FOUR, classes, compared.softmax_over_rows, libraries=MOST),
    "reshaped, not transposed": Fault(
        "mixed-rows", FOUR, lambda body: (inputs_of(body), targets_of(inputs_of(body), 4)), compared.turned,
        libraries=REST),
    "attention over the rows": Fault("mixed-rows", ONE._replace(turned=True), numbers, SQUARES, ("attention",),
                                     libraries=("linen", "nnx", "haiku", "plain")),
    "no activation": Fault("only-linear", ONE._replace(activation="linear"), bent, SQUARES, ("mlp",)),
    "no activations, truths": Fault(
        "only-linear", ONE._replace(activation="linear", widths=(16, 8)),
        put(bent, y=lambda y: (y > 0).astype(np.float32)), BINARY, ("mlp",), libraries=MOST),
    "eight periods": Fault(
        "target-frequency", ONE._replace(activation="tanh"), waves, SQUARES, ("line",),
        libraries=("linen", "equinox", "haiku", "plain")),
    "unused head": Fault("unused-parameters", ONE._replace(unused=True), numbers, compared.squares),
}  # fmt: skip


def _made(fault: Fault, library: str, body: str) -> MadeProgram:
    compare = fault.compare if callable(fault.compare) else fault.compare[library]
    shape = fault.shape._replace(body=body)
    return MadeProgram(*LIBRARIES[library](shape, compare, *fault.rows(body)), (fault.code,), fault.settings)


def _all() -> dict[str, Callable[[], MadeProgram]]:
    """Every fault in every library that it is planted in."""
    made = {}
    for place, (name, fault) in enumerate(FAULTS.items()):
        for library in fault.libraries:
            body = fault.bodies[(place + list(LIBRARIES).index(library)) % len(fault.bodies)]
            made[f"{library}, {body}: {name}"] = functools.partial(_made, fault, library, body)
    return made


PLANTED = {**_all(), **PAST_THE_TABLE}
