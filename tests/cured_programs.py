"""Programs with a fault that a cure can be built in for, trained as given and cured, and the fall of the curvature."""

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from planted_models import FAULTS, planted_model
from scipy.sparse.linalg import LinearOperator, eigsh

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
from jax.flatten_util import ravel_pytree
from programs import PLANTED

from idjax import diagnose_loss, diagnose_model
from idjax.diagnosis.cures.proving import common_loss, trained
from idjax.diagnosis.cures.race import steps_to

MODELS = ("bytes", "no norm", "offset", "large", "small")
LIBRARIES = ("plain", "nnx", "equinox")


def _model(kind: str, fault: str) -> Any:
    made = planted_model(kind, fault, 0)
    return diagnose_model(made.model, made.params, made.batch, made.loss, made.settings, kwargs=made.kwargs)


def _loss(name: str) -> Any:
    made = PLANTED[name]()
    return diagnose_loss(made.loss, made.params, *made.args, **(made.settings or {}))


WORDS = ("targets of 1e5", "years", "constant start", "start of zeros", "SGD, 1", "Adam, 1")
CURED: dict[str, Callable[[], Any]] = {
    name: lambda name=name: _loss(name)
    for name in PLANTED
    if name.startswith(LIBRARIES) and any(word in name for word in WORDS)
} | {
    f"{kind}: {fault}": lambda kind=kind, fault=fault: _model(kind, fault)
    for kind in ("mlp", "nnx", "normed", "vae", "cnn", "transformer")
    for fault in MODELS
    if kind in FAULTS[fault]
}
"""The diagnosis of each."""


class Trained(NamedTuple):
    """Steps to the lowest loss as given at its best rate, or cured where that is still; falls of curvature."""

    codes: tuple[str, ...]
    given: float
    cured: float
    told: float
    fall: float


def compared(found: Any, steps: int = 384) -> Trained:
    """The program as given, or at the rate that was given where that is the fault, and with all its cures."""
    cured, shop = found.cured, found.workshop
    own = set(cured.codes) <= {"step-too-large", "step-too-small"}
    rate = shop.context.rule.rate if own else shop.factor(shop.raced(shop.as_given).rate)
    before = trained(shop, shop.as_given, rate, steps, -np.inf, lambda _: None)
    runs = [("as given", rate, before)]
    after = trained(shop, cured, shop.factor(cured.learning_rate), steps, common_loss(runs), lambda _: None)
    level = common_loss([*runs, ("cured", cured.learning_rate, after)], ended=True)
    tops = [float(number) for number in re.findall(r"([\d.e+-]+) (?:before|after)", cured.text)[:2]] if not own else []
    told, fall = (tops[0] / tops[1], _top(shop.as_given, shop) / _top(cured, shop)) if tops else (np.nan, np.nan)
    return Trained(cured.codes, steps_to(before, level), steps_to(after, level), told, fall)


def _top(program: Any, shop: Any) -> float:
    """The largest eigenvalue of the Hessian, by ARPACK."""
    flat, unravel = ravel_pytree(program.start)
    loss = program.flat()

    @jax.jit
    def product(vector):
        slope = jax.grad(lambda flat: loss(unravel(flat), shop.context.args))
        return jax.jvp(slope, (flat,), (vector,))[1]

    def times(vector: np.ndarray) -> np.ndarray:
        return np.asarray(product(np.asarray(vector.ravel(), np.float32)), np.float64)

    operator: Any = LinearOperator((flat.size, flat.size), times, dtype=np.float64)
    return float(eigsh(operator, k=1, which="LA", tol=1e-4, return_eigenvectors=False)[0])
