"""Tokens go past the end of an embedding's table.

A row of a table is asked for that is not there. JAX raises no error: jnp.take, and with it nn.Embed, gives NaN, and
table[tokens] the last row, so that all tokens past the end are one.

Formula: the largest token at least the number of rows of the table.
Source: the documentation of jax.numpy.ndarray.at, on indexing out of bounds
Example: nn.Embed(50, 8)(tokens) with tokens of 0 to 69
Fix: A table with as many rows as there are tokens, or other numbers for the tokens.
Apart: unreachable-output is about labels past the last class. Tokens below 0 count from the end, and are not seen.
"""

import numpy as np

from idjax.diagnosis.explanation import Explanation
from idjax.diagnosis.trace.loss_context import LossContext
from idjax.results.program import ProgramFinding

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: LossContext, found: tuple[ProgramFinding, ...]) -> list[ProgramFinding]:
    """Each embedding whose table is too short."""
    told = []
    for layer in context.layers:
        if layer.kind != "embed":
            continue
        largest = max(int(np.max(block["largest"])) for block in context.measured.seen[layer.node])
        if largest >= layer.inputs:
            told.append(
                EXPLANATION.program_finding(
                    message=f"{layer.name}: tokens go up to {largest}, and the table has {layer.inputs} rows, 0 to "
                    f"{layer.inputs - 1}",
                    evidence={"largest token": largest, "rows of the table": layer.inputs},
                    fix=f"a table of {largest + 1} rows, or tokens numbered from 0 to {layer.inputs - 1}",
                    where=layer.node.where,
                    parameters=tuple(context.given.names[leaf] for leaf in layer.leaves),
                    layers=(layer.name,),
                )
            )
    return told
