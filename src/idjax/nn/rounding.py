"""Adding updates to weights of few digits: to nearest, stochastically, or by way of a float32 copy.

Round-to-nearest drops every update below half a unit in the last place. Rounded up or down at random, with the odds
of what is lost either way, the mean of the sum is exact. See docs/theory.md, section 14. Source: Forsythe 1959;
Gupta, Agrawal, Gopalakrishnan and Narayanan 2015, "Deep learning with limited numerical precision"; Micikevicius et
al. 2018 for the copy, "Mixed precision training".
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

IN_WORDS = {
    "nearest": "",
    "stochastic": ", updates rounded stochastically",
    "master": ", updates added to a float32 copy of the weights",
}
"""What is said of each way behind the dtype of the weights."""


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
    if rounding == "nearest":
        return State(params, transformation.init(params))
    exact = cast_tree(params, "float32")
    return State(params, transformation.init(exact), exact if rounding == "master" else jax.random.key(seed))


def apply_gradient(transformation: Transformation, rounding: str, state: State, gradient: Any) -> State:
    """One update. Rounded to nearest, the optimizer works in the dtype of the weights too; else in float32."""
    params, optimizer, exact = state
    if rounding == "nearest":
        updates, optimizer = transformation.update(gradient, optimizer, params)
        return State(_added(params, updates), optimizer)
    # The optimizer works in float32; what becomes of its updates is the question.
    before = exact if rounding == "master" else cast_tree(params, "float32")
    updates, optimizer = transformation.update(cast_tree(gradient, "float32"), optimizer, before)
    if rounding == "master":
        exact = _added(before, updates)
        stored = jax.tree.map(lambda new, old: new.astype(old.dtype), exact, params)
        return State(stored, optimizer, exact)
    key, now = jax.random.split(exact)
    weights, tree = jax.tree.flatten(params)
    keys = jax.random.split(now, len(weights))
    rounded = [add_stochastically(*each) for each in zip(weights, jax.tree.leaves(updates), keys, strict=True)]
    return State(jax.tree.unflatten(tree, rounded), optimizer, key)


def cast_tree(tree: Any, dtype: str) -> Any:
    """The tree with every array in this dtype."""
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def _added(params: Any, updates: Any) -> Any:
    return jax.tree.map(lambda p, u: (p + u).astype(p.dtype), params, updates)


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
