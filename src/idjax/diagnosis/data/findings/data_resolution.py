"""The floating point type cannot hold what varies in a column.

Numbers near m are u(m) = 2^(⌊log2 m⌋ + 1 - digits) apart. A column that varies by a few units around a large mean has
been rounded to a few different values, in the file or when it is cast for training, and no learning rate brings back
what was lost. The same holds of an input that varies by so little that its gradients are below the smallest number.

Formula: standard deviation < 16 u(largest |x|), u of the coarser of the stored type and the one trained in; theory
    (121); or standard deviation × that of the widest target < the smallest normal number of the type trained in.
Source: Goldberg 1991
Example: idjax diagnose timestamps.npy --dtype float32
Fix: Subtract the mean in float64 before storing or training, or use --dtype float64 if the file has the digits.
Apart: float-stall is about weights, this is about the data.
"""

import math

import numpy as np

from idjax.diagnosis.data.context import Context
from idjax.diagnosis.explanation import Explanation
from idjax.report.formatting import listed
from idjax.results.diagnosis import Finding

UNITS = 16.0
"""Standard deviations of fewer units than this are not resolved."""

EXPLANATION = Explanation.of(__name__, __doc__, "cause")


def find(context: Context, found: tuple[Finding, ...]) -> Finding | None:
    """Columns of x or of the target that vary by less than 16 units in the last place."""
    columns = context.columns
    parts = [(columns.feature_names, columns.feature_dtypes, columns.inputs)]
    if not context.autoencoder:
        parts.append((columns.target_names, columns.target_dtypes, columns.targets))
    coarse, units, stored = [], [], False
    trained = np.dtype(context.settings.data_dtype)
    for names, dtypes, stats in parts:
        largest = np.maximum(np.abs(stats.low), np.abs(stats.high))
        for index, name in enumerate(names):
            if stats.low[index] == stats.high[index]:
                continue
            # A one-hot code has one dtype for all its columns.
            dtype = dtypes[min(index, len(dtypes) - 1)]
            in_file = _unit(largest[index], dtype)
            deviation = float(stats.deviation[index])
            if deviation < UNITS * max(in_file, _unit(largest[index], trained)):
                coarse.append(name)
                units.append(deviation / max(in_file, _unit(largest[index], trained)))
                stored |= deviation < UNITS * in_file
    if not coarse:
        return _without_gradient(context)
    where = "stored" if stored else f"cast to {trained}"
    return EXPLANATION.finding(
        message=f"{listed(coarse)} {'varies' if len(coarse) == 1 else 'vary'} by {min(units):.2g} units in the last "
        f"place once {where}: what differs is lost to rounding",
        evidence={"columns": coarse, "smallest deviation in units": float(min(units)), "lost when": where},
        cost=math.inf,
        fix="subtract the mean in float64 before storing it"
        if stored
        else "subtract the mean in float64 first, or train with --dtype float64",
    )


def _without_gradient(context: Context) -> Finding | None:
    """Inputs whose gradients, the means of x times what is left of a target, are lost to underflow."""
    stats, least = context.columns.inputs, np.finfo(context.settings.data_dtype).tiny
    gradients = stats.deviation * context.columns.targets.deviation.max()
    lost = (stats.low < stats.high) & (gradients < least)
    if not lost.any() or context.settings.normalize not in ("none", "center"):
        return None
    names = [name for name, each in zip(context.columns.feature_names, lost, strict=True) if each]
    trained = context.settings.data_dtype
    return EXPLANATION.finding(
        message=f"{listed(names)} {'varies' if len(names) == 1 else 'vary'} so little that gradients of "
        f"{gradients[lost].max():.2g} are lost to underflow: the smallest number of {trained} is {least:.2g}",
        evidence={"columns": names, "largest gradient": float(gradients[lost].max()), "lost when": "trained"},
        cost=math.inf,
        fix="divide the data by their standard deviations in float64 first, or train with --normalize feature",
    )


def _unit(largest: float, dtype: np.dtype) -> float:
    """The spacing of this type's numbers there, inf beyond its largest; 0 for whole numbers, which are exact."""
    if np.dtype(dtype).kind != "f":
        return 0.0
    return float(np.spacing(np.asarray(largest).astype(dtype))) if largest <= np.finfo(dtype).max else math.inf
