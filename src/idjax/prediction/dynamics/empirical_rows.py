"""Minibatch SGD and momentum on given rows: the expected loss with the rows' own fourth moment, shuffles included."""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from idjax.moments.normalize import standardize, standardize_samples
from idjax.prediction import budget
from idjax.prediction.dynamics.full_batch import MeanTrajectory
from idjax.prediction.dynamics.minibatch import MinibatchTrajectory
from idjax.prediction.dynamics.on_moments import watched_of
from idjax.prediction.dynamics.other_starts import from_other_starts
from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec, beyond_quadratic
from idjax.prediction.dynamics.trajectory import Losses, SampledTrajectory
from idjax.prediction.precision import in_float64
from idjax.prediction.problem import QuadraticProblem
from idjax.results.curve import Status
from idjax.settings import Settings
from idjax.theory.sgd import fourth_moment
from idjax.theory.sgd.fourth_moment import EmpiricalRows, Epochs
from idjax.types import IdjaxError, Progress, Rows, Weights

LARGEST_PULL = 1.0
"""What a batch may change, in all, of the error that its largest row sees: the theory expands in it."""


def applies(spec: RunSpec) -> str | None:
    """Why this is no theory of the run, as flags; empty where it is of another kind."""
    settings = spec.settings
    if spec.layers or not spec.empirical_rows:
        return ""
    for holds, what in (
        (settings.optimizer == "sgd", f"--moments data with --optimizer {settings.optimizer}"),
        (not settings.schedule.changes, f"--moments data with --schedule {settings.schedule}"),
        (not settings.half, f"--moments data with --dtype {settings.dtype}"),
    ):
        if not holds:
            return what
    return beyond_quadratic(settings)


@in_float64
def build(spec: RunSpec) -> "EmpiricalRowsTrajectory":
    """Every epoch in steps; docs/theory.md, "Data that are not Gaussian" in section 11.

    Rounding is left out.
    """
    settings, problem = spec.settings, spec.problem
    if spec.sample is None:
        raise IdjaxError("--moments data needs the rows: predict from the data, not from their moments")
    watched, constants = watched_of(spec)
    vectors, forms = problem.spectrum.eigenvectors, watched.forms
    forms = np.einsum("ni,knm,mj->kij", vectors, forms, vectors, optimize=True)
    slopes = np.einsum("ni,knq->kiq", vectors, watched.slopes)
    shares = watched.shares
    kinds, kind_of = np.unique(shares, axis=0, return_inverse=True)
    _require_affordable(spec, len(kinds))
    spec.progress(Progress(0, 1, "the rows' own fourth moment, epoch by epoch"))
    rows = rows_seen(spec.problem, settings, spec.sample)
    record = np.zeros((1 + len(forms), settings.epochs))
    errors = np.zeros_like(spec.coefficients)
    pull = 0.0
    for rate, outputs in zip(spec.group_rates, problem.output_groups, strict=True):
        runs = [_run(spec, rows, rate, share, outputs) for share in kinds]
        record[0] += _epoch_means(spec, np.asarray(runs[kind_of[-1]].batch))
        for k, kind in enumerate(kind_of):
            record[1 + k] += np.einsum("ij,eij->e", forms[k], np.asarray(runs[kind].second))
            # The mean does not depend on how outputs are weighed.
            linear = slopes[k][:, outputs] * shares[k][outputs]
            record[1 + k] += 2 * np.einsum("nq,enq->e", linear, np.asarray(runs[kind].mean))
        errors[:, outputs] = np.asarray(runs[kind_of[-1]].mean)[-1]
        largest = float(np.max(np.sum(np.asarray(rows.inputs) ** 2, axis=1)))
        pull = max(pull, rate / (1 - settings.momentum) * largest / settings.batch_size)
    record[0] -= float(problem.on_train.residual @ problem.output_shares)
    record[1:] += constants[:, None]
    trajectory = EmpiricalRowsTrajectory(spec, record, spec.weights_of(vectors @ errors), np.asarray(rows.inputs))
    name = "SGD" if not settings.momentum else f"{'Nesterov ' if settings.nesterov else ''}momentum"
    trajectory.how = (
        f"{name} on these rows, with their own fourth moment: exact in expectation over shuffled epochs, to third "
        "order in the learning rate"
    )
    if not np.isfinite(record).all():
        record[:, ~np.isfinite(record).all(axis=0)] = np.nan
        trajectory.how, trajectory.status = f"{trajectory.how}; diverges", Status.DIVERGES
    elif pull > LARGEST_PULL:
        trajectory.status = Status.OUTSIDE_RANGE
        trajectory.how += f"; outside its range: batches change what their largest row sees by {pull:.0%}"
    return trajectory


