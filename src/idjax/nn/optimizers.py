"""Keras 3's optimizers as optax transformations: the same update rules, the same defaults.

An optimizer's name has to mean here what it means in the Keras model that a run is compared with, and optax's
optimizers of the same names differ: in defaults, in where ε sits, in how moments are corrected. Rules that
optax has in the same form are made of optax's pieces; Adam, Adamax and Nadam are written out.

Notation: g gradient, Θ weights, η learning rate, μ momentum, t = 1, 2, ... the update; all elementwise.
The learning rate is a number, or a function of the count of updates made so far (0 at the first update). It
and the other numbers may be traced: a transformation can be built inside a jitted function, and other values
then need no new compilation.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike


class SlotsState(NamedTuple):
    """Updates made so far, and trees of what is remembered for each parameter array."""

    step: jax.Array
    slots: tuple[optax.Params, ...]


def sgd(
    learning_rate: optax.ScalarOrSchedule, *, momentum: ArrayLike | None = None, nesterov: bool = False
) -> optax.GradientTransformation:
    """Gradient descent, with momentum if it is not None.

    v ← μ v - η g,  Θ ← Θ + v;  Nesterov: Θ ← Θ + μ v - η g.

    Source: Sutskever et al. 2013, in the form of Keras 3.15. optax.sgd has η outside v, which is another rule
    when η changes over time.
    """
    return _descent(optax.identity(), learning_rate, momentum, nesterov)


def rmsprop(
    learning_rate: optax.ScalarOrSchedule,
    *,
    rho: ArrayLike = 0.9,
    momentum: ArrayLike | None = None,
    epsilon: ArrayLike = 1e-7,
) -> optax.GradientTransformation:
    """RMSprop: gradients over the root of their running mean square.

    s ← ρ s + (1-ρ) g²,  v ← μ v - η g / √(s + ε),  Θ ← Θ + v.

    Source: Tieleman and Hinton 2012 (lecture 6.5), in the form of Keras 3.15. optax.rmsprop has ε = 1e-8.
    """
    return _descent(optax.scale_by_rms(rho, epsilon, eps_in_sqrt=True), learning_rate, momentum)


def adagrad(
    learning_rate: optax.ScalarOrSchedule,
    *,
    initial_accumulator_value: ArrayLike = 0.1,
    epsilon: ArrayLike = 1e-7,
) -> optax.GradientTransformation:
    """Adagrad: gradients over the root of their sum of squares.

    s ← s + g² from s = 0.1,  Θ ← Θ - η g / √(s + ε).

    Source: Duchi et al. 2011, in the form of Keras 3.15. optax.adagrad is the same, defaults included.
    """
    return _descent(optax.scale_by_rss(initial_accumulator_value, epsilon), learning_rate)


def adadelta(
    learning_rate: optax.ScalarOrSchedule, *, rho: ArrayLike = 0.95, epsilon: ArrayLike = 1e-7
) -> optax.GradientTransformation:
    """Adadelta: steps of the size that recent steps had.

    s ← ρ s + (1-ρ) g²,  d = g √(x + ε) / √(s + ε),  x ← ρ x + (1-ρ) d²,  Θ ← Θ - η d.

    Source: Zeiler 2012 (arXiv:1212.5701), in the form of Keras 3.15. optax.adadelta has ρ = 0.9 and ε = 1e-6.
    """
    return _descent(optax.scale_by_adadelta(rho, epsilon), learning_rate)


def adam(
    learning_rate: optax.ScalarOrSchedule,
    *,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
) -> optax.GradientTransformation:
    """Adam: running mean of the gradients over the root of their running mean square.

    m ← β₁ m + (1-β₁) g,  v ← β₂ v + (1-β₂) g²,  Θ ← Θ - η √(1-β₂ᵗ) / (1-β₁ᵗ) · m / (√v + ε).

    Source: Kingma and Ba 2014 (arXiv:1412.6980), in the form before section 2.1, as Keras 3.15.
    optax.adam has the form of Algorithm 1, which corrects v before it adds ε, and ε = 1e-8.
    """

    return _descent(_adam_direction(beta_1, beta_2, epsilon), learning_rate)


def _adam_direction(beta_1: ArrayLike, beta_2: ArrayLike, epsilon: ArrayLike) -> optax.GradientTransformation:
    def rule(t, g, m, v):
        m, v = _mean(beta_1, m, g), _mean(beta_2, v, g * g)
        correction = jnp.sqrt(1 - _power(beta_2, t)) / (1 - _power(beta_1, t))
        return correction * m / (jnp.sqrt(v) + epsilon), m, v

    return _elementwise(rule, jnp.zeros_like, jnp.zeros_like)


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
    weight_decay: ArrayLike = 0.004,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay w, of kernel and bias: Θ ← Θ - η w Θ - (Adam's step).

    Source: Loshchilov and Hutter 2019 (arXiv:1711.05101), as Keras 3.15. optax.adamw has w = 1e-4 and Algorithm 1's ε.
    """
    decay = optax.add_decayed_weights(jnp.asarray(weight_decay))
    return _descent(optax.chain(_adam_direction(beta_1, beta_2, epsilon), decay), learning_rate)


