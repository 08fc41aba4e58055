"""The target is hardly a linear function of the inputs, and no training makes a linear layer explain it.

The best linear layer, which least squares finds, explains little of the target, or no more than as many columns of
noise would. The loss then stays near the variance of the target at any rate and any number of epochs.

Formula: R² of least squares; p columns of noise explain p/(N - 1) of a target by chance; theory (139). Then the
    same with squares and products of the inputs.
Source: Fisher 1924 on the distribution of R²
Example: idjax diagnose squares.csv --target y
Fix: Columns that the target is linear in, or hidden layers; first of all, that rows and targets belong together.
Apart: noise-floor is noise of batches above the least error that is possible; here that least error is the problem.
"""

import math

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.explanation import Explanation
from idjax.moments.spectrum import covariance_factor
from idjax.report.formatting import percent
from idjax.results.diagnosis import Finding
from idjax.theory.chance import chance_to_explain, explained_by_chance

LITTLE = 0.1
"""Explained variance that is little, whatever chance gives."""
PLAUSIBLE, MUCH = 1e-3, 0.5
"""Chance explains as much with this probability or more, and less than half of the target: it may be chance."""
WIDEST = 24
"""Columns of which squares and products are tried."""
ROWS = 4000

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Least squares explains little of the target, or what chance does."""
    if context.autoencoder:
        return None
    rows, columns = context.rows, covariance_factor(context.moments.raw.covariance_xx).shape[1]
    ceiling, chance = context.reachable, explained_by_chance(columns, rows)
    by_chance = max(chance, ceiling) < MUCH and chance_to_explain(ceiling, columns, rows) > PLAUSIBLE
    if not by_chance and not (ceiling < LITTLE and not context.labels):
        return None
    like = (
        f", where {columns} column{'' if columns == 1 else 's'} of noise would explain {percent(chance)}"
        if by_chance
        else ""
    )
    bent = _with_products(context)
    return EXPLANATION.finding(
        message=f"a linear layer can explain {percent(ceiling)} of this target{like}: no rate and no number of epochs "
        "explains more",
        evidence={
            "explained variance of the best linear layer": ceiling,
            "explained by chance": chance,
            **({} if math.isnan(bent) else {"with squares and products of the inputs": bent}),
        },
        cost=math.inf,
        fix=f"add the squares and products of the inputs as columns, with which a linear layer explains {percent(bent)}"
        if bent > max(2 * ceiling, LITTLE)
        else "see that rows and targets belong together, then give columns the target is linear in, or hidden layers",
    )


def _with_products(context: Context) -> float:
    """The explained variance of a linear layer on the inputs and all their products, on the sample, less chance."""
    x, y = context.sample.thinned(ROWS)
    wide = x.shape[1] * (x.shape[1] + 3) // 2
    if x.shape[1] > WIDEST or len(x) < 4 * wide:
        return math.nan
    deviation = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, np.inf)
    first, second = np.triu_indices(x.shape[1])
    features = np.concatenate([z, z[:, first] * z[:, second]], axis=1)
    features, target = features - features.mean(axis=0), y - y.mean(axis=0)
    left = target - features @ np.linalg.lstsq(features, target, rcond=None)[0]
    return 1 - float(np.sum(left**2) / np.sum(target**2)) * (len(x) - 1) / (len(x) - 1 - wide)