class EmpiricalRowsTrajectory(SampledTrajectory):
    """A recorded trajectory of given rows; other starts and orders are those of Gaussian rows."""

    def __init__(
        self,
        spec: RunSpec,
        record: Float[np.ndarray, "k E"],
        weights: Weights,
        rows: Float[np.ndarray, "N n"],
    ):
        super().__init__(spec, record, weights)
        self._rows = rows

    def ensemble(self, starts: Iterable[Weights], count: int) -> list[Losses] | None:
        """The losses of every epoch from these starts, to leading order in the batches' noise."""
        means, own = MeanTrajectory(self._spec).means, self.losses(self._spec.epochs)
        return from_other_starts(self._spec, starts, count, means, own, lambda spec: build(spec).losses(spec.epochs))

    def spread(self) -> Losses | None:
        """Relative standard deviations over the orders of the rows, of these rows to first order."""
        return MinibatchTrajectory(self._spec).spread(self._rows)


def _require_affordable(spec: RunSpec, kinds: int) -> None:
    """Raises NoTheoryError where the moments that every row keeps would take minutes."""
    settings, problem = spec.settings, spec.problem
    if spec.rows < 3:
        raise NoTheoryError("--moments data needs 3 training rows or more")
    modes = len(problem.spectrum.eigenvalues) * (2 if settings.momentum else 1)
    steps = settings.epochs * spec.steps * problem.groups * kinds
    updates = steps * spec.rows * modes**2
    minutes = updates / budget.OWN_ROWS_A_MINUTE
    if updates > budget.OWN_ROWS:
        raise NoTheoryError(
            f"--moments data would take about {minutes:,.0f} minutes for {steps:,} steps of {spec.rows:,} rows: "
            "give fewer --epochs or rows, or predict with --moments gaussian"
        )


def rows_seen(problem: QuadraticProblem, settings: Settings, sample: Rows) -> EmpiricalRows:
    """Inputs and residuals as the loss sees them, in the eigenbasis; a weight of a row is inside both, as its root.

    The sample may be some of the rows that the problem was made of.
    """
    x = sample.x.astype(np.float64)
    y = x if sample.y is None else sample.y.astype(np.float64)
    # What an L2 penalty adds to a squared error: docs/theory.md, section 8.
    penalized = 1 + settings.activity_l2 * y.shape[1]
    root = np.full((len(x), 1), np.sqrt(penalized))
    if problem.fold_with is None:
        z, affine = standardize_samples(x, spacing=float(np.finfo(sample.x.dtype).eps))
        targets = z if sample.y is None else y
        if sample.y is None and settings.loss_space == "original":
            root = root * affine.scale
    else:
        z, targets = standardize(x, problem.fold_with.inputs), standardize(y, problem.fold_with.targets)
    residuals = targets / penalized - z @ problem.reference.kernel - problem.reference.bias
    inputs = np.concatenate([z, np.ones((len(z), 1))], axis=1) @ problem.spectrum.eigenvectors
    return EmpiricalRows(*map(jnp.asarray, (root * inputs, root * residuals, problem.spectrum.eigenvalues)))


def _run(spec: RunSpec, rows: EmpiricalRows, rate: float, share: Float[np.ndarray, " q"], outputs: slice) -> Epochs:
    """One group of outputs, each counted by its share in what is summed over outputs."""
    settings = spec.settings
    root = np.sqrt(share[outputs])
    rule = fourth_moment.rule_of(rate, settings.momentum, settings.nesterov)
    scaled = rows._replace(residuals=rows.residuals[:, outputs] * root)
    start = spec.coefficients[:, outputs]
    found = fourth_moment.shuffled(scaled, rule, jnp.asarray(start * root), settings.batch_size, settings.epochs)
    mean = np.where(root > 0, np.asarray(found.mean) / np.where(root > 0, root, 1.0), start)
    return found._replace(mean=jnp.asarray(mean))


def _epoch_means(spec: RunSpec, batch: Float[np.ndarray, "E s"]) -> Float[np.ndarray, " E"]:
    """The mean of the batches' losses, each row counted once."""
    share = spec.last_share
    return (1 - share) * batch[:, :-1].mean(axis=1) + share * batch[:, -1]
