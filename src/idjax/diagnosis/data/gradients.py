"""Gradients at the start as float16 holds them: the share that vanishes, overflow, and the loss scale for them."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.data.counterfactual import FULL
from idjax.diagnosis.data.network_program import network_loss
from idjax.theory.finite_precision import LARGEST, SMALLEST, TINIEST

BATCHES = 16
"""Batches of the sample that are looked at."""
ROOM = (2.0**-4, 2.0**-9, 2.0**-14)
"""Shares of the largest number of float16 that the largest gradient at the start is given: some grow on the way."""
MOST = 0.1
"""Share of the gradients that are too small for float16 where it suffers from that."""


class StoredGradients(NamedTuple):
    """Of the gradients of the first batches that are not 0 in float32, times the loss scale: the largest, the share
    that float16 makes 0, and that of those that lose digits; and the scales that they ask for, powers of 2.
    """

    largest: float
    vanished: float
    worn: float
    scales: tuple[float, ...]

    @property
    def suffer(self) -> bool:
        """Whether float16 does not hold them at the start."""
        return self.largest > LARGEST or self.worn >= MOST

    @property
    def in_words(self) -> str:
        """Their trouble in float16, where a scale cures it."""
        if self.largest > LARGEST:
            return f"gradients of {self.largest:.2g} overflow float16"
        if self.vanished >= MOST:
            return f"{self.vanished:.0%} of the gradients are 0 in float16"
        if self.worn >= MOST:
            return f"{self.worn:.0%} of the gradients lose digits in float16"
        return "gradients vanish in float16 as they shrink"

    @property
    def evidence(self) -> dict[str, float]:
        """The numbers, as a finding has them."""
        return {
            "largest gradient at the start, times the loss scale": self.largest,
            "share of gradients that are 0 in float16": self.vanished,
            "share of gradients below 6.1e-5": self.worn,
        }


def gradients_of(context: Context) -> StoredGradients | None:
    """The gradients of the first batches of the sample in float32; None if all are 0."""
    settings, x, y = context.changed(FULL), context.sample.x, context.sample.target
    loss, params = network_loss(context, settings)

    @jax.jit
    def sizes(x: jax.Array, y: jax.Array) -> jax.Array:
        gradient = jax.grad(loss)(params, x, y)
        return jnp.abs(jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)]))

    size = min(settings.batch_size, len(x))
    begins = range(0, min(len(x) - size + 1, BATCHES * size), size)
    each = [sizes(*(jnp.asarray(part[at : at + size], "float32") for part in (x, y))) for at in begins]
    found = np.asarray(jnp.stack(each), np.float64)
    found = found[(found > 0) & np.isfinite(found)]
    if not len(found):
        return None
    scale = context.settings.loss_scale
    return StoredGradients(
        largest=float(found.max()) * scale,
        vanished=float(np.mean(found * scale <= TINIEST / 2)),
        worn=float(np.mean(found * scale < SMALLEST["float16"])),
        scales=tuple(2.0 ** math.floor(math.log2(room * LARGEST / found.max())) for room in ROOM),
    )
