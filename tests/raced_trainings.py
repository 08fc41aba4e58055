"""Healthy trainings on scikit-learn's bundled sets, and the raced rate beside a sweep and optimizers without a rate."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from flax import linen as nn
from sklearn import datasets

from idjax import diagnose_loss
from idjax.diagnosis.cures.race import steps_to

BATCH, SWEPT = 32, 17
OPTIMIZERS: dict[str, tuple[Callable, int]] = {
    "SGD": (optax.sgd, -12), "momentum": (functools.partial(optax.sgd, momentum=0.9), -14), "Adam": (optax.adam, -16),
}  # fmt: skip
"""Of each, what makes it of a rate, and the least power of 2 of the sweep."""


class Training(NamedTuple):
    """A loss of parameters and a batch, its start, rows, and batches by the step."""

    loss: Callable
    params: Any
    rows: tuple[np.ndarray, ...]
    optimizer: Callable
    lowest: int

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Rows of a step."""
        count = len(self.rows[0])
        per = count // BATCH
        order = np.random.default_rng([7, step // per]).permutation(count)
        chosen = order[BATCH * (step % per) : BATCH * (step % per + 1)]
        return tuple(part[chosen] for part in self.rows)


class Mlp(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        for width in (64, 32):
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.outputs)(x)


class Cnn(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        x = x.reshape(-1, 8, 8, 1)
        for width in (8, 16):
            x = nn.relu(nn.Conv(width, (3, 3), strides=2)(x))
        return nn.Dense(self.outputs)(x.reshape(len(x), -1))


class Transformer(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(16)(x.reshape(len(x), 8, -1))
        x = x + self.param("place", nn.initializers.normal(0.1), (8, 16))
        x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x))
        x = x + nn.Dense(16)(nn.gelu(nn.Dense(32)(nn.LayerNorm()(x))))
        return nn.Dense(self.outputs)(nn.LayerNorm()(x).mean(1))


class Lstm(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.outputs)(nn.RNN(nn.OptimizedLSTMCell(16))(x.reshape(len(x), 8, -1))[:, -1])


class Autoencoder(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        code = nn.tanh(nn.Dense(12)(nn.relu(nn.Dense(32)(x))))
        return nn.Dense(self.outputs)(nn.relu(nn.Dense(32)(code)))


def _standard(x: np.ndarray) -> np.ndarray:
    return ((x - x.mean(0)) / np.maximum(x.std(0), 1e-9)).astype(np.float32)


def _made(module: Any, name: str, optimizer: str) -> Training:
    found: Any = getattr(datasets, f"load_{name}")()
    x, y = _standard(found.data), found.target
    if module is Autoencoder:
        y, outputs = x, x.shape[1]
    elif name == "diabetes":
        y, outputs = _standard(y[:, None].astype(float)), 1
    else:
        outputs = int(y.max()) + 1
    model = module(outputs)

    def loss(params, x, y):
        given = model.apply(params, x)
        if jnp.issubdtype(y.dtype, jnp.floating):
            return jnp.mean((given - y) ** 2)
        return optax.softmax_cross_entropy_with_integer_labels(given, y).mean()

    return Training(loss, model.init(jax.random.key(0), x[:2]), (x, y), *OPTIMIZERS[optimizer])


TRAININGS: dict[str, Callable[[], Training]] = {
    f"{module.__name__} on {name}, {optimizer}": functools.partial(_made, module, name, optimizer)
    for module, name in ((Mlp, "digits"), (Mlp, "diabetes"), (Mlp, "wine"), (Cnn, "digits"), (Transformer, "digits"),
                         (Lstm, "digits"), (Autoencoder, "digits"), (Autoencoder, "breast_cancer"))
    for optimizer in OPTIMIZERS
}  # fmt: skip
FREE: dict[str, Callable[[], Any]] = {
    "prodigy": optax.contrib.prodigy,
    "dowg": optax.contrib.dowg,
    "mechanic": lambda: optax.contrib.mechanize(optax.adam(1.0)),
    "momo": optax.contrib.momo_adam,
    "schedule-free": lambda: optax.contrib.schedule_free_adamw(0.0025, warmup_steps=10),
}
"""Optimizers of optax.contrib that are used without choosing a rate, as their documents have them."""


class Compared(NamedTuple):
    """Steps to one loss: of the raced rate, the best of a sweep, and others; what the race took."""

    raced: float
    swept: float
    others: dict[str, float]
    spent: int
    rate: float
    best: float


def compared(made: Training, steps: int = 256, free: bool = True) -> Compared:
    """The raced rate beside a sweep, each for so many steps, and the others for twice as many.

    The loss is the lowest that the sweep has after 3/4 of the steps, or a hundredth of the first.
    """
    found = diagnose_loss(made.loss, made.params, *made.batch(0), optimizer=made.optimizer, batches=made.batch)
    race, shop = found.race, found.workshop
    descents = shop.descents(shop.as_given)
    sweep = descents.advance(descents.start(2.0 ** (made.lowest + np.arange(SWEPT))), steps)
    early = sweep.losses[:, 3 * steps // 4 - 8 : 3 * steps // 4].mean(1)
    level = max(float(np.nanmin(early)), 0.01 * float(sweep.losses[0, 0]))
    each = np.array([steps_to(losses, level) for losses in sweep.losses])
    raced = descents.advance(descents.start([race.rate]), 2 * steps).losses[0]
    others = {}
    if free:
        others = {name: steps_to(_trained(made, make(), 2 * steps), level) for name, make in FREE.items()}
        ranged = _range_test(made)
        others["range test"] = steps_to(descents.advance(descents.start([ranged]), 2 * steps).losses[0], level)
    best = float(sweep.rates[each.argmin()])
    return Compared(steps_to(raced, level), float(each.min()), others, race.spent, race.rate, best)


def _trained(made: Training, optimizer: Any, steps: int) -> np.ndarray:
    """The losses of an optimizer, at the parameters that it is evaluated at."""
    batches = [jnp.stack(parts) for parts in zip(*map(made.batch, range(steps)), strict=True)]
    free = isinstance(optimizer.init(made.params), optax.contrib.ScheduleFreeState)

    @jax.jit
    def run(params, batches):
        def step(carry, batch):
            params, state = carry
            value, slope = jax.value_and_grad(made.loss)(params, *batch)
            shown = made.loss(optax.contrib.schedule_free_eval_params(state, params), *batch) if free else value
            with_value = optax.with_extra_args_support(optimizer)
            updates, state = with_value.update(slope, state, params, value=value)
            return (optax.apply_updates(params, updates), state), shown

        return jax.lax.scan(step, (params, optimizer.init(params)), batches)[1]

    return np.asarray(run(made.params, batches), np.float64)


def _range_test(made: Training, steps: int = 100) -> float:
    """The rate at which the smoothed loss falls most steeply, while it grows through those of the sweep."""
    rates = 2.0 ** np.linspace(made.lowest, made.lowest + SWEPT - 1, steps)
    optimizer = made.optimizer(lambda count: jnp.asarray(rates, jnp.float32)[count])
    losses = _trained(made, optimizer, steps)
    smooth = np.zeros(steps)
    mean = 0.0
    for step, loss in enumerate(losses):
        mean = 0.95 * mean + 0.05 * loss
        smooth[step] = mean / (1 - 0.95 ** (step + 1))
    good = np.flatnonzero(np.isfinite(smooth) & (smooth < 4 * np.minimum.accumulate(np.nan_to_num(smooth, nan=1e9))))
    falls = np.gradient(smooth[good])
    return float(rates[good][5 + falls[5:].argmin()])
