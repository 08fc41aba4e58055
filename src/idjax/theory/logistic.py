"""Softmax and logistic regression at small learning rates: the gradient flow, to second order in the rate.

With s = η (t - lag)/(1 - β) the expected weights of SGD over shuffled epochs follow the flow of the loss with two terms
more: what the length of an update does, (140), and what the noise of batches does, (141). It is integrated by
Runge-Kutta-Chebyshev steps that grow with s, so that any time costs some hundred gradients. docs/theory.md, section 18.
Sources: Barrett and Dherin 2021; Smith, Dherin, Barrett and De 2021; Sommeijer, Shampine and Verwer 1998.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.nn.logistic import shares_and_loss

GROWTH = 0.06
"""Of the clock in one step, once it is long: the loss is within 0.1% then, lines drawn between the steps included."""
FIRST = 0.1
"""Length of the first steps, over 1/curvature."""
DAMPING = 2 / 13
LONGEST = 0.6
"""Length of a step over its stages squared and over 1/curvature: 2/3 is stable, and powers find a little less of it."""
FIRST_POWERS = 30
POWERS = 3
"""Powers that a curvature is found by, from the direction of the one before."""


class LabelledInputs(NamedTuple):
    """Inputs a = [z; 1], and targets: of one logit from 0 to 1, else shares of the classes."""

    a: Float[np.ndarray, "N n"]
    y: Float[np.ndarray, "N q"]


class SmallUpdates(NamedTuple):
    """Updates of a run, as far as the flow knows them.

    stride:  of the clock in one update, η/(1 - β).
    bend:    ε of (140), η (1 + β)/(2 (1 - β)²).
    noise:   ν of (141), which tr F is multiplied by.
    """

    stride: float
    bend: float
    noise: float


class Look(NamedTuple):
    """The flow at one time: the loss, tr F of the gradients of single rows, and a bound of the curvature."""

    clock: float
    weights: Float[np.ndarray, "n q"]
    loss: float
    scatter: float
    curvature: float


def lagged(steps: Float[np.ndarray, " t"], momentum: float) -> Float[np.ndarray, " t"]:
    """Updates as the clock counts them: velocity that starts from rest is β (1 - βᵗ)/(1 - β) of them late.

    Example:
      >>> lagged(np.array([1.0, 2.0]), 0.5).tolist()
      [0.5, 1.25]
    """
    return steps - momentum * (1 - momentum**steps) / (1 - momentum)


def gradients(reach: float) -> float:
    """About the gradients that the flow takes to curvature times clock of this reach."""
    return 200 + 2 / GROWTH * math.sqrt(GROWTH / LONGEST * reach)


def updates_of(rate: float, momentum: float, sizes: Float[np.ndarray, " m"]) -> SmallUpdates:
    """Of epochs that are cut into batches of these sizes, each row in one of them."""
    stride, batches, rows = rate / (1 - momentum), len(sizes), float(np.sum(sizes))
    noise = 0.0
    if batches > 1:
        variance = (np.mean(1 / sizes) - 1 / rows) * rows / (rows - 1)
        noise = stride * variance * np.mean(lagged(np.arange(batches), momentum)) / (batches - 1)
    return SmallUpdates(stride, stride * (1 + momentum) / (2 * (1 - momentum)), float(noise))


def flow(
    rows: LabelledInputs,
    weights: Float[np.ndarray, "n q"],
    updates: SmallUpdates,
    landing: float,
) -> Iterator[Look]:
    """The flow from these weights, for ever; one of its looks is at the clock of the landing."""
    clock, lengths = 0.0, np.sum(rows.a**2, axis=1, keepdims=True)
    direction = np.mean(np.abs(rows.a), axis=0)

    def force(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
        shares, loss = shares_and_loss(rows.a @ weights, rows.y)
        error = shares - rows.y
        gradient = rows.a.T @ error / len(error)
        bent = _bent(shares, (updates.bend - updates.noise) * (rows.a @ gradient) + updates.noise * lengths * error)
        scatter = np.sum(lengths * error**2) / len(error) - np.sum(gradient**2)
        return -gradient - rows.a.T @ bent / len(error), shares, loss, float(scatter)

    while True:
        pull, shares, loss, scatter = force(weights)
        curvature, direction = curvature_bound(rows.a, shares, direction, POWERS if clock else FIRST_POWERS)
        yield Look(clock, weights, loss, scatter, curvature)
        stiff = curvature * (1 + updates.bend * curvature) or 1.0
        step = max(GROWTH * clock, FIRST / stiff)
        if clock < landing:
            step = min(step, landing - clock)
        weights = _chebyshev(lambda weights: force(weights)[0], weights, pull, step, stiff)
        clock = landing if step == landing - clock else clock + step


def curvature_bound(
    a: Float[np.ndarray, "N n"],
    shares: Float[np.ndarray, "N q"],
    direction: Float[np.ndarray, " n"],
    powers: int = FIRST_POWERS,
) -> tuple[float, Float[np.ndarray, " n"]]:
    """The largest eigenvalue of E[s a aᵀ], s at most the largest one of a row's diag(p) - p pᵀ, and its eigenvector.

    By powers from this direction. Of one logit it is the curvature itself.
    """
    each, value = np.max(shares * (1 - shares), axis=1) * min(shares.shape[1], 2), 0.0
    for _ in range(powers):
        direction = a.T @ (each * (a @ direction)) / len(a)
        value = float(np.linalg.norm(direction))
        if value == 0:
            break
        direction = direction / value
    return value, direction


def _bent(shares: Float[np.ndarray, "N q"], logits: Float[np.ndarray, "N q"]) -> Float[np.ndarray, "N q"]:
    """The change of the shares with these changes of the logits."""
    if shares.shape[1] == 1:
        return shares * (1 - shares) * logits
    return shares * (logits - np.sum(shares * logits, axis=1, keepdims=True))


def _chebyshev(force, weights: np.ndarray, pull: np.ndarray, step: float, curvature: float) -> np.ndarray:
    """One step of second order, of as many stages as the curvature asks for."""
    stages = max(2, math.ceil(math.sqrt(1 + step * curvature / LONGEST)))
    first, rest = _stages(stages)
    before, now = weights, weights + first * step * pull
    for mu, nu, slope, start in rest:
        now, before = (
            (1 - mu - nu) * weights + mu * now + nu * before + step * (slope * force(now) + start * pull),
            now,
        )
    return now


@functools.cache
def _stages(count: int) -> tuple[float, tuple[tuple[float, float, float, float], ...]]:
    """The numbers of Sommeijer, Shampine and Verwer (1998), (2.3) to (2.9)."""
    w = 1 + DAMPING / count**2
    values, slopes, bends = [1.0, w], [0.0, 1.0], [0.0, 0.0]
    for _ in range(2, count + 1):
        values.append(2 * w * values[-1] - values[-2])
        slopes.append(2 * values[-2] + 2 * w * slopes[-1] - slopes[-2])
        bends.append(4 * slopes[-2] + 2 * w * bends[-1] - bends[-2])
    b = np.divide(bends, np.square(slopes), out=np.zeros(count + 1), where=np.arange(count + 1) > 1)
    b[:2] = b[2]
    scale = slopes[-1] / bends[-1]
    rest = []
    for j in range(2, count + 1):
        slope = 2 * b[j] * scale / b[j - 1]
        rest.append((2 * b[j] * w / b[j - 1], -b[j] / b[j - 2], slope, -(1 - b[j - 1] * values[j - 1]) * slope))
    return float(b[1] * scale), tuple(rest)
