"""Most units of a ReLU are 0 in every row.

A unit that is never above 0 gives nothing on and gets no gradient: its weights stay as they are. The layer is as wide
as the units that are left.

Formula: at least two thirds of the units, of 4 or more, 0 in all rows and at all places. Half of them are where the
    inputs are all positive and few, by any start.
Source: Lu et al. 2019, "Dying ReLU and initialization"
Example: a bias of -10 before a ReLU, or weights that one large step has thrown far off
Fix: A start around 0, a smaller learning rate, normalised inputs, or leaky ReLU.
Apart: Where all of them are dead, and so the gradient of the layers before, it is no-gradient.
"""

import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.report.formatting import listed
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")
MOST, FEWEST = 2 / 3, 4


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """Each ReLU with as many dead units."""
    told = []
    for unit in context.units:
        if unit.kind != "relu" or not context.finite:
            continue
        alive = np.any(np.stack(context.measured.seen[unit.node]), axis=0)
        dead = 1 - float(np.mean(alive))
        if dead >= MOST and alive.size >= FEWEST:
            told.append(
                EXPLANATION.program_finding(
                    message=f"{listed(unit.layers)}: {dead:.0%} of the ReLU units behind it are 0 in every row",
                    evidence={"share of dead units": dead, "units": alive.size},
                    cost=1 / (1 - dead) if dead < 1 else float("inf"),
                    fix="start the biases at 0 and normalise what goes in; leaky ReLU keeps a gradient",
                    where=unit.node.where,
                    layers=unit.layers,
                )
            )
    return told
