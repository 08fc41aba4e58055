"""Activations: the network linearised at its start, with what that rests on measured and said beside it."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from idjax.nn.step import Plan, hyper_for, plan_for
from idjax.prediction import budget
from idjax.prediction.dynamics.deep_linear import rule_of
from idjax.prediction.dynamics.network import Network, Seen, dead, network_of, seen, unreachable
from idjax.prediction.dynamics.run_spec import NoTheoryError, RunSpec, beyond_layers, floor_of, swallows
from idjax.prediction.dynamics.trajectory import SampledTrajectory
from idjax.prediction.precision import in_float64
from idjax.theory.full_batch import stepped
from idjax.theory.networks import tangent
from idjax.types import Layers, Progress, Rows

CHECKS = 8
"""Times in a run at which the drift of the kernel is measured."""
DRIFT_OUTPUTS = 256
"""Outputs on which it is measured."""
SCREENED = 1024
"""Rows that tell first whether it drifts far beyond what is trusted."""
TRUSTED = 0.1
"""Drift up to which losses are within some percent; docs/deep.md."""


def applies(spec: RunSpec) -> str | None:
    """Why this is no theory of the run, as flags; empty where it is of another kind."""
    settings = spec.settings
    if settings.linear:
        return ""
    for holds, what in (
        (settings.normalize != "pca", "--normalize pca with an activation"),
        (
            settings.loss_space == "normalized" or settings.normalize == "none",
            "an activation and a loss in original units",
        ),
        (settings.activity_l2 == 0, "an activation and --activity-l2"),
        (not settings.hidden_l2, "an activation and --hidden-l2"),
        (not swallows(settings), f"an activation and --dtype {settings.dtype}"),
    ):
        if not holds:
            return what
    return beyond_layers(spec)


def products(spec: RunSpec) -> float:
    """About the products that a prediction takes: measured from 72 weights to 7,000 and up to 100,000 rows."""
    groups = spec.start.bias.size if len(spec.layers) == 1 else 1
    weights = sum(layer.stacked.size for layer in spec.layers) / groups
    outputs = min(spec.rows, budget.TANGENT_ROWS) * spec.start.bias.size / groups
    rotated = spec.settings.optimizer == "sgd"
    modes = min(weights, outputs) if rotated else weights
    updates = spec.settings.epochs * spec.steps
    return 2e9 + 1.5 * groups * (outputs * weights * modes + 2 * modes**3 + updates * (modes if rotated else modes**2))


@in_float64
def build(spec: RunSpec) -> SampledTrajectory:
    """One layer or more with activations, linearised at the start; docs/deep.md (D13) to (D17).

    Sgd moves along the eigenvectors of the tangent kernel, found among the outputs or the weights, whichever are
    fewer; other optimizers move the weights themselves. The noise of batches is left out. A kernel that drifts by more
    than TRUSTED leaves the run to be followed.

    Raises:
      NoTheoryError: if the rows are not at hand, or the kernel is too large or drifts too far.
    """
    settings, problem = spec.settings, spec.problem
    if spec.sample is None:
        raise NoTheoryError("no theory predicts activations from moments alone: it needs the rows")
    plan = plan_for(settings, autoencoder=spec.sample.y is None, outputs=problem.train.outputs, rows=spec.rows)
    spec.progress(Progress(0, 1, "the network, linearised at its start"))
    network = network_of(plan, spec.layers)
    if settings.optimizer == "sgd" and len(spec.sample.x) >= 4 * SCREENED:  # what is far beyond it shows on few rows
        _descended(spec, plan, network, seen(spec, spec.sample.thinned(SCREENED)), None, 2 * TRUSTED)
    training = seen(spec, spec.sample.thinned(budget.TANGENT_ROWS))
    held_out = seen(spec, spec.held_out.thinned(budget.TANGENT_ROWS)) if spec.held_out else None
    found = _descended(spec, plan, network, training, held_out, TRUSTED)
    record = found.record - np.array([[floor_of(problem)], [0.0], [problem.lost]])
    trajectory = SampledTrajectory(spec, record, None)
    trajectory.least = -floor_of(problem)  # the floor of linear layers does not bound what activations can do
    trajectory.kernel_drift = np.interp(np.arange(1.0, settings.epochs + 1), found.marks, found.drift)
    trajectory.how = _how(spec, found.modes, len(training.z), len(spec.sample.x))
    ends = network.layers(found.weights)
    trajectory.layers = ends if settings.hidden else ()
    trajectory.notes = _notes(spec, spec.sample, ends, max(found.drift)) if spec.beyond else ()
    return trajectory


class _Linear(NamedTuple):
    """Losses of every epoch, weights at the end, modes if sgd has them, and the drift of the kernel at some epochs."""

    record: Float[np.ndarray, "3 E"]
    weights: Float[np.ndarray, "g P"]
    modes: int | None
    marks: list[int]
    drift: list[float]


def _descended(
    spec: RunSpec, plan: Plan, network: Network, training: Seen, held_out: Seen | None, most: float
) -> _Linear:
    """The descent of the linearised network on these rows.

    Raises:
      NoTheoryError: where its kernel drifts by more than `most`.
    """
    settings = spec.settings
    train, basis = _modes(network, training, settings.optimizer == "sgd")
    watched = [_form(network, held_out or training, basis, original=True)]
    if held_out:
        same = bool((held_out.scale == 1).all())
        watched.insert(0, watched[0] if same else _form(network, held_out, basis))
    advance = _advance(spec, plan, train, tuple(watched), network.start if basis is None else None)
    record = np.full((3, settings.epochs), np.nan)
    sample = training.z[: max(1, DRIFT_OUTPUTS // training.target.shape[1])]
    before, weights = network.linearised(network.start, sample)[1], network.start
    marks = [*range(0, settings.epochs, -(-settings.epochs // CHECKS)), settings.epochs]
    drift = [0.0]
    for done, end in pairwise(marks):
        moved, losses, values = advance(done, end)
        record[0, done:end] = losses
        record[3 - len(values) :, done:end] = values
        weights = network.start + (moved if basis is None else (basis @ moved[..., None])[..., 0])
        drift.append(tangent.drift(before, network.linearised(weights, sample)[1]))
        if not drift[-1] <= most:
            raise NoTheoryError(
                f"the network, linearised at its start, does not hold: its tangent kernel has moved by {drift[-1]:.2g} "
                f"of itself at epoch {end}"
            )
    return _Linear(record, weights, None if basis is None else train.linear.size, marks, drift)


def _notes(spec: RunSpec, sample: Rows, ends: Layers, drift: float) -> tuple[str, ...]:
    """How far the kernel drifts, and the outputs and units that are of no use."""
    rows = seen(spec, sample)
    return (
        f"the tangent kernel drifts by {drift:.2g} of itself at most: the prediction can be trusted",
        *unreachable(spec, rows),
        *dead(spec, rows, spec.layers, "at the start"),
        *dead(spec, rows, ends, "at the predicted end"),
    )


def _advance(
    spec: RunSpec, plan: Plan, train: tangent.Form, watched: tuple[tangent.Form, ...], weights: np.ndarray | None
) -> Callable[[int, int], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """From one epoch to another, of the forms: δ, the losses and what is watched; every step of the weights themselves
    where these are given.
    """
    settings, every = spec.settings, spec.steps
    if settings.optimizer == "sgd" and not settings.momentum and not settings.schedule.changes:
        return lambda done, end: tangent.descend(train, watched, settings.step_size, done, end - done, every)
    origin = np.zeros_like(train.linear) if weights is None else weights
    rule, hyper, problem = rule_of(plan), hyper_for(settings), tangent.Linearised(train, watched, origin)
    state = stepped.begin(rule, hyper, origin)

    def advance(done: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        nonlocal state
        state, losses, values = stepped.follow(rule, hyper, problem, state, end - done, every)
        return np.asarray(state.params) - origin, np.asarray(losses), np.asarray(values)

    return advance


def _how(spec: RunSpec, modes: int | None, rows: int, held: int) -> str:
    """The words for how a run is linearised."""
    how = f"linearised at the start, {spec.settings.optimizer} on "
    how += "the weights" if modes is None else f"{modes:,} modes of the tangent kernel"
    how += "" if spec.full_batch else ", the noise of the batches left out"
    return how if rows == held else f"{how}, on {rows:,} of the {held:,} rows"


def _modes(network: Network, rows: Seen, rotate: bool) -> tuple[tangent.Form, Float[np.ndarray, "g P m"] | None]:
    """The training loss along the tangent kernel's eigenvectors, and these; or in the weights themselves."""
    groups, weights = network.start.shape
    outputs = rows.target.size // groups
    if min(weights, outputs if rotate else weights) > budget.MODES:
        raise NoTheoryError(
            f"the tangent kernel of {weights:,} weights and {outputs:,} outputs is too large: predict finds the "
            f"eigenvectors of {budget.MODES:,} at most; give fewer hidden units or fewer rows"
        )
    basis = None
    if rotate and outputs < weights:
        if outputs * weights > budget.JACOBIAN:
            raise NoTheoryError(f"{outputs:,} outputs of {weights:,} weights are too many: give fewer hidden units")
        shares = np.full((groups, outputs), 1 / rows.target.size)
        basis = tangent.basis_of_outputs(network.linearised(network.start, rows.z)[1], shares)
    form = _form(network, rows, basis)
    if not rotate:
        return form, None
    form, vectors = tangent.diagonal(form)
    return form, vectors if basis is None else basis @ vectors


def _form(
    network: Network, rows: Seen, basis: Float[np.ndarray, "g P m"] | None, original: bool = False
) -> tangent.Form:
    """The mean squared error on these rows near the start, in the network's units or in original ones."""
    total = None
    for part in _chunks(rows, network.start.shape[1]):
        outputs, jacobian = network.linearised(network.start, part.z)
        if basis is not None:
            jacobian = jacobian @ basis
        residual = outputs - network.grouped(part.target)
        shares = network.grouped(part.scale**2 if original else np.ones_like(part.scale)) / rows.target.size
        form = tangent.form_of(jacobian, residual, shares)
        total = form if total is None else tangent.Form(*(a + b for a, b in zip(total, form, strict=True)))
    assert total is not None
    return total


def _chunks(rows: Seen, weights: int) -> Iterator[Seen]:
    size = max(1, int(budget.JACOBIAN_PART / (rows.target.shape[1] * weights)))
    for begin in range(0, len(rows.z), size):
        yield Seen(*(part[begin : begin + size] for part in rows))
