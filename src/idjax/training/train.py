"""Data and settings → a measured curve: the descent of `nn.descent`, recorded epoch by epoch."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Shaped

from idjax.data import Dataset, as_dataset, keras_split, notes_on, within
from idjax.moments.moments import measure, moments_of
from idjax.moments.normalize import UNFITTED, Normalizer, fit, unfitted
from idjax.nn.descent import ONE_BY_ONE, Descent, EpochLosses, PreparedData, put_on_device
from idjax.nn.learned import crossing, explained_variance, level
from idjax.nn.logistic import SEPARABLE, least_loss_of
from idjax.nn.model import from_params, layers_of, precision
from idjax.nn.step import shape_correlation
from idjax.results.curve import Curve, Status
from idjax.results.plain import digits
from idjax.settings import Settings
from idjax.theory import quadratic
from idjax.training.block_sgd import InBlocks, goes_in_blocks
from idjax.types import IdjaxError, Progress, Rows, silent

ROWS_PER_CALL = 100_000
"""A compiled call trains about this many rows, so that small data do not drown in calls; an epoch a call is fastest."""


class Snapshot(NamedTuple):
    """State and record of runs between two calls: all that it takes, with settings and data, to go on undisturbed.

    done: epochs.  state: of weights and optimizer, as the compiled programs have it.  record: of the epochs, (k, 4, E).
    """

    done: int
    state: Any
    record: Float[np.ndarray, "k 4 E"]


@runtime_checkable
class Checkpointer(Protocol):
    """The protocol of what keeps a run between compiled calls, such as `checkpoint.CheckpointFolder`."""

    def begin(self, like: Snapshot) -> Snapshot:
        """Where the run goes on: `like`, which is its beginning, or one that was kept."""
        ...

    def reached(self, snapshot: Snapshot) -> None:
        """Called after every compiled call but the last."""
        ...


def train(
    data: Dataset | Shaped[np.ndarray, "N p"],
    settings: Settings | None = None,
    *,
    target: Any = None,
    labels: bool = False,
    on_epoch: Callable[[Progress], None] | None = None,
    checkpointer: Checkpointer | None = None,
) -> Curve:
    """Trains the layers as Keras would, and returns what happened.

    Args:
      data: rows, as an array or a `Dataset`; target is what is learned, if it is not data itself.
      labels: take the target's numbers for class labels, as words always are.
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
    dataset = as_dataset(data, target, settings.data_dtype, labels=labels)
    heard = on_epoch or silent
    rows = keras_split(len(dataset.x), settings.validation_split)
    notes, settings = notes_on(settings, rows, dataset.y), within(settings, rows)
    prepared = prepare(dataset, settings)
    notes += (SEPARABLE,) if prepared.separable else ()
    [curve] = train_group(prepared, [settings], lambda _, event: heard(event), checkpointer=checkpointer)
    return dataclasses.replace(curve, notes=notes, seconds=time.perf_counter() - begin)


def prepare(dataset: Dataset, settings: Settings, runs: int = 1) -> PreparedData:
    """Rows on the device and the statistics of the normaliser, for so many runs.

    Raises:
      IdjaxError: if the rows are too few, or a full batch is to be solved in blocks.
    """
    x, y = dataset.x, dataset.y
    rows = keras_split(len(x), settings.validation_split)
    if settings.solver == "blocks" and rows == settings.batch_size:
        raise IdjaxError(f"solver is blocks: a batch of all {rows} rows leaves nothing to solve; use auto or steps")
    training, held_out = (Rows(x, y).part(part) for part in (slice(rows), slice(rows, None)))
    in_blocks = goes_in_blocks(settings, rows, x.shape[1] * dataset.target.shape[1], runs)
    judged = held_out if rows < len(x) else training
    updates = InBlocks() if in_blocks else ONE_BY_ONE
    prepared = put_on_device(settings, training, _fit(settings.normalize, training), judged, updates=updates)
    reachable, separable = _reachable(settings, training, judged)
    return prepared._replace(reachable=reachable, separable=separable)


def _reachable(settings: Settings, training: Rows, judged: Rows) -> tuple[float, bool]:
    """The explained variance that the run is measured by: that of least squares or of the least cross-entropy, and 1
    for hidden layers; and whether the rows are of classes that are separable.
    """
    if training.y is None or settings.hidden:
        return 1.0, False
    if settings.classifies:
        return least_loss_of(settings.normalize, training, judged)[1:]
    seen = moments_of(*training)
    return quadratic.reachable(seen, seen if judged is training else moments_of(*judged)), False


def _fit(kind: str, rows: Rows) -> Normalizer:
    """The normaliser's statistics of the training rows."""
    if kind in UNFITTED:
        return unfitted(rows.x.shape[1], rows.target.shape[1])
    # Axes of like variance turn with the last bit of the moments: `predict` and this need the same.
    return fit(kind, measure(*rows).raw if kind in ("pca", "zca") else moments_of(*rows))


