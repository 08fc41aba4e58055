"""Descents of one program from one start on the same batches, at several rates side by side."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idjax.diagnosis.cures.cured import Flat
from idjax.diagnosis.trace.graph import Graph
from idjax.diagnosis.trace.rule import UpdateRule, stepping
from idjax.diagnosis.trace.traced import Traced
from idjax.types import IdjaxError

STRIDE = 16
"""Steps of a compiled call."""
MOST_TOGETHER, MOST_BYTES = 4, 2**30
"""Descents that are vectorised, and the memory that their values may take: with more, fewer at once."""
MOST_ROWS = 256
"""Rows of a batch, where the loss was given with more and no batches."""


class Batches:
    """The arguments of every step: the user's own, kept so that all descents see the same, or one batch throughout."""

    def __init__(self, traced: Traced, given: Callable[[int], Any] | Iterable[Any] | None):
        self._traced, self._kept = traced, []
        self._next: Callable[[int], Any] | Iterator[Any] | None = (
            given if given is None or callable(given) else iter(given)
        )
        self._shown = range(0, traced.rows, -(-traced.rows // MOST_ROWS) or 1)
        own = f"one batch of {len(self._shown)} rows" if traced.rows else "one batch"
        self.told = own if given is None else "the batches given"

    @functools.cached_property
    def one(self) -> list[Any]:
        """The arguments as given, of many rows some."""
        return (
            self._traced.cut(np.array(self._shown)) if self._shown.step > 1 else jax.device_put(self._traced.given.args)
        )

    @property
    def varied(self) -> bool:
        """Whether steps have batches of their own."""
        return self._next is not None

    def stacked(self, first: int, count: int) -> list[Any]:
        """The batches of some steps, with a leading axis; what has an end begins again after it."""
        return [jnp.stack(parts) for parts in zip(*map(self._of, range(first, first + count)), strict=True)]

    def _of(self, step: int) -> list[Any]:
        if callable(self._next):
            return self._flat(self._next(step))
        while isinstance(self._next, Iterator) and len(self._kept) <= step:
            made = next(self._next, None)
            if made is None:
                break
            self._kept.append(self._flat(made))
        if not self._kept:
            raise IdjaxError("batches: there is none: give an iterator of arguments, or a function of the step")
        return self._kept[step % len(self._kept)]

    def _flat(self, made: Any) -> list[Any]:
        given = self._traced.given
        made = made if isinstance(made, tuple) else (made,)
        return given.again(given.nested(given.params), *made).args


class Descending(NamedTuple):
    """Descents that are under way: the rate of each, its parameters and state of the optimizer, all losses so far."""

    rates: Float[np.ndarray, " k"]
    states: list[Any]
    losses: Float[np.ndarray, "k n"]

    @property
    def steps(self) -> int:
        """Steps made."""
        return self.losses.shape[1]

    def of(self, chosen: list[int]) -> "Descending":
        """Some of them."""
        return Descending(self.rates[chosen], [self.states[run] for run in chosen], self.losses[chosen])


def joined(parts: Iterable[Descending]) -> Descending:
    """Descents that have made as many steps, as one."""
    rates, states, losses = zip(*parts, strict=True)
    return Descending(np.concatenate(rates), [state for each in states for state in each], np.concatenate(losses))


class Descents:
    """A program compiled for some steps of some descents; `spent` counts the steps made."""

    def __init__(
        self, loss: Flat, params: list[Any], rule: UpdateRule, batches: Batches, width: int, judged: Flat | None = None
    ):
        self._loss, self._judged, self._params = loss, judged or loss, params
        self.rule, self.batches, self.spent = rule, batches, 0
        self._width = width
        self._run = jax.jit(self._together)

    def start(self, rates: Iterable[float]) -> Descending:
        """Descents at these rates, before their first step."""
        told = np.asarray(list(rates), np.float64)
        states = [(self._params, self.rule.at(np.float32(rate)).init(self._params)) for rate in told]
        return Descending(told, states, np.zeros((len(told), 0)))

    def advance(self, descending: Descending, steps: int) -> Descending:
        """So many steps later, in whole strides."""
        while descending.steps < steps:
            batches = self.batches
            many = batches.stacked(descending.steps, STRIDE) if batches.varied else None
            count = len(descending.rates)
            groups = [range(count)[first : first + self._width] for first in range(0, count, self._width)]
            descending = joined([self._stride(descending, list(group), many) for group in groups])
            self.spent += STRIDE * count
        return descending

    def _stride(self, descending: Descending, group: list[int], many: list[Any] | None) -> Descending:
        """The next steps of the descents that are compiled together, the last one in place of those that lack."""
        filled = descending.of([*group, *group[-1:] * (self._width - len(group))])
        rates = list(np.asarray(filled.rates, np.float32))
        states, losses = self._run(rates, filled.states, None if many else self.batches.one, many)
        count = len(group)
        losses = np.concatenate([filled.losses, np.asarray(losses, np.float64)], 1)[:count]
        return Descending(filled.rates[:count], states[:count], losses)

    def _together(self, rates: list[Any], states: list[Any], args: Any, many: Any) -> tuple[list[Any], Any]:
        """One stride: vectorised, if there are several."""
        if len(rates) == 1:
            state, losses = self._one(rates[0], states[0], args, many)
            return [state], losses[None]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        made, losses = jax.vmap(self._one, (0, 0, None, None))(jnp.stack(rates), stacked, args, many)
        return [jax.tree.map(lambda leaf, run=run: leaf[run], made) for run in range(len(rates))], losses

    def _one(self, rate: Any, state: Any, args: Any, many: Any) -> Any:
        further = stepping(self.rule.at(rate), self._loss)

        def step(carry: Any, own: Any) -> Any:
            batch = args if own is None else own
            new, value = further(carry, batch)
            return new, value if self._judged is self._loss else self._judged(carry[0], batch)

        return jax.lax.scan(step, state, many, STRIDE)


def width_for(graph: Graph, params: list[Any]) -> int:
    """How many descents are vectorised: as many as fit; convolutions of several kernels are slow on a CPU."""
    if jax.default_backend() == "cpu" and any(n.primitive == "conv_general_dilated" for n in graph.program.every()):
        return 1
    values = sum(np.prod(shaped.shape) * shaped.dtype.itemsize for shaped in graph.shapes.values() if shaped.shape)
    size = values + 4 * sum(np.size(leaf) * leaf.dtype.itemsize for leaf in params)
    return int(np.clip(MOST_BYTES // max(1, size), 1, MOST_TOGETHER))
