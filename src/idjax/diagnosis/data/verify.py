"""A prediction proven: training a few steps at a time, and looking at the explained variance after each few."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idjax.data import Dataset
from idjax.moments.moments import Moments
from idjax.moments.normalize import fit
from idjax.nn.learned import crossing
from idjax.nn.model import start_weights, to_params
from idjax.nn.rounding import State
from idjax.nn.step import Rows, hyper_for, initial_state, plan_for, train_epochs
from idjax.results.diagnosis import Proof
from idjax.settings import Settings
from idjax.types import OnProgress, Progress, silent

LOOKS = 200
"""Times that the explained variance is looked at, on a scale of steps that grows."""
JUDGED_ROWS = 20_000
"""Rows, evenly spaced, that it is judged on."""


def prove(
    dataset: Dataset,
    moments: Moments,
    settings: Settings,
    rows: int,
    budget: float,
    level: float,
    progress: OnProgress = silent,
) -> Proof:
    """Trains until the explained variance reaches the level or the budget is spent.

    Args:
      dataset: the rows to train on: all, or evenly spaced ones of data that do not fit in memory.
      moments: of all rows, for the normaliser.
      rows: in an epoch; steps make epochs of these, however many rows are in memory.
      budget: epochs.

    Returns:
      Epochs to the level, between looks by the decay of what is unexplained; inf if it was not reached.
    """
    steps_per_epoch = -(-rows // settings.batch_size)
    last = max(1, math.ceil(budget * steps_per_epoch))
    looks = np.unique(np.round(np.geomspace(1, last, min(LOOKS, last))).astype(int))
    with jax.enable_x64(settings.dtype == "float64"):
        explained = _train(dataset, moments, settings, looks, level, steps_per_epoch, progress)
    epochs = looks[: len(explained)] / steps_per_epoch
    step = crossing(looks[: len(explained)].astype(np.float64), 1 - explained, 1 - level)
    # Between looks that are a step apart there is none.
    found = float(np.ceil(step)) if np.isin(np.ceil(step) - [0, 1], looks).all() else step
    return Proof(found / steps_per_epoch, float(explained[-1]), epochs, explained)


def _train(
    dataset: Dataset,
    moments: Moments,
    settings: Settings,
    looks: np.ndarray,
    level: float,
    steps_per_epoch: int,
    progress: OnProgress,
) -> Float[np.ndarray, " t"]:
    x, y = dataset.x, dataset.y
    outputs = dataset.target.shape[1]
    plan = plan_for(settings, autoencoder=y is None, outputs=outputs, rows=len(x))
    hyper = hyper_for(settings)
    fitted = jax.tree.map(lambda a: jnp.asarray(a, settings.data_dtype), fit(settings.normalize, moments))
    start = start_weights(settings.start, x.shape[1], outputs, settings.seed)
    state = initial_state(plan, hyper, to_params(start, settings.dtype), settings.seed)
    training = Rows(jnp.asarray(x), None if y is None else jnp.asarray(y))
    some = slice(None, None, -(-len(x) // JUDGED_ROWS))
    judged = Rows(training.x[some], None if y is None else training.y[some])
    variance = float(np.mean(np.var(dataset.target[some], axis=0, dtype=np.float64)))
    scale = jnp.asarray(np.sqrt(variance) if variance > 0 else 1.0, settings.data_dtype)
    orders = _Orders(len(x), settings.seed)
    batch = min(settings.batch_size, len(x))

    def advance(state: State, count: int, look: bool) -> tuple[State, float, float]:
        order = jnp.asarray(orders.take(count * batch)[None], jnp.int32)
        state, losses, _, error = train_epochs(
            plan, hyper, fitted, state, training, judged if look else None, order, deviation=scale
        )
        return state, float(losses[-1, -1]), 1 - float(error[-1])

    explained: list[float] = []
    done = 0
    for look in map(int, looks):
        loss = value = math.nan
        while done < look:
            # Few lengths, for each is compiled: powers of two.
            count = 1 << int(math.log2(min(look - done, max(1, orders.left // batch))))
            state, loss, value = advance(state, count, done + count == look)
            done += count
        explained.append(value)
        progress(Progress(done, int(looks[-1]), f"explained variance {value:.4g}"))
        if value >= level or not math.isfinite(value) or not math.isfinite(loss):
            break
    return np.array(explained)


class _Orders:
    """Row numbers of one shuffled epoch after another; what does not fill a batch at the end of one is left out."""

    def __init__(self, rows: int, seed: int):
        self._rows, self._draws = rows, np.random.default_rng([seed, 1])
        self._order = self._draws.permutation(rows)

    @property
    def left(self) -> int:
        """Row numbers left in this epoch."""
        return len(self._order)

    def take(self, count: int) -> np.ndarray:
        """The next row numbers; a new epoch if this one has not so many."""
        if count > len(self._order):
            self._order = self._draws.permutation(self._rows)
        taken, self._order = self._order[:count], self._order[count:]
        return taken
