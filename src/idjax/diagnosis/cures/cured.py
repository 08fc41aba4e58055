"""A loss with cures built in: a function that is called, differentiated and compiled as the user's own."""

from collections.abc import Callable
from typing import Any

import jax

from idjax.diagnosis.cures.rewriting import Changed, Rewriting, carried_over
from idjax.diagnosis.trace.given import GivenLoss, explained
from idjax.diagnosis.trace.inlining import graph_of
from idjax.diagnosis.trace.traced import Traced
from idjax.diagnosis.trace.walk import evaluate
from idjax.types import IdjaxError

Flat = Callable[[list[Any], list[Any]], Any]
"""A loss of lists of arrays."""


class CuredLoss:
    """The user's loss with cures in it: the same arguments, and what it returns; to be differentiated and compiled.

    What the loss writes into a module, as the statistics of BatchNorm, is forgotten after the call.

    Attributes:
      codes: the findings that it cures.
      params: where training starts: the parameters as given, nested as they were, or new ones.
      learning_rate: for the optimizer that was given, where the cure is another rate; None where it is not.
      text: what the cures were measured to do, before and after.
    """

    def __init__(self, traced: Traced, cures: Rewriting, codes: tuple[str, ...]):
        self._traced, self._cures = traced, cures
        self.codes, self.text = codes, ""
        self.learning_rate: float | None = None
        self.__name__ = f"cured_{'_'.join(codes)}".replace("-", "_")

    @property
    def params(self) -> Any:
        """Where training starts, nested as the parameters that were given."""
        return self._traced.given.nested(self._cures.params)

    @property
    def start(self) -> list[Any]:
        """The arrays in it."""
        return self._cures.params

    def __call__(self, params: Any, *args: Any) -> Any:
        """The loss, or (loss, aux), with the cures."""
        given = self._traced.given.again(params, *args)
        outs, tree = self._outputs(given, self._cures.trained, given.params, given.args)
        return jax.tree.unflatten(tree, outs)

    def flat(self, judged: bool = False) -> Flat:
        """The loss of lists of arrays; judged: in the units in which curves are compared."""
        given = self._traced.given
        changed = self._cures.judged if judged else self._cures.trained
        return lambda params, args: self._outputs(given, changed, params, args)[0][0]

    @property
    def has_own_units(self) -> bool:
        """Whether its losses are not to be compared with those of the other programs."""
        return self._cures.judged is not self._cures.trained

    def _outputs(self, given: GivenLoss, changed: Changed, params: list[Any], args: list[Any]) -> tuple[list[Any], Any]:
        with explained():
            closed, shape = jax.make_jaxpr(given.whole, return_shape=True)(params, args)
        holds = self._traced.holds if len(self._traced.holds) == len(args) else (True,) * len(args)
        graph = graph_of(closed, len(params), holds)
        here = carried_over(changed.edits, self._traced.graph, graph)
        if here is None:
            raise IdjaxError("the cured loss: it is another program for these arguments; diagnose it with these")
        value, *aux = evaluate(graph, [*params, *args], edits=here)[0]
        return [value * changed.sign if changed.sign != 1 else value, *aux], jax.tree.structure(shape)
