"""Data + Settings → Curve, by training: draws the shuffles, calls the compiled epochs, keeps the record."""

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idjax.data import Dataset, as_dataset, training_rows
from idjax.model import from_params, layers_of, start_layers, to_params
from idjax.moments import measure, moments_of
from idjax.normalize import fit
from idjax.settings import Settings, check
from idjax.steps import Rows, hyper_for, initial_state, plan_for, shape_correlation, train_epochs
from idjax.theory.learned import explained_variance
from idjax.types import Curve

ROWS_PER_CALL = 200_000
"""A compiled call trains at least about this many rows, so that small data do not drown in calls."""

ROUNDING = {
    "nearest": "",
    "stochastic": ", updates rounded stochastically",
    "master": ", updates added to a float32 copy of the weights",
}


class Progress(NamedTuple):
    """One epoch's news, as `on_epoch` hears it; times in seconds."""

    epoch: int
    epochs: int
    steps: int
    train: float
    validation: float
    explained_variance: float
    seconds: float
    seconds_left: float


def train(
    data: Dataset | Float[np.ndarray, "N p"],
    settings: Settings | None = None,
    *,
    y: Float[np.ndarray, "N q"] | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
) -> Curve:
    """Trains the layers as Keras would, and returns what happened.

    Args:
      data: rows, as an array or a `Dataset`; y is the target if it is not x itself.
      settings: of the run, as `predict` takes them.
      on_epoch: called after every epoch.

    Returns:
      The measured curve. After a loss that is not finite, training stops and the rest is NaN.

    Raises:
      IdjaxError: bad settings or data.
    """
    begin = time.perf_counter()
    settings = check(settings or Settings())
    dataset = as_dataset(data, y, settings.data_dtype)
    rows = training_rows(len(dataset.x), settings.validation_split, settings.batch_size)
    with jax.enable_x64(settings.dtype == "float64"):
        curve = _train(dataset, rows, settings, on_epoch or (lambda _: None))
    return dataclasses.replace(curve, seconds=time.perf_counter() - begin)


def _train(dataset: Dataset, rows: int, settings: Settings, on_epoch: Callable[[Progress], None]) -> Curve:
    x, y = dataset.x, dataset.y
    autoencoder = y is None
    outputs = dataset.target.shape[1]
    plan = plan_for(settings, autoencoder=autoencoder, outputs=outputs, rows=rows)
    hyper = hyper_for(settings)
    known = x[:rows], None if y is None else y[:rows]
    # Axes of like variance turn with the last bit of the moments: `predict` and this need the same.
    raw = measure(*known).raw if settings.normalize in ("pca", "zca") else moments_of(*known)
    fitted = jax.tree.map(lambda a: jnp.asarray(a, settings.data_dtype), fit(settings.normalize, raw))
    start = start_layers(settings.start, (x.shape[1], *settings.widths, outputs), settings.seed)
    state = initial_state(plan, hyper, to_params(start, settings.dtype), settings.seed)

    def on_device(part: slice) -> Rows:
        return Rows(jnp.asarray(x[part]), None if y is None else jnp.asarray(y[part]))

    training = on_device(slice(0, rows))
    held_out = rows < len(x)
    judged = on_device(slice(rows, None)) if held_out else training
    judged_y = dataset.target[rows:] if held_out else dataset.target
    variance = float(np.mean(np.var(judged_y, axis=0, dtype=np.float64)))
    # The explained variance is that of errors in units of the targets' deviation; constant targets have none.
    deviation = np.sqrt(variance) if variance > 0 else 1.0

    steps = -(-rows // settings.batch_size)
    sizes = np.full(steps, settings.batch_size, np.float64)
    sizes[-1] = rows - (steps - 1) * settings.batch_size
    shuffle = np.random.default_rng([settings.seed, 1])
    per_call = _epochs_per_call(settings.epochs, rows)
    record = np.full((3, settings.epochs), np.nan)
    begin = time.perf_counter()
    scale = jnp.asarray(deviation, settings.data_dtype)
    done = 0
    while done < settings.epochs:
        count = min(per_call, settings.epochs - done)
        call_begin = time.perf_counter()
        order = None
        if steps > 1:
            order = jnp.asarray(np.stack([shuffle.permutation(rows) for _ in range(count)]), jnp.int32)
        state, batch_losses, validation_loss, error = train_epochs(
            plan, hyper, fitted, state, training, judged, order, repeats=count, deviation=scale
        )
        batch_losses = np.asarray(batch_losses, np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # a loss that is not finite is an answer too
            record[0, done : done + count] = batch_losses @ sizes / rows
        record[1, done : done + count] = np.asarray(validation_loss) if held_out else np.nan
        record[2, done : done + count] = explained_variance(np.asarray(error, np.float64), float(variance > 0))
        now = time.perf_counter()
        for index in range(done, done + count):
            left = (now - begin) / (done + count) * (settings.epochs - done - count)
            train_loss, validation, explained = map(float, record[:, index])
            on_epoch(
                Progress(
                    epoch=index + 1,
                    epochs=settings.epochs,
                    steps=steps,
                    train=train_loss,
                    validation=validation,
                    explained_variance=explained,
                    seconds=(now - call_begin) / count,
                    seconds_left=left,
                )
            )
        done += count
        if not np.isfinite(record[0, done - 1]):
            break
    return Curve(
        epoch=np.arange(1, settings.epochs + 1),
        train=record[0],
        validation=record[1],
        explained_variance=record[2],
        shape_correlation=float(shape_correlation(plan, fitted, state.params, judged)),
        steps_per_epoch=steps,
        steps_to_learn=_steps_to_learn(record[2], steps, settings.learned_at),
        weights=from_params(state.params, settings.hidden_activation),
        layers=layers_of(state.params) if settings.widths else (),
        how=f"trained in {settings.dtype}" + ROUNDING[settings.rounding],
        seconds=0.0,
    )


def _epochs_per_call(epochs: int, rows: int) -> int:
    """Epochs of one compiled call: enough rows to be worth a call, and if it can be a divisor of all epochs."""
    most = min(epochs, max(1, ROWS_PER_CALL // rows))
    divisors = [n for n in range(most, max(most // 2, 1) - 1, -1) if epochs % n == 0]
    return divisors[0] if divisors else most


def _steps_to_learn(explained: np.ndarray, steps_per_epoch: int, level: float) -> float:
    """Steps until the level, between epoch ends by the decay of log(1 - EV); inf if it is not reached."""
    reached = np.flatnonzero(explained >= level)
    if not len(reached):
        return float("inf")
    index = int(reached[0])
    if index == 0 or explained[index] >= 1:
        return float((index + 1) * steps_per_epoch)
    before, after = np.log(1 - explained[index - 1]), np.log(1 - explained[index])
    share = (before - np.log(1 - level)) / (before - after)
    return float((index + share) * steps_per_epoch)