def adamax(
    learning_rate: optax.ScalarOrSchedule,
    *,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
) -> optax.GradientTransformation:
    """Adamax: Adam with a decaying maximum in place of the root mean square.

    m ← β₁ m + (1-β₁) g,  u ← max(β₂ u, |g|),  Θ ← Θ - η / (1-β₁ᵗ) · m / (u + ε).

    Source: Kingma and Ba 2014 (arXiv:1412.6980), section 7.1, as Keras 3.15. optax.adamax has ε = 1e-8,
    inside the maximum.
    """

    def rule(t, g, m, u):
        m, u = _mean(beta_1, m, g), jnp.maximum(beta_2 * u, jnp.abs(g))
        return m / ((1 - _power(beta_1, t)) * (u + epsilon)), m, u

    return _descent(_elementwise(rule, jnp.zeros_like, jnp.zeros_like), learning_rate)


def nadam(
    learning_rate: optax.ScalarOrSchedule,
    *,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
) -> optax.GradientTransformation:
    """Nadam: Adam with Nesterov momentum that warms up, μ(t) = β₁ (1 - 0.96ᵗ / 2).

    m ← β₁ m + (1-β₁) g,  v ← β₂ v + (1-β₂) g²,  P ← P μ(t) from P = 1,
    d = μ(t+1) m / (1 - P μ(t+1)) + (1-μ(t)) g / (1-P),  Θ ← Θ - η d / (√(v / (1-β₂ᵗ)) + ε).

    Source: Dozat 2015, as Keras 3.15. optax.nadam has a constant μ and ε = 1e-8.
    """

    def rule(t, g, m, v, product):
        now, following = (beta_1 * (1 - 0.5 * _power(0.96, i)) for i in (t, t + 1))
        m, v, product = _mean(beta_1, m, g), _mean(beta_2, v, g * g), product * now
        ahead = following * m / (1 - product * following) + (1 - now) * g / (1 - product)
        return ahead / (jnp.sqrt(v / (1 - _power(beta_2, t))) + epsilon), m, v, product

    def one(parameter):
        return jnp.ones((), parameter.dtype)

    return _descent(_elementwise(rule, jnp.zeros_like, jnp.zeros_like, one), learning_rate)


_OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "adadelta": adadelta,
    "adam": adam,
    "adamw": adamw,
    "adamax": adamax,
    "nadam": nadam,
}


def build(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: ArrayLike | None = None,
    nesterov: bool = False,
    **numbers: ArrayLike,
) -> optax.GradientTransformation:
    """The optimizer of that name; what is not given has Keras's default.

    Args:
      momentum, nesterov: of sgd, and momentum of rmsprop; what the others lack `Settings` has refused.
      numbers: the optimizer's own of `KERAS_NUMBERS`, where beta_2 is ρ of rmsprop and adadelta.
    """
    if name in ("rmsprop", "adadelta") and "beta_2" in numbers:
        numbers["rho"] = numbers.pop("beta_2")
    if name == "sgd":
        return sgd(learning_rate, momentum=momentum, nesterov=nesterov)
    if name == "rmsprop":
        return rmsprop(learning_rate, momentum=momentum, **numbers)
    return _OPTIMIZERS[name](learning_rate, **numbers)


def _descent(
    direction: optax.GradientTransformation,
    learning_rate: optax.ScalarOrSchedule,
    momentum: ArrayLike | None = None,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """The direction times -η, then momentum: in this order η is inside the velocity, as Keras has it."""
    steps = [direction, optax.scale_by_learning_rate(learning_rate)]
    if momentum is not None:
        steps.append(optax.trace(momentum, nesterov))
    chain = optax.chain(*steps)

    def update(updates, state, params=None):
        # A traced number has a dtype of its own, which would widen a narrower state and break a scan's carry.
        new_updates, new_state = chain.update(updates, state, params)
        return _cast_like(new_updates, updates), _cast_like(new_state, state)

    return optax.GradientTransformation(chain.init, update)


def _elementwise(rule: Callable, *starts: Callable) -> optax.GradientTransformation:
    """The transformation `d, *slots = rule(t, g, *slots)` of every array, each slot from its start(array)."""

    def init(params):
        return SlotsState(jnp.zeros((), jnp.int32), tuple(jax.tree.map(start, params) for start in starts))

    def update(updates, state, params=None):
        del params
        step = state.step + 1
        gradients, structure = jax.tree.flatten(updates)
        arrays = zip(gradients, *map(structure.flatten_up_to, state.slots), strict=True)
        results = [rule(step.astype(jnp.promote_types(g.dtype, jnp.float32)), g, *slots) for g, *slots in arrays]
        directions, *slots = map(structure.unflatten, zip(*results, strict=True))
        return directions, SlotsState(step, _cast_like(tuple(slots), state.slots))

    return optax.GradientTransformation(init, update)


def _mean(beta, mean, value):
    """The running mean after one more value."""
    return mean + (value - mean) * (1 - beta)


def _power(base, t):
    # In the dtype of the parameters, as Keras, but float32 at least: in bfloat16 0.999 is 1, and Keras stands still.
    return jnp.asarray(base, t.dtype) ** t


def _cast_like(tree, like):
    return jax.tree.map(lambda x, y: jnp.asarray(x, y.dtype), tree, like)
