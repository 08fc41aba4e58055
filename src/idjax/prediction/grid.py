"""Predictions for very many runs in one call: SGD on Gaussian inputs of one mean and one deviation."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Float64

from idjax.prediction.precision import in_float64
from idjax.theory.sgd import exchangeable
from idjax.types import IdjaxError

AT_ONCE = 64
"""Runs that a device works on together: their maps and all powers of them stay in its cache."""


class PredictedGrid(NamedTuple):
    """Updates until learned (inf: never), and the explained variance after the steps asked for (NaN if none were)."""

    steps_to_learn: Float64[np.ndarray, "*r"]
    explained_variance: Float64[np.ndarray, "*r"]


@in_float64
def predict_grid(
    *,
    mean: Float[np.ndarray, "*_"] | float,
    deviation: Float[np.ndarray, "*_"] | float,
    learning_rate: Float[np.ndarray, "*_"] | float,
    batch_size: np.ndarray | float | int,
    inputs: np.ndarray | int = 84,
    rows: np.ndarray | float | int = math.inf,
    learned_at: float = 0.99,
    steps: np.ndarray | float | int | None = None,
) -> PredictedGrid:
    """Predictions for every point of arrays that broadcast against each other, expected over Glorot starts.

    The data are Gaussian rows x_i = mean + deviation z_i, their own target; a layer of `inputs` outputs with a bias is
    trained by SGD in original units. docs/sweeps.md, the full theory in four numbers.

    Args:
      rows: of an epoch, each seen once; inf for batches drawn afresh, and a batch of all rows has no noise.
      steps: whole updates at which the explained variance is asked for.

    Raises:
      IdjaxError: with the name of an argument that is not positive, or arrays that do not broadcast.

    Example:
      >>> grid = predict_grid(mean=0.0, deviation=np.array([0.1, 1.0]), learning_rate=0.01, batch_size=8, inputs=4)
      >>> bool(grid.steps_to_learn[0] > grid.steps_to_learn[1])
      True
    """
    given = {
        "mean": mean, "deviation": deviation, "inputs": inputs, "learning_rate": learning_rate,
        "batch_size": batch_size, "rows": rows, "steps": 0.0 if steps is None else steps,
    }  # fmt: skip
    points = {name: np.asarray(value, np.float64) for name, value in given.items()}
    for name, values in points.items():
        least = -np.inf if name == "mean" else 0.0
        good = values >= 0 if name == "steps" else values > least
        if not np.all(good & (np.isfinite(values) | (name == "rows"))):
            raise IdjaxError(f"{name}: give {'finite' if name == 'mean' else 'positive'} numbers")
    if not 0 < learned_at < 1:
        raise IdjaxError(f"learned_at is {learned_at}: give a number between 0 and 1, such as 0.99")
    try:
        spread = np.broadcast_arrays(*points.values())
    except ValueError as error:
        raise IdjaxError(f"the arguments do not broadcast: {error}") from None
    shape, size = spread[0].shape, spread[0].size
    devices = jax.local_devices()
    width = AT_ONCE * len(devices)
    chunks = max(1, -(-size // width))
    # The last point fills what is left of the last chunk.
    flat = [
        np.append(part, np.repeat(part.ravel()[-1:], chunks * width - size)).reshape(chunks, width) for part in spread
    ]
    # Chunk after chunk, each spread over all devices.
    placed = jax.device_put(flat, NamedSharding(Mesh(np.array(devices), ("runs",)), PartitionSpec(None, "runs")))
    found = [np.asarray(part).ravel()[:size].reshape(shape) for part in _grid(placed, learned_at, steps is not None)]
    return PredictedGrid(found[0], found[1] if steps is not None else np.full(shape, np.nan))


@functools.partial(jax.jit, static_argnames="with_variance")
def _grid(points: list[jax.Array], learned_at: jax.Array | float, with_variance: bool) -> list[jax.Array]:
    def chunk(points: list[jax.Array]) -> list[jax.Array]:
        *settings, steps = points
        mean, deviation, inputs, rate, batch, rows = settings
        runs = exchangeable.GaussianRuns(mean, deviation, inputs, rate, batch, rows)
        found = [exchangeable.steps_to_learn(runs, learned_at)]
        return [*found, exchangeable.explained_variance(runs, jnp.floor(steps))] if with_variance else found

    return jax.lax.map(chunk, points)
