"""Descent of runs that share their rows: shuffles drawn from seeds, compiled updates, losses and weights on the way.

This is the one loop of training: `train`, the proofs of a diagnosis, the variance scan and the simulated runs of a
prediction differ in what they record of it, and in where they stop.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt

from idjax.moments.normalize import Normalizer
from idjax.nn.logistic import base_loss
from idjax.nn.model import precision, to_params
from idjax.nn.sharding import spread
from idjax.nn.starts import start_layers
from idjax.nn.step import Hyper, Plan, evaluate, hyper_for, initial_state, plan_for, train_runs
from idjax.settings import Settings
from idjax.types import Layers, Rows


class EpochLosses(NamedTuple):
    """Losses of k runs over E epochs: of every batch before its update, and of the judged rows at each epoch's end.

    error: what is unexplained, in units of the targets' own (`step.evaluate`).  accuracy: of logits.  NaN where none
    are judged.
    """

    batches: Float[np.ndarray, "k E steps"]
    judged: Float[np.ndarray, "k E"]
    error: Float[np.ndarray, "k E"]
    accuracy: Float[np.ndarray, "k E"]


@runtime_checkable
class Updater(Protocol):
    """How the updates of runs are computed: one by one, or by blocks."""

    def initial(self, plan: Plan, hyper: Hyper, params: dict[str, Any], seeds: list[int]) -> Any:
        """The state of the runs before the first update, every array with a leading axis of runs, as here."""
        ...

    def advance(
        self, prepared: "PreparedData", hyper: Hyper, state: Any, order: jax.Array | None, repeats: int
    ) -> tuple[Any, ...]:
        """State, and the parts of `EpochLosses` after some epochs; order as `Descent` draws it."""
        ...

    def params(self, plan: Plan, state: Any) -> dict[str, Any]:
        """Flax variables with a leading axis of runs."""
        ...


class PreparedData(NamedTuple):
    """Rows, normaliser and plan shared by runs that differ in hyperparameters, start and seed alone.

    training, judged: on the device.  rows: of an epoch.  deviation: of the judged targets, in whose units errors are,
    or the root of their entropy where they are classes; 1 where they do not vary.  reachable: the explained variance
    that the layers can reach on the judged rows.  separable: of classes that a plane tells apart.
    """

    plan: Plan
    fitted: Normalizer
    training: Rows
    judged: Rows | None
    rows: int
    varies: bool
    deviation: jax.Array
    updates: Updater
    reachable: float = 1.0
    separable: bool = False

    @property
    def steps(self) -> int:
        """Updates of an epoch."""
        return -(-self.rows // self.plan.batch_size)

    def epoch_means(self, batches: Float[np.ndarray, "k E steps"]) -> Float[np.ndarray, "k E"]:
        """Means over the epochs of their batch losses, weighted by rows, for the last batch may be short."""
        sizes = np.full(self.steps, self.plan.batch_size, np.float64)
        sizes[-1] = self.rows - sizes[:-1].sum()
        # Not a product: the threads of BLAS, awake for as long as half an epoch, would take a core from the next one.
        return np.einsum("kes,s->ke", batches, sizes) / self.rows


class OneByOne:
    """Updates computed one after the other, runs vectorised."""

    def initial(self, plan: Plan, hyper: Hyper, params: dict[str, Any], seeds: list[int]) -> Any:
        """Parameters, fresh states of the optimizer, and keys of stochastic rounding."""
        return _initial(plan, hyper, params, np.array(seeds, np.uint32))

    def advance(
        self, prepared: PreparedData, hyper: Hyper, state: Any, order: jax.Array | None, repeats: int
    ) -> tuple[Any, ...]:
        """One compiled call of `train_runs`."""
        plan, fitted, training, judged = prepared[:4]
        shared = order is None or order.ndim == 2
        return train_runs(
            plan, hyper, fitted, state, training, judged, order, repeats, prepared.deviation, shared_order=shared
        )

    def params(self, plan: Plan, state: Any) -> dict[str, Any]:
        """The parameters inside the state."""
        return state.params


ONE_BY_ONE = OneByOne()


def target_variance(settings: Settings, target: Float[np.ndarray, "N q"]) -> float:
    """The part of the targets that there is to explain: the mean variance of the targets, or the entropy of classes."""
    if settings.classifies:
        return base_loss(np.asarray(np.mean(target, axis=0, dtype=np.float64)))
    return float(np.mean(np.var(target, axis=0, dtype=np.float64)))


def put_on_device(
    settings: Settings,
    training: Rows,
    fitted: Normalizer,
    judged: Rows | None = None,
    *,
    rows: int | None = None,
    updates: Updater = ONE_BY_ONE,
) -> PreparedData:
    """Rows and the normaliser's statistics on the device, in the dtype of the settings.

    Args:
      judged: rows that are judged at the ends of epochs; the training rows themselves are not copied.
      rows: of an epoch, where the training rows are some of them only.
    """
    dtype = settings.data_dtype
    variance = 0.0 if judged is None else target_variance(settings, judged.target)
    count = rows or len(training.x)
    with precision(settings.dtype):
        on_device = jax.tree.map(lambda part: jnp.asarray(part, dtype), training)
        if judged is not None:
            judged = on_device if judged is training else jax.tree.map(lambda part: jnp.asarray(part, dtype), judged)
        return PreparedData(
            plan=plan_for(settings, autoencoder=training.y is None, outputs=training.target.shape[1], rows=count),
            fitted=jax.tree.map(lambda part: jnp.asarray(part, dtype), fitted),
            training=on_device,
            judged=judged,
            rows=count,
            varies=variance > 0,
            deviation=jnp.asarray(np.sqrt(variance) if variance > 0 else 1.0, dtype),
            updates=updates,
        )


class Shuffle:
    """Row numbers in the order in which updates meet them: every epoch is a permutation of its own.

    Where fewer rows are held than an epoch has, an epoch goes through them again, in another order. Where a permutation
    goes on, so do parts of an epoch that are told as epochs.
    """

    def __init__(self, draws: np.random.Generator, rows: int, held: int, *, goes_on: bool = False):
        self._draws, self._rows, self._held, self._goes_on = draws, rows, held, goes_on
        self._left, self._drawn = rows, np.zeros(0, int)

    def take(self, count: int) -> Int[np.ndarray, " count"]:
        """The next row numbers, of one epoch."""
        while len(self._drawn) < count:
            self._drawn = np.concatenate([self._drawn, self._draws.permutation(self._held)])
        taken, self._drawn = self._drawn[:count], self._drawn[count:]
        self._left -= count
        if self._left == 0:
            self._left, self._drawn = self._rows, self._drawn if self._goes_on else self._drawn[:0]
        return taken

    def epochs(self, count: int) -> Int[np.ndarray, "count rows"]:
        """The row numbers of whole epochs."""
        return np.stack([self.take(self._rows) for _ in range(count)])


class Descent:
    """Runs that go down together: their hyperparameters and states on the device, and their shuffles."""

    def __init__(
        self,
        prepared: PreparedData,
        settings: Sequence[Settings],
        starts: Sequence[Layers] | None = None,
        shuffles: Sequence[Shuffle] | None = None,
    ):
        plan, updates = prepared.plan, prepared.updates
        sizes = (prepared.training.x.shape[1], *plan.widths, plan.outputs)
        if shuffles is None:
            drawn = {each.seed: np.random.default_rng([each.seed, 1]) for each in settings}
            held = len(prepared.training.x)
            of_seed = {seed: Shuffle(draws, prepared.rows, held) for seed, draws in drawn.items()}
            shuffles = [of_seed[each.seed] for each in settings]
        self._prepared, self._shuffles = prepared, list(shuffles)
        with precision(plan.dtype):
            starts = starts or [start_layers(each.start, sizes, each.seed) for each in settings]
            hyper = _stacked([hyper_for(each) for each in settings])
            params = _stacked([to_params(start, plan.dtype) for start in starts])
            state = updates.initial(plan, hyper, params, [each.seed for each in settings])
            self._hyper, self.state = spread((hyper, state), len(settings))

    def resume(self, epochs: int, state: Any) -> None:
        """Goes on from a state that was kept after so many epochs."""
        self.state = state
        for shuffle in dict.fromkeys(self._shuffles) if self._prepared.steps > 1 else ():
            for _ in range(epochs):
                shuffle.epochs(1)

    def keep(self, chosen: Sequence[int]) -> None:
        """Keeps only these runs, in this order; one may be there twice."""
        with precision(self._prepared.plan.dtype):
            kept = jax.tree.map(lambda leaf: leaf[np.array(chosen)], (self._hyper, self.state))
            self._hyper, self.state = spread(kept, len(chosen))
        self._shuffles = [self._shuffles[run] for run in chosen]

    def epochs(self, count: int, *, judged: bool = True) -> EpochLosses:
        """Goes through whole epochs in one compiled call; judged rows cost nothing where they are not asked for."""
        if self._prepared.steps == 1:
            return self._advance([], count, judged)
        return self._advance([shuffle.epochs(count) for shuffle in dict.fromkeys(self._shuffles)], count, judged)

    def part(self, rows: int) -> EpochLosses:
        """Goes on within an epoch, over so many of its rows, unjudged: whole batches, or the last one alone."""
        return self._advance([shuffle.take(rows)[None] for shuffle in dict.fromkeys(self._shuffles)], 1, judged=False)

    def unexplained(self) -> Float[np.ndarray, " k"]:
        """`EpochLosses.error` now: a program of its own, so that parts of every length are compiled once, unjudged."""
        prepared = self._prepared
        with precision(prepared.plan.dtype):
            params = prepared.updates.params(prepared.plan, self.state)
            found = _unexplained(
                prepared.plan, self._hyper, prepared.fitted, params, prepared.judged, prepared.deviation
            )
            return np.asarray(found, np.float64)

    def params(self) -> list[dict[str, Any]]:
        """Flax variables of every run, on the host."""
        with precision(self._prepared.plan.dtype):
            params = jax.device_get(self._prepared.updates.params(self._prepared.plan, self.state))
            return [jax.tree.map(operator.itemgetter(run), params) for run in range(len(self._shuffles))]

    def _advance(self, drawn: Sequence[Int[np.ndarray, "E n"]], repeats: int, judged: bool) -> EpochLosses:
        prepared = self._prepared if judged else self._prepared._replace(judged=None)
        with precision(prepared.plan.dtype):
            if len(drawn) > 1:
                of_shuffle = dict(zip(dict.fromkeys(self._shuffles), drawn, strict=True))
                order = jnp.asarray(np.stack([of_shuffle[shuffle] for shuffle in self._shuffles]), jnp.int32)
            else:
                order = jnp.asarray(drawn[0], jnp.int32) if drawn else None
            self.state, *losses = prepared.updates.advance(prepared, self._hyper, self.state, order, repeats)
            return EpochLosses(*(np.asarray(part, np.float64) for part in losses))


@functools.partial(jax.jit, static_argnames="plan")
def _unexplained(
    plan: Plan, hyper: Hyper, fitted: Normalizer, params: dict[str, Any], rows: Rows, deviation: Float[Array, ""]
) -> Float[Array, " k"]:
    return jax.vmap(lambda *run: evaluate(plan, run[0], fitted, run[1], rows, deviation)[1])(hyper, params)


def _stacked(trees: Sequence[Any]) -> Any:
    """Trees of runs as one, on the device: stacked on the host, where no shape is compiled for."""
    return jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *trees)


@functools.partial(jax.jit, static_argnames="plan")  # one small program in place of dozens
def _initial(plan: Plan, hyper: Hyper, params: dict[str, Any], seeds: UInt[Array | np.ndarray, " k"]) -> Any:
    return jax.vmap(functools.partial(initial_state, plan))(hyper, params, seeds)
