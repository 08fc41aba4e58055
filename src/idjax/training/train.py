"""Data + Settings → Curve, by training: draws the shuffles, calls the compiled epochs, keeps the record."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idjax.data import Dataset, as_dataset, training_rows
from idjax.moments.moments import measure, moments_of
from idjax.moments.normalize import UNFITTED, Normalizer, fit, unfitted
from idjax.nn.learned import crossing, explained_variance
from idjax.nn.model import from_params, layers_of
from idjax.nn.step import Plan, Rows, plan_for, shape_correlation
from idjax.settings import Settings
from idjax.training.ensemble import Ensemble, goes_in_blocks
from idjax.types import Curve, IdjaxError, Progress, Status

ROWS_PER_CALL = 200_000
"""A compiled call trains at least about this many rows, so that small data do not drown in calls."""

ROUNDING = {
    "nearest": "",
    "stochastic": ", updates rounded stochastically",
    "master": ", updates added to a float32 copy of the weights",
}


class Snapshot(NamedTuple):
    """Runs between two calls: with their settings and data, all that it takes to go on as if nothing had been.

    done: epochs.  state: of weights and optimizer, as the compiled programs have it.  record: of the epochs, (k, 3, E).
    """

    done: int
    state: Any
    record: Float[np.ndarray, "k 3 E"]


@runtime_checkable
class Checkpointer(Protocol):
    """The protocol of what keeps a run between compiled calls, such as `checkpoint.Checkpoints`."""

    def begin(self, like: Snapshot) -> Snapshot:
        """Where the run goes on: `like`, which is its beginning, or one that was kept."""
        ...

    def reached(self, held: Snapshot) -> None:
        """Called after every compiled call but the last."""
        ...


def train(
    data: Dataset | Float[np.ndarray, "N p"],
    settings: Settings | None = None,
    *,
    target: Float[np.ndarray, "N q"] | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
    checkpointer: Checkpointer | None = None,
) -> Curve:
    """Trains the layers as Keras would, and returns what happened.

    Args:
      data: rows, as an array or a `Dataset`; target is what is learned, if it is not data itself.
      settings: of the run, as `predict` takes them.
      on_epoch: called after every epoch.
      checkpointer: keeps the run between compiled calls, so that it can be taken up again.

    Returns:
      The measured curve. After a loss that is not finite, training stops and the rest is NaN.

    Raises:
      IdjaxError: bad settings or data.

    Example:
      >>> x = 1 + np.random.default_rng(0).normal(size=(100, 3))
      >>> curve = train(x, Settings(batch_size=70, learning_rate=0.1, epochs=9))
      >>> curve.train.shape, bool(curve.train[-1] < curve.train[0])
      ((9,), True)
    """
    begin = time.perf_counter()
    settings = settings or Settings()
    dataset = as_dataset(data, target, settings.data_dtype)
    with jax.enable_x64(settings.dtype == "float64"):
        heard = on_epoch or (lambda _: None)
        ground = prepare(dataset, settings)
        [curve] = train_group(ground, [settings], lambda _, progress: heard(progress), checkpointer=checkpointer)
    return dataclasses.replace(curve, seconds=time.perf_counter() - begin)


class PreparedData(NamedTuple):
    """Rows, normaliser and plan shared by runs that differ in hyperparameters, start and seed alone.

    rows: of training.  deviation: of the judged targets, in whose units errors are; 1 where they do not vary.
    """

    plan: Plan
    fitted: Normalizer
    training: Rows
    judged: Rows
    rows: int
    held_out: bool
    varies: bool
    deviation: jax.Array
    in_blocks: bool


def prepare(dataset: Dataset, settings: Settings, runs: int = 1) -> PreparedData:
    """Rows on the device and the statistics of the normaliser, for so many runs; float64 is entered by the caller.

    Raises:
      IdjaxError: if the rows are too few, or a full batch is to be solved in blocks.
    """
    x, y = dataset.x, dataset.y
    rows = training_rows(len(x), settings.validation_split, settings.batch_size)
    if settings.solver == "blocks" and rows == settings.batch_size:
        raise IdjaxError(f"--solver is blocks: a batch of all {rows} rows leaves nothing to solve; use auto or steps")

    def on_device(part: slice) -> Rows:
        return Rows(jnp.asarray(x[part]), None if y is None else jnp.asarray(y[part]))

    training = on_device(slice(0, rows))
    held_out = rows < len(x)
    judged_y = dataset.target[rows:] if held_out else dataset.target
    variance = float(np.mean(np.var(judged_y, axis=0, dtype=np.float64)))
    return PreparedData(
        plan=plan_for(settings, autoencoder=y is None, outputs=dataset.target.shape[1], rows=rows),
        fitted=jax.tree.map(
            lambda a: jnp.asarray(a, settings.data_dtype),
            _fit(settings.normalize, x[:rows], None if y is None else y[:rows]),
        ),
        training=training,
        judged=on_device(slice(rows, None)) if held_out else training,
        rows=rows,
        held_out=held_out,
        varies=variance > 0,
        deviation=jnp.asarray(np.sqrt(variance) if variance > 0 else 1.0, settings.data_dtype),
        in_blocks=goes_in_blocks(settings, rows, x.shape[1] * dataset.target.shape[1], runs),
    )


def _fit(kind: str, x: Float[np.ndarray, "N p"], y: Float[np.ndarray, "N q"] | None) -> Normalizer:
    """The normaliser's statistics of the training rows."""
    if kind in UNFITTED:
        return unfitted(x.shape[1], x.shape[1] if y is None else y.shape[1])
    # Axes of like variance turn with the last bit of the moments: `predict` and this need the same.
    return fit(kind, measure(x, y).raw if kind in ("pca", "zca") else moments_of(x, y))


