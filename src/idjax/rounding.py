"""Adding an update to weights of few digits: stochastic rounding, which loses nothing on average.

Round-to-nearest drops every update below half a unit in the last place. Rounded up or down at random, with the odds
of what is lost either way, the mean of the sum is exact. See docs/theory.md, section 14. Source: Forsythe 1959;
Gupta, Agrawal, Gopalakrishnan and Narayanan 2015, "Deep learning with limited numerical precision".
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def add_stochastically(weights: Float[Array, "..."], update: Float[Array, "..."], key: Array) -> Float[Array, "..."]:
    """weights + update in the dtype of the weights, bfloat16 or float32, rounded at random without bias.

    The update has more digits than the weights, float32, or is added to float32 weights.
    """
    if weights.dtype == jnp.bfloat16:
        return _to_bfloat16(weights.astype(jnp.float32) + update.astype(jnp.float32), key)
    total = weights + update
    # What the sum has lost, exactly (Knuth's two-sum), and the neighbour on that side.
    virtual = total - weights
    lost = (weights - (total - virtual)) + (update - virtual)
    neighbour = jnp.nextafter(total, jnp.where(lost > 0, jnp.inf, -jnp.inf).astype(total.dtype))
    chance = jnp.abs(lost) / jnp.abs(neighbour - total)
    return jnp.where(jax.random.uniform(key, total.shape) < chance, neighbour, total)


def _to_bfloat16(x: Float[Array, "..."], key: Array) -> Float[Array, "..."]:
    """A float32 rounded to bfloat16, its upper half: random bits below carry into it with the right odds."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    rounded = (bits + noise) & jnp.uint32(0xFFFF0000)
    exact = jax.lax.bitcast_convert_type(rounded, jnp.float32)
    return jnp.where(jnp.isfinite(x), exact, x).astype(jnp.bfloat16)
