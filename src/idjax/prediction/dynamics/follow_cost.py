"""The cost of following a run on its rows, and how far the budget goes. No JAX inside."""

from idjax.prediction import budget
from idjax.prediction.dynamics.run_spec import RunSpec

RUNS = 8
"""Orders of the rows that a run is followed in, where so many are cheap."""


def _update(spec: RunSpec) -> float:
    """Products that the time of an update of one run is worth: rows are gathered, and layers go forth and back."""
    layers, (rows, weights) = len(spec.all_layers), size_of(spec)
    each, passes = (budget.UPDATE, 2) if layers == 1 else (layers * budget.DEEP, 3)
    return each + rows * budget.ROW + weights * (budget.WEIGHT + passes * budget.OF_PASS * rows)


def size_of(spec: RunSpec) -> tuple[int, int]:
    """Rows of a batch, and weights."""
    rows = min(spec.settings.batch_size, spec.rows if spec.sample is None else len(spec.sample.x))
    return rows, sum(layer.stacked.size for layer in spec.all_layers)


def affordable(spec: RunSpec, runs: int) -> int:
    """The updates of so many runs that the budget allows: some seconds of them, or a share of a long training."""
    update, steps = _update(spec), spec.settings.epochs * spec.steps
    most = max(budget.FOLLOWED_RUNS, budget.OF_TRAINING * update * steps)
    if runs == 1 and update * steps <= budget.NEARLY * most:
        return steps
    return max(1, int(most / (runs * update)))


def goes_to_its_end(spec: RunSpec, runs: int = RUNS) -> bool:
    """Whether the budget allows so many runs to be followed to the end."""
    return affordable(spec, runs) >= spec.settings.epochs * spec.steps