def train_group(
    ground: PreparedData,
    settings: Sequence[Settings],
    on_epoch: Callable[[int, Progress], None],
    stop_at: float = math.inf,
    checkpointer: Checkpointer | None = None,
) -> list[Curve]:
    """Trains runs on the same ground side by side: of one plan, number of epochs and dtype, and in blocks of one seed.

    A run whose loss is not finite, or whose explained variance has reached stop_at, is trained no further: the rest
    of its curve is NaN. Those that go on move together whenever that halves the program's width or more.

    Args:
      on_epoch: called with the number of the run and its news.
      checkpointer: of a single run.
    """
    plan, epochs, rows = ground.plan, settings[0].epochs, ground.rows
    steps = -(-rows // plan.batch_size)
    sizes = np.full(steps, plan.batch_size, np.float64)
    sizes[-1] = rows - (steps - 1) * plan.batch_size
    shuffles = {each.seed: np.random.default_rng([each.seed, 1]) for each in settings}
    record = np.full((len(settings), 3, epochs), np.nan)
    ends: dict[int, dict] = {}
    columns = _padded(np.arange(len(settings)))
    runs = Ensemble(plan, [settings[run] for run in columns], ground.training.x.shape[1], ground.in_blocks)
    per_call = _epochs_per_call(epochs, rows)
    begin, done = time.perf_counter(), 0
    if checkpointer is not None:
        done, runs.state, record = checkpointer.begin(Snapshot(done, runs.state, record))
        for shuffle in shuffles.values() if steps > 1 else ():
            for _ in range(done):
                shuffle.permutation(rows)
    first = done
    going = list(range(len(settings)))
    while going:
        count = min(per_call, epochs - done)
        call_begin = time.perf_counter()
        seeds = [settings[run].seed for run in columns] if steps > 1 else []
        drawn = {
            seed: np.stack([shuffles[seed].permutation(rows) for _ in range(count)]) for seed in dict.fromkeys(seeds)
        }
        orders = list(drawn.values()) if len(drawn) < 2 else [drawn[seed] for seed in seeds]
        losses, loss, error = runs.advance(
            ground.fitted, ground.training, ground.judged, orders, count, ground.deviation
        )
        with np.errstate(invalid="ignore", over="ignore"):  # a loss that is not finite is an answer too
            news = np.stack([losses @ sizes / rows, loss, explained_variance(error, float(ground.varies))], axis=1)
        if not ground.held_out:
            news[:, 1] = np.nan
        now = time.perf_counter()
        column_of = {int(run): column for column, run in reversed(list(enumerate(columns)))}
        for run in going:
            record[run, :, done : done + count] = news[column_of[run]]
            for index in range(done, done + count):
                left = (now - begin) / (done + count - first) * (epochs - done - count)
                train_loss, validation, explained = map(float, record[run, :, index])
                seconds = (now - call_begin) / count
                on_epoch(
                    run,
                    Progress(index + 1, epochs, "training", steps, train_loss, validation, explained, seconds, left),
                )
        done += count
        still = [
            run
            for run in going
            if done < epochs and np.isfinite(record[run, 0, done - 1]) and not record[run, 2, done - 1] >= stop_at
        ]
        ends |= {run: runs.params(column_of[run]) for run in going if run not in still}
        going = still
        if going and len(kept := _padded(np.array(going))) < len(columns):
            runs.keep(np.array([column_of[run] for run in kept]))
            columns = kept
        if checkpointer is not None and going:
            checkpointer.reached(Snapshot(done, runs.state, record))
    seconds = (time.perf_counter() - begin) / len(settings)
    how = f"trained in {plan.dtype}{ROUNDING[plan.rounding]}" + (", batches solved in blocks" if runs.in_blocks else "")
    return [
        Curve(
            epoch=np.arange(1, epochs + 1),
            train=record[run, 0],
            validation=record[run, 1],
            explained_variance=record[run, 2],
            shape_correlation=float(shape_correlation(plan, ground.fitted, ends[run], ground.judged)),
            steps_per_epoch=steps,
            steps_to_learn=_steps_to_learn(record[run, 2], steps, each.learned_at),
            weights=from_params(ends[run], each.hidden_activation),
            layers=layers_of(ends[run]) if plan.widths else (),
            how=how,
            status=_status(record[run], ends[run]),
            seconds=seconds,
        )
        for run, each in enumerate(settings)
    ]


def _status(record: Float[np.ndarray, "3 E"], params: dict) -> Status:
    """Whether losses or weights have left the range of numbers; epochs after the end of a run are NaN."""
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)) and not np.isinf(record).any()
    return Status.VALID if finite else Status.DIVERGES


def _padded(runs: np.ndarray) -> np.ndarray:
    """The runs, the first of them repeated until their number is a power of two: few programs do for any number."""
    return np.concatenate([runs, np.repeat(runs[:1], 2 ** (len(runs) - 1).bit_length() - len(runs))])


def _epochs_per_call(epochs: int, rows: int) -> int:
    """Epochs of one compiled call: enough rows to be worth a call, and if it can be a divisor of all epochs."""
    most = min(epochs, max(1, ROWS_PER_CALL // rows))
    divisors = [n for n in range(most, max(most // 2, 1) - 1, -1) if epochs % n == 0]
    return divisors[0] if divisors else most


def _steps_to_learn(explained: np.ndarray, steps_per_epoch: int, level: float) -> float:
    """Steps until the level, between epoch ends by the decay of log(1 - EV); inf if it is not reached."""
    steps = np.arange(1.0, len(explained) + 1) * steps_per_epoch
    return crossing(steps, 1 - explained, 1 - level)
