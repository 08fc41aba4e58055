"""Gradient flow of softmax regression on a logarithmic clock: what all small learning rates have in common.

With s = η t/(1 - β) every rate that is small enough follows dW/ds = C - E[u p(W)ᵀ]. Its fast axes make it stiff:
L = Λ/2, which bounds the curvature (P3), is integrated exactly and the rest to second order, so that the steps in s may
grow with s however large λ₁ s is, and any time costs a few hundred gradients. docs/probes.md (P6).
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from idjax.prediction.probe.race import LabelledRows

GROWTH = 1.1
"""Of s from one look to the next."""
LOOKS = 16
MOST = 1e14
"""λ₁ s beyond which the flow is not followed."""


def flow_to(
    training: LabelledRows, judged: LabelledRows, classes: int, target: float, growth: float = GROWTH
) -> tuple[float, Float[np.ndarray, "r k"]]:
    """s at which the flow from zero weights reaches the accuracy, inf if it never does, and the weights then."""
    training = LabelledRows(jnp.asarray(training.a, jnp.float32), jnp.asarray(training.labels, jnp.int32))
    judged = LabelledRows(jnp.asarray(judged.a, jnp.float32), jnp.asarray(judged.labels, jnp.int32))
    curvature = jnp.mean(training.a**2, axis=0) / 2
    largest = 2 * float(jnp.max(curvature))
    weights = jnp.zeros((training.a.shape[1], classes), jnp.float32)
    clock, before = 0.0, (0.0, 0.0)
    while clock < MOST / largest:
        # The first steps are even, the later ones grow with the clock.
        ends = [clock]
        for _ in range(LOOKS):
            ends.append(max(ends[-1] * growth, ends[-1] + 0.1 / largest))
        weights, accuracies = _follow(weights, training, judged, curvature, jnp.asarray(np.diff(ends), jnp.float32))
        for end, accuracy in zip(ends[1:], np.asarray(accuracies, np.float64).tolist(), strict=True):
            if accuracy >= target:
                share = (target - before[1]) / (accuracy - before[1])
                return before[0] + share * (end - before[0]), np.asarray(weights)
            before = end, accuracy
        clock = ends[-1]
    return math.inf, np.asarray(weights)


@functools.partial(jax.jit, donate_argnames="weights")
def _follow(
    weights: Float[Array, "r k"],
    training: LabelledRows,
    judged: LabelledRows,
    curvature: Float[Array, " r"],
    steps: Float[Array, " looks"],
) -> tuple[Float[Array, "r k"], Float[Array, " looks"]]:
    codes = jax.nn.one_hot(training.labels, weights.shape[1])

    def pull(weights: Array) -> Array:
        return training.a.T @ (codes - jax.nn.softmax(training.a @ weights)) / len(codes)

    def step(weights: Array, size: Array) -> tuple[Array, Array]:
        """ETD2RK (Cox and Matthews 2002) with the linear part -L."""
        decay = (-curvature * size)[:, None]
        first = jnp.where(decay < -1e-3, jnp.expm1(decay) / decay, 1 + decay / 2)
        second = jnp.where(decay < -1e-1, (jnp.expm1(decay) - decay) / decay**2, 0.5 + decay / 6 + decay**2 / 24)
        force = pull(weights)
        guess = weights + size * first * force
        change = pull(guess) - force + curvature[:, None] * (guess - weights)
        weights = guess + size * second * change
        return weights, jnp.mean(jnp.argmax(judged.a @ weights, axis=1) == judged.labels)

    return jax.lax.scan(step, weights, steps)
