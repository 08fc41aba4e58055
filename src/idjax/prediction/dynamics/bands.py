"""95% bands of the losses of a run: over the random starts of the weights and, for SGD, over the orders of the rows."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Float

from idjax.nn.starts import INITIALIZERS
from idjax.prediction import budget
from idjax.prediction.dynamics.follow_cost import goes_to_its_end
from idjax.prediction.dynamics.run_spec import RunSpec, floor_of
from idjax.prediction.dynamics.theories import products_of, trajectory_for
from idjax.prediction.dynamics.trajectory import Losses, Trajectory
from idjax.results.curve import Band
from idjax.theory.root_finding import TINY
from idjax.types import Progress, Weights, end_to_end, silent

MANY = 200
"""Starts of a band, where the losses of one cost next to nothing: their percentiles are the band."""
FEW = 8
"""Starts where each has to be followed: the band is where one more falls, by Student's t of the logarithms."""
LEVEL = 0.95
NOTHING = 1e-12
"""Share of the first loss that losses are not told apart below."""


class Bands(NamedTuple):
    """Of the training and the validation loss, None where there are none; and what else there is to know."""

    train: Band | None = None
    validation: Band | None = None
    notes: tuple[str, ...] = ()


def bands_of(spec: RunSpec, trajectory: Trajectory, own: Losses) -> Bands:
    """Bands of the losses about a trajectory's own of every epoch; none beyond the budget, or if nothing is random."""
    spread = trajectory.spread()
    drawn = spec.settings.start in (INITIALIZERS if spec.layers or trajectory.followed else ("glorot",))
    runs = _on_rows(spec, trajectory)
    found = runs or (_from_other_starts(spec, trajectory) if drawn else [own])
    if found is None:
        return Bands(notes=("no 95% band, left out for its cost: it takes the losses from other starts",))
    if spread is None and len(found) == 1:
        return Bands()
    if runs and (lost := sum(not np.isfinite(run.train).all() for run in runs)):
        return Bands(notes=(f"{lost} of {len(runs)} runs followed on the rows diverge, so that there is no band",))
    over = " and ".join(["starts"] * drawn + ["orders of the rows"] * bool(spread or (runs and not spec.full_batch)))
    over += f", {len(runs)} runs followed" if runs else ""
    floor = floor_of(spec.problem)

    def band(field: str, constant: float, least: float = 0.0) -> Band:
        values = np.stack([getattr(one, field) for one in found]) - least
        ends = _quantiles(values, None if spread is None else getattr(spread, field)) + constant + least
        return Band(*np.maximum(ends, 0.0), over=over)  # no less than 0, which rounding leaves

    # No floor bounds what the batches of one run can do: its losses are whole.
    train = band("train", floor, -floor if runs else trajectory.least)
    validation = None if spec.problem.validation is None else band("validation", spec.problem.penalty[1])
    beside = runs and not trajectory.followed
    return Bands(train, validation, _beside(spec, train, own.train[-1] + floor) if beside else ())


def _beside(spec: RunSpec, band: Band, predicted: float) -> tuple[str, ...]:
    """How far the band's runs end from the predicted loss, where that lies outside their band."""
    if band.low[-1] <= predicted <= band.high[-1]:
        return ()
    left_out = "the noise of their batches" + ("" if spec.settings.linear else " and the drift of the tangent kernel")
    off = 100 * (band.median[-1] / predicted - 1)
    where = f"{abs(off):.3g}% {'above' if off > 0 else 'below'}"
    return (f"the runs that the band is made of end {where} the predicted loss, which leaves out {left_out}",)


def _on_rows(spec: RunSpec, trajectory: Trajectory) -> list[Losses] | None:
    """Runs on the rows at hand, in other orders, from other starts if these are drawn; None beyond the budget, if a
    theory has the run by itself, and if nothing is random.
    """
    if trajectory.followed:
        return trajectory.others
    if not spec.layers or spec.full_batch or not spec.rows_at_hand or not goes_to_its_end(spec):
        return None
    from idjax.prediction.dynamics import followed

    return followed.other_runs(spec)


def _from_other_starts(spec: RunSpec, trajectory: Trajectory) -> list[Losses] | None:
    """Losses of MANY other starts in closed form, or of FEW that are followed; None beyond the budget."""
    found = trajectory.ensemble(_kernels(spec, MANY), MANY)
    if found is not None or products_of(spec) * FEW > budget.FOLLOWED:
        return found
    losses = []
    for done, other in enumerate(_others(spec, FEW)):
        spec.progress(Progress(done, FEW, "the band, from other starts"))
        losses.append(trajectory_for(other._replace(beyond=False, progress=silent)).losses(spec.epochs))
    return losses


def _others(spec: RunSpec, count: int) -> list[RunSpec]:
    """The run from other draws of its start, of all layers or of one kernel."""
    if not spec.layers:
        return [spec._replace(start=start) for start in _kernels(spec, count)]
    from idjax.prediction.dynamics.followed import other_starts

    return [spec._replace(start=end_to_end(layers), layers=layers) for layers in other_starts(spec, count)]


def _kernels(spec: RunSpec, count: int) -> Iterator[Weights]:
    """Random starts of one layer, of Glorot and Bengio (2010), drawn as they are asked for: wide ones fill memories."""
    problem, shape = spec.problem, spec.start.kernel.shape
    draws, limit, bias = np.random.default_rng(spec.settings.seed), np.sqrt(6 / sum(shape)), np.zeros(shape[1])
    for _ in range(count):
        yield problem.enter(Weights(draws.uniform(-limit, limit, shape), bias))


def _quantiles(values: Float[np.ndarray, "k E"], spread: Float[np.ndarray, " E"] | None) -> Float[np.ndarray, "3 E"]:
    """The ends and the median of the band, of losses that are each lognormal with this relative spread, if any."""
    tails = np.array([(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    if spread is not None:
        # Every start meets another quantile of the orders of the rows.
        width = np.sqrt(np.log1p(spread**2))
        normal = np.random.default_rng(0).permutation(scipy.special.ndtri((np.arange(MANY) + 0.5) / MANY))
        values = values * np.exp(width * normal[:, None] - width**2 / 2)
    if len(values) >= MANY:
        return np.percentile(values, 100 * tails, axis=0)
    # One more start falls there if logarithms are normal: at their mean ± t s √(1 + 1/k).
    logs = np.log(np.maximum(values, np.maximum(NOTHING * values[:, :1], TINY)))
    reach = scipy.special.stdtrit(len(logs) - 1, tails) * np.sqrt(1 + 1 / len(logs))
    # A loss of exactly 0 in every run, which has no logarithm, is 0 in the next one too.
    return np.where(values.any(axis=0), np.exp(logs.mean(axis=0) + reach[:, None] * logs.std(axis=0, ddof=1)), 0.0)
