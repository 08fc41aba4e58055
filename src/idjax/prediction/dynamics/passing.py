"""How much of a step of descent the rounding of a run lets pass, by its settings; docs/theory.md, section 14."""

import numpy as np
from jaxtyping import Float

from idjax.settings import Settings
from idjax.theory import finite_precision


def share_passed(
    settings: Settings,
    weights: Float[np.ndarray, "t n q"],
    updates: Float[np.ndarray, "t n q"],
    noise: Float[np.ndarray, "t n q"],
) -> Float[np.ndarray, " t"]:
    """The share of the descent that rounding lets pass, of the weights and of float16 gradients.

    Rounded stochastically every update passes in the mean; to a float32 copy what float32 lets pass.
    """
    dtype = {"nearest": settings.dtype, "master": "float32", "stochastic": "float64"}[settings.rounding]
    held = 1.0
    if settings.dtype == "float16":
        rate = settings.step_size
        held = finite_precision.gradients_held(updates / rate, noise / rate, settings.loss_scale)
    return finite_precision.descent_passed(weights, updates, noise, dtype, held)