def train_group(
    prepared: PreparedData,
    settings: Sequence[Settings],
    on_epoch: Callable[[int, Progress], None],
    stop_at: float = math.inf,
    checkpointer: Checkpointer | None = None,
) -> list[Curve]:
    """Trains runs on the same rows side by side: of one plan, number of epochs and dtype, and in blocks of one seed.

    A run whose loss is not finite, or whose explained variance has reached stop_at, is trained no further: the rest
    of its curve is NaN. Those that go on move together whenever that halves the program's width or more.

    Args:
      on_epoch: called with the number of the run and its news.
      checkpointer: of a single run.
    """
    begin, epochs = time.perf_counter(), settings[0].epochs
    columns = _padded(range(len(settings)))
    descent = Descent(prepared, [settings[run] for run in columns])
    snapshot = Snapshot(0, descent.state, np.full((len(settings), 4, epochs), np.nan))
    if checkpointer is not None:
        snapshot = checkpointer.begin(snapshot)
        descent.resume(snapshot.done, snapshot.state)
    first, _, record = snapshot
    done, per_call = first, _epochs_per_call(epochs, prepared.rows)
    going = list(range(len(settings)))
    ends: dict[int, dict] = {}
    while going:
        call_begin, count = time.perf_counter(), min(per_call, epochs - done)
        record[going, :, done : done + count] = _news(prepared, descent.epochs(count))[list(map(columns.index, going))]
        done, now = done + count, time.perf_counter()
        left = (now - begin) / (done - first) * (epochs - done)
        for run in going:
            for event in _events(record[run], done - count, done, prepared.steps, (now - call_begin) / count, left):
                on_epoch(run, event)
        still = [run for run in going if done < epochs and _goes_on(record[run, :, done - 1], stop_at)]
        if len(still) < len(going):
            params = descent.params()
            ends |= {run: params[columns.index(run)] for run in going if run not in still}
        going = still
        if going and len(kept := _padded(going)) < len(columns):
            descent.keep([columns.index(run) for run in kept])
            columns = kept
        if checkpointer is not None and going:
            checkpointer.reached(Snapshot(done, descent.state, record))
    seconds = (time.perf_counter() - begin) / len(settings)
    return [_curve(prepared, each, record[run], ends[run], seconds) for run, each in enumerate(settings)]


def _news(prepared: PreparedData, losses: EpochLosses) -> Float[np.ndarray, "k 4 E"]:
    """Training loss, validation loss, explained variance and accuracy of every run and epoch."""
    with np.errstate(invalid="ignore", over="ignore"):  # a loss that is not finite is an answer too
        explained = explained_variance(losses.error, float(prepared.varies))
        held_out = prepared.judged is not prepared.training
        validation = losses.judged if held_out else np.full_like(losses.judged, np.nan)
        return np.stack([prepared.epoch_means(losses.batches), validation, explained, losses.accuracy], axis=1)


def _events(
    record: Float[np.ndarray, "4 E"], first: int, done: int, steps: int, seconds: float, left: float
) -> Iterator[Progress]:
    """The events of the epochs from `first` to `done`."""
    for index in range(first, done):
        told = map(float, record[:, index])
        yield Progress(index + 1, record.shape[1], "training", steps, *told, seconds=seconds, seconds_left=left)


def _goes_on(news: Float[np.ndarray, " 4"], stop_at: float) -> bool:
    return bool(np.isfinite(news[0]) and not news[2] >= stop_at)


def _curve(
    prepared: PreparedData, settings: Settings, record: Float[np.ndarray, "4 E"], params: dict, seconds: float
) -> Curve:
    """The measured curve of a run."""
    plan, steps = prepared.plan, prepared.steps
    in_blocks = ", batches solved in blocks" if isinstance(prepared.updates, InBlocks) else ""
    with precision(plan.dtype):
        correlation = float(shape_correlation(plan, prepared.fitted, params, prepared.judged or prepared.training))
    return Curve(
        epoch=np.arange(1, record.shape[1] + 1),
        train=record[0],
        validation=record[1],
        explained_variance=record[2],
        accuracy=record[3] if settings.classifies else None,
        shape_correlation=float("nan") if settings.classifies else correlation,
        steps_per_epoch=steps,
        steps_to_learn=_steps_to_learn(record[2], steps, level(settings.learned_at, prepared.reachable)),
        reachable=prepared.reachable,
        known_until=float(steps * record.shape[1]),
        weights=from_params(params, settings.hidden_activation),
        layers=layers_of(params) if plan.widths else (),
        how=f"trained in {digits(settings)}{in_blocks}",
        status=_status(record, params),
        seconds=seconds,
    )


def _status(record: Float[np.ndarray, "4 E"], params: dict) -> Status:
    """Whether losses or weights have left the range of numbers; epochs after the end of a run are NaN."""
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)) and not np.isinf(record).any()
    return Status.VALID if finite else Status.DIVERGES


def _padded(runs: Sequence[int]) -> list[int]:
    """The runs, the first of them repeated until their number is a power of two: few programs do for any number."""
    return [*runs, *[runs[0]] * (2 ** (len(runs) - 1).bit_length() - len(runs))]


def _epochs_per_call(epochs: int, rows: int) -> int:
    """Epochs of one compiled call: enough rows to be worth a call, and if it can be a divisor of all epochs."""
    most = min(epochs, max(1, ROWS_PER_CALL // rows))
    divisors = [n for n in range(most, max(most // 2, 1) - 1, -1) if epochs % n == 0]
    return divisors[0] if divisors else most


def _steps_to_learn(explained: np.ndarray, steps_per_epoch: int, enough: float) -> float:
    """Steps until the level, between epoch ends by the decay of log(1 - EV); inf if it is not reached."""
    steps = np.arange(1.0, len(explained) + 1) * steps_per_epoch
    return crossing(steps, 1 - explained, 1 - enough)
