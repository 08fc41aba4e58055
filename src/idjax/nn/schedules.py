"""Learning rates that change over a run, as functions of the count of updates made so far."""

from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from idjax.settings import Schedule


def build(
    schedule: Schedule, learning_rate: float | Array, steps_per_epoch: int, epochs: int
) -> Array | Callable[[ArrayLike], Array]:
    """The learning rate at a count t of updates made; the number itself where it does not change.

    With T updates in the run, S in an epoch and w in the warm-up: η t/w while t < w, and from then on η for constant,
    η (1 + cos(π (t - w)/(T - w)))/2 for cosine, η f^((t - w)/S) for exponential. Elementwise: t may be an array.

    Source: Keras 3.15, CosineDecay (Loshchilov and Hutter 2017) and ExponentialDecay.
    """
    if not schedule.changes:
        return jnp.asarray(learning_rate)
    warm = schedule.warmup * steps_per_epoch
    left = max(epochs * steps_per_epoch - warm, 1.0)

    def rate(count: ArrayLike) -> Array:
        # JAX would divide an int32 count in float32: it is cast first.
        t = jnp.asarray(count, jnp.promote_types(jnp.asarray(learning_rate).dtype, jnp.float32))
        after = jnp.maximum(t - warm, 0.0)
        if schedule.kind == "cosine":
            factor = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(after / left, 1.0)))
        elif schedule.kind == "exponential":
            factor = schedule.factor ** (after / steps_per_epoch)
        else:
            factor = jnp.ones_like(t)
        return jnp.asarray(learning_rate) * jnp.where(t < warm, t / max(warm, 1.0), factor)

    return rate
