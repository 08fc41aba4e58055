"""Adding updates to weights of few digits: to nearest, stochastically, or by way of a float32 copy.

Round-to-nearest drops every update below half a unit in the last place. Rounded up or down at random, with the odds
of what is lost either way, the mean of the sum is exact. See docs/theory.md, section 14. Source: Forsythe 1959;
Gupta, Agrawal, Gopalakrishnan and Narayanan 2015, "Deep learning with limited numerical precision"; Micikevicius et
al. 2018 for the copy, "Mixed precision training".
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


@runtime_checkable
class Transformation(Protocol):
    """An optimizer, as optax has it in GradientTransformation."""

    def init(self, params: Any, /) -> Any:
        """The state before the first update."""
        ...

    def update(self, updates: Any, state: Any, params: Any = None, /) -> tuple[Any, Any]:
        """The updates for these gradients, and the state after them."""
        ...


class State(NamedTuple):
    """Parameters and optimizer state; `exact` is the float32 copy of the weights, or the key of stochastic rounding."""

    params: Any
    optimizer: Any
    exact: Any = None


def initial_state(transformation: Transformation, params: Any, rounding: str, seed: ArrayLike = 0) -> State:
    """Parameters in the dtype they are stored in, and a fresh optimizer state; seed is that of stochastic rounding."""
    seen = _seen(params, rounding)
    exact = {"nearest": None, "master": seen, "stochastic": jax.random.key(seed)}[rounding]
    return State(params, transformation.init(seen), exact)


def gradient_of(
    loss: Callable[[Any], Array], params: Any, loss_scale: ArrayLike | None = None
) -> tuple[Float[Array, ""], Any]:
    """The loss, and the gradient in the dtype of the parameters: of loss_scale times the loss, if there is one."""
    if loss_scale is None:
        return jax.value_and_grad(loss)(params)

    def scaled(params: Any) -> tuple[Array, Array]:
        value = loss(params)
        return value * loss_scale, value

    gradient, value = jax.grad(scaled, has_aux=True)(params)
    return value, gradient


def apply_gradient(
    transformation: Transformation, rounding: str, state: State, gradient: Any, loss_scale: ArrayLike | None = None
) -> State:
    """One update. Rounded to nearest, the optimizer works in the dtype of the weights too, unless that is float16; else
    in float32, in which the gradient is divided by its loss_scale.
    """
    params, optimizer, exact = state
    before = exact if rounding == "master" else _seen(params, rounding)
    gradient = jax.tree.map(lambda g, seen: g.astype(seen.dtype), gradient, before)
    if loss_scale is not None:
        gradient = jax.tree.map(lambda g: (g / loss_scale).astype(g.dtype), gradient)
    updates, optimizer = transformation.update(gradient, optimizer, before)
    if rounding == "nearest":
        return State(_added(params, updates), optimizer)
    if rounding == "master":
        exact = _added(before, updates)
        stored = jax.tree.map(lambda new, old: new.astype(old.dtype), exact, params)
        return State(stored, optimizer, exact)
    key, now = jax.random.split(exact)
    weights, tree = jax.tree.flatten(params)
    keys = jax.random.split(now, len(weights))
    rounded = [add_stochastically(*each) for each in zip(weights, jax.tree.leaves(updates), keys, strict=True)]
    return State(jax.tree.unflatten(tree, rounded), optimizer, key)


def _seen(params: Any, rounding: str) -> Any:
    """The parameters in the dtype that the optimizer works in."""

    def seen(leaf: Array) -> Array:
        # float16 holds neither an epsilon of 1e-8 nor the square of a gradient of 1e-4.
        return leaf if rounding == "nearest" and leaf.dtype != jnp.float16 else leaf.astype(jnp.float32)

    return jax.tree.map(seen, params)


def _added(params: Any, updates: Any) -> Any:
    return jax.tree.map(lambda p, u: (p + u).astype(p.dtype), params, updates)


def add_stochastically(weights: Float[Array, "..."], update: Float[Array, "..."], key: Array) -> Float[Array, "..."]:
    """weights + update in the dtype of the weights, of 16 bits or float32, rounded at random without bias.

    The update has more digits than the weights, float32, or is added to float32 weights.
    """
    wide = weights.astype(jnp.float32)
    exact = wide + update.astype(jnp.float32)
    if weights.dtype == jnp.bfloat16:
        return _to_bfloat16(exact, key)
    total = exact.astype(weights.dtype)
    # What the sum has lost, exactly (Knuth's two-sum, and what float16 drops), and the neighbour on that side.
    virtual = exact - wide
    lost = (wide - (exact - virtual)) + (update - virtual) + (exact - total)
    neighbour = jnp.nextafter(total, jnp.where(lost > 0, jnp.inf, -jnp.inf).astype(total.dtype))
    chance = jnp.abs(lost) / jnp.abs(neighbour.astype(jnp.float32) - total)
    return jnp.where(jax.random.uniform(key, total.shape) < chance, neighbour, total)


def _to_bfloat16(x: Float[Array, "..."], key: Array) -> Float[Array, "..."]:
    """A float32 rounded to bfloat16, its upper half: random bits below carry into it with the right odds."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    rounded = (bits + noise) & jnp.uint32(0xFFFF0000)
    exact = jax.lax.bitcast_convert_type(rounded, jnp.float32)
    return jnp.where(jnp.isfinite(x), exact, x).astype(jnp.bfloat16)
