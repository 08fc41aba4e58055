"""Whether a program learns as it is given: what its outputs tell of the targets after some steps at a rate.

A loss that falls says little: towards targets around 2,000 all but a millionth of it goes by the last bias. So the loss
is held against the one of the same outputs with the targets of other rows. They are equal where nothing was learned of
the rows, and of squares the share that is gone is 2R²/(1 + R²) of the explained variance R².
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.diagnosis.trace.outputs import Comparison
from idjax.diagnosis.trace.rule import UpdateRule
from idjax.diagnosis.trace.traced import Traced
from idjax.diagnosis.trace.trials import parameters_after
from idjax.diagnosis.trace.walk import Edit, Edits, changing, evaluate

STEPS = 300
"""Steps on one block, of some thousand rows in all: an epoch or so of a small set."""
LEARNED = 0.75
"""Share of the loss with other rows' targets that is gone where a program learns well."""
ORDERS = 4
"""Orders of the targets that the loss with those of other rows is the mean of."""


def learned(traced: Traced, comparisons: Sequence[Comparison], rule: UpdateRule, rate: float) -> float:
    """The share of the loss with other rows' targets that is gone after the steps; 0 where that cannot be known."""
    graph, rows = traced.graph, traced.rows_of
    compared = [each for each in comparisons if len(rows(each.target)) == 1]
    if not compared:
        return 0.0

    def elsewhere(comparison: Comparison, order: int) -> Edit:
        """The targets of other rows in place of a comparison's own."""
        (axis,), place = rows(comparison.target), comparison.node.ins.index(comparison.target)
        others = np.random.default_rng(order).permutation(graph.shape(comparison.target)[axis])
        return changing(place, lambda targets: jnp.take(targets, others, axis))

    @jax.jit
    def ends(values: list[Any]) -> Any:
        edits = [{each.node: elsewhere(each, order) for each in compared} for order in range(ORDERS)]
        others = [evaluate(graph, values, edits=Edits(edit, {}))[0][0] for edit in edits]
        return evaluate(graph, values)[0][0], sum(others) / ORDERS

    params, args = traced.given.params, next(traced.blocks())
    trained = parameters_after(rule, traced.given.loss, params, args, rate, STEPS)
    end, other = map(float, ends([*trained, *args]))
    return 1 - end / other if np.isfinite([end, other]).all() and other > 0 else 0.0
