"""Two models that should train alike and do not: which setting differs, and what each difference alone does.

The models are given as they are, a function and its parameters. They are looked at from outside: their layers are found
in the parameters and checked against the function, their loss is held against the mean squared error, and both runs are
predicted on the moments of the data. The case that this is made for is github.com/google/flax/issues/4087.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from idjax.moments.moments import moments_of
from idjax.nn.inspect import SAME, Inspection, Model, forward, inspect_model, loss_words
from idjax.nn.optimizers import sgd
from idjax.nn.rounding import Transformation
from idjax.prediction.precision import in_float64
from idjax.theory import quadratic
from idjax.theory.full_batch import stepped
from idjax.theory.networks import tangent
from idjax.theory.networks.deep_linear import LinearLayers, parameters_of
from idjax.types import IdjaxError, Weights


@dataclasses.dataclass(frozen=True)
class Difference:
    """A setting that differs, in words for both, and the last loss of the first model with it changed alone."""

    setting: str
    first: str
    second: str
    alone: float


@dataclasses.dataclass(frozen=True)
class Differences:
    """Settings that differ, the one that moves the last loss most first, and both curves, each in its own loss."""

    names: tuple[str, str]
    found: tuple[Difference, ...]
    first: Float[np.ndarray, " E"]
    second: Float[np.ndarray, " E"]

    def __str__(self) -> str:
        a, b = self.names
        lines = [f"predicted loss after {len(self.first)} epochs: {a} {self.first[-1]:.4f}, {b} {self.second[-1]:.4f}"]
        lines += [
            f"{each.setting}: {each.first} in {a}, {each.second} in {b}; this alone would end {a} at {each.alone:.4f}"
            for each in self.found
        ]
        return "\n".join(lines if self.found else [*lines, "nothing differs but the draw of the start"])


@in_float64
def what_differs(
    x: Float[np.ndarray, "N p"],
    first: Model,
    second: Model,
    *,
    epochs: int,
    steps_per_epoch: int = 1,
    target: Float[np.ndarray, "N q"] | None = None,
) -> Differences:
    """Names what differs between two models and predicts both runs; the noise of batches is left out.

    Args:
      x: inputs; target is what is learned, if it is not x itself.
      epochs: of the runs, each of steps_per_epoch updates of plain sgd.

    Raises:
      IdjaxError: for a model that is no stack of dense layers, or a loss that is no multiple of the squared error.

    Example:
      >>> x = np.random.default_rng(0).normal(size=(50, 3))
      >>> def loss(output, target):
      ...     return jnp.mean((output - target) ** 2)
      >>> def scaled(name, factor):
      ...     params = {"kernel": factor * jnp.eye(3), "bias": jnp.zeros(3)}
      ...     return Model(name, params, lambda of, x: x @ of["kernel"] + of["bias"], loss, 0.01)
      >>> [each.setting for each in what_differs(x, scaled("a", 0.5), scaled("b", 0.1), epochs=5).found]
      ['initial scale']
    """
    a, b = (inspect_model(model, x, (x if target is None else target).shape[1]) for model in (first, second))
    if [kernel.shape for kernel, _ in a.layers] != [kernel.shape for kernel, _ in b.layers]:
        raise IdjaxError(f"{first.name} and {second.name} have layers of different shapes: compare like with like")

    def run(model: Inspection) -> np.ndarray:
        return predicted(model, x, target, epochs, steps_per_epoch)

    curves, found = (run(a), run(b)), []
    for setting, words, changed in _changes(a, b):
        found.append(Difference(setting, *words, float(run(changed)[-1])))
    found.sort(key=lambda each: np.nan_to_num(-abs(np.log(each.alone / curves[0][-1])), nan=-np.inf))
    return Differences((first.name, second.name), tuple(found), *curves)


def _changes(a: Inspection, b: Inspection) -> list[tuple[str, tuple[str, str], Inspection]]:
    """Every setting that differs: its name, its words for both, and the first model with it alone changed."""
    found = []

    def differs(setting: str, first: str, second: str, **changes: Any) -> None:
        found.append((setting, (first, second), dataclasses.replace(a, **changes)))

    # Draws of one scale differ by chance: three standard errors of the ratio.
    chance = 3 / np.sqrt(sum(kernel.size for kernel, _ in a.layers))
    if abs(np.log(b.scale / a.scale)) > chance:
        layers = tuple(Weights(kernel * b.scale / a.scale, bias) for kernel, bias in a.layers)
        differs("initial scale", f"{a.scale:.3g}/√inputs", f"{b.scale:.3g}/√inputs", layers=layers)
    if a.bias != b.bias:
        layers = tuple(Weights(one.kernel, other.bias) for one, other in zip(a.layers, b.layers, strict=True))
        words = {True: "a bias", False: "no bias"}
        differs("bias", words[a.bias], words[b.bias], bias=b.bias, layers=layers)
    if abs(b.loss_factor / a.loss_factor - 1) > SAME:
        outputs = a.layers[-1].bias.size
        differs(
            "loss", loss_words(a.loss_factor, outputs), loss_words(b.loss_factor, outputs), loss_factor=b.loss_factor
        )
    for place in ("hidden_activation", "activation"):
        if getattr(a, place) != getattr(b, place):
            differs(place.replace("_", " "), getattr(a, place), getattr(b, place), **{place: getattr(b, place)})
    if a.learning_rate != b.learning_rate:
        differs("learning rate", f"{a.learning_rate:g}", f"{b.learning_rate:g}", learning_rate=b.learning_rate)
    return found


def predicted(
    model: Inspection,
    x: Float[np.ndarray, "N p"],
    y: Float[np.ndarray, "N q"] | None,
    epochs: int,
    steps_per_epoch: int,
) -> Float[np.ndarray, " E"]:
    """The loss of every epoch, in the model's own loss: exact for linear layers and the full batch, linearised at the
    start with activations; docs/deep.md (D6), (D14).
    """
    # The factor of the loss acts on the gradient as the learning rate does.
    hyper = jnp.asarray(model.learning_rate * model.loss_factor)
    if model.hidden_activation == model.activation == "linear":
        losses = _on_moments(model, hyper, x, y, epochs, steps_per_epoch)
    else:
        losses = _linearised(model, hyper, x, x if y is None else y, epochs, steps_per_epoch)
    return model.loss_factor * losses


def _on_moments(
    model: Inspection, rate: Array, x: np.ndarray, y: np.ndarray | None, epochs: int, every: int
) -> np.ndarray:
    moments = moments_of(x, y)
    best, n, q = quadratic.optimum(moments), moments.inputs + 1, moments.outputs
    numbers = (moments.covariance_xx, moments.mean_x, np.ones(()), best.stacked, np.full(q, 1 / q))
    nothing = stepped.Watched(jnp.zeros((0, n, n)), jnp.zeros((0, q)), jnp.zeros((0, n, q)))
    rule = _rule(model.bias)
    state = stepped.begin(rule, rate, parameters_of(model.layers))
    problem = LinearLayers(stepped.LinearLayer(*map(jnp.asarray, numbers)), (), nothing)
    _, losses, _ = stepped.follow(rule, rate, problem, state, epochs, every)
    return np.asarray(losses) + float(quadratic.project(moments, best, np.eye(n)).residual.mean())


def _linearised(
    model: Inspection, rate: Array, x: np.ndarray, target: np.ndarray, epochs: int, every: int
) -> np.ndarray:
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, model.layers))

    def outputs(weights: Array) -> Array:
        return forward(unravel(weights), model.hidden_activation, model.activation, jnp.asarray(x)).ravel()

    moving = ravel_pytree(
        tuple(Weights(np.ones_like(kernel), np.full_like(bias, model.bias)) for kernel, bias in model.layers)
    )[0]
    jacobian = np.asarray(jax.jacfwd(outputs)(flat) * moving)
    residual = np.asarray(outputs(flat)) - target.ravel()
    form = tangent.form_of(jacobian[None], residual[None], np.full((1, target.size), 1 / target.size))
    rule, start = _rule(True), np.asarray(flat)[None]
    problem = tangent.Linearised(form, (), start)
    _, losses, _ = stepped.follow(rule, rate, problem, stepped.begin(rule, rate, start), epochs, every)
    return np.asarray(losses)


@functools.cache
def _rule(bias: bool) -> stepped.OptimizerFactory:
    """Plain sgd of a rate, that leaves biases alone where there are none."""

    def rule(rate: Array) -> Transformation:
        plain = sgd(rate)

        def update(gradient: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            if not bias:
                gradient = tuple(layer | {"bias": jnp.zeros_like(layer["bias"])} for layer in gradient)
            return plain.update(gradient, state, params)

        return plain._replace(update=update)

    return rule
