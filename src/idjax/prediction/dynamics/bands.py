"""95% bands of the losses of a run: over the random starts of the weights and, for SGD, over the orders of the rows."""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

from idjax.nn.model import INITIALIZERS, start_layers
from idjax.prediction.dynamics import simulate
from idjax.prediction.dynamics.adam import adam_of_output
from idjax.prediction.dynamics.deep_linear import left_by_bottleneck
from idjax.prediction.dynamics.full_batch import FullBatchTrajectory
from idjax.prediction.dynamics.minibatch import MinibatchTrajectory, shuffled_updates
from idjax.prediction.dynamics.order_spread import spread_over_orders
from idjax.prediction.dynamics.rounded import SlowedTrajectory
from idjax.prediction.dynamics.scheduled import ScheduledTrajectory
from idjax.prediction.dynamics.theories import seconds_of, trajectory_for
from idjax.prediction.dynamics.trajectory import Losses, RunSpec, SampledTrajectory, Trajectory, floor_of
from idjax.theory.sgd.horizons import shortest_jump
from idjax.theory.sgd.inverse_z_transform import window_over
from idjax.types import Band, Progress, Weights, end_to_end, silent

MANY = 200
"""Starts of a band, where the losses of one cost next to nothing: their percentiles are the band."""
FEW = 8
"""Starts where each has to be followed: the band is where one more falls, by Student's t of the logarithms."""
MOST_WORK = 2e10
"""Products that a band may cost, well under a minute; longer runs and wider data have none."""
PRODUCTS_OF_NODE, PRODUCTS_OF_STEP = 10, 20
"""Products for each pair of modes and start: at a node of the z-transform, and in a step that is iterated."""
MOST_SECONDS = 20.0
"""What following FEW starts may take."""
SAMPLED, STARTS_EACH = 4, 2
"""Outputs whose starts stand for those of all, and starts of each, where even one run takes minutes."""
MOST_LOSSES = 2**22
"""Losses of a band held at once."""
NUMBERS_AT_ONCE = 2**24
LEVEL = 0.95
_GAUSS = np.polynomial.legendre.leggauss(12)
NODES, NODE_WEIGHTS = ((_GAUSS[0] + 1) / 2) ** 2, _GAUSS[1] * (_GAUSS[0] + 1) / 2
"""Where the losses of an epoch are read, closest at its beginning, and their weights in its mean."""
NOTHING = 1e-12
"""Share of the first loss below which runs are not simulate."""


class Bands(NamedTuple):
    """Of the training and the validation loss, None where there are none; and what else there is to know."""

    train: Band | None = None
    validation: Band | None = None
    notes: tuple[str, ...] = ()


def bands_of(spec: RunSpec, trajectory: Trajectory) -> Bands:
    """Bands of the losses about a trajectory's; none where they would take minutes, or where nothing is random."""
    epochs = np.arange(1.0, spec.settings.epochs + 1)
    first, slowed = trajectory.losses(epochs), None
    if isinstance(trajectory, SlowedTrajectory):
        # Rounding slows other starts and orders as it slows this one.
        trajectory = trajectory.unrounded
        slowed, first = first, trajectory.losses(epochs)
    spread = None
    if isinstance(trajectory, MinibatchTrajectory | ScheduledTrajectory):
        spread = spread_over_orders(spec, trajectory, epochs)
    elif spec.empirical_rows:
        spread = spread_over_orders(spec, MinibatchTrajectory(spec), epochs)
    drawn = spec.settings.start in (INITIALIZERS if spec.layers else ("glorot",))
    runs = _on_rows(spec, drawn) if spec.layers and not spec.full_batch else None
    found = runs or (_over_starts(spec, trajectory, first, epochs) if drawn else [first])
    if found is None or (spread is None and len(found) == 1):
        return Bands()
    if runs and (lost := sum(not np.isfinite(run.train).all() for run in runs)):
        return Bands(notes=(f"{lost} of {len(runs)} runs followed on the rows diverge, so that there is no band",))
    over = " and ".join(["starts"] * drawn + ["orders of the rows"] * bool(spread or runs))
    over += f", {len(runs)} runs followed" if runs else ""
    problem = spec.problem

    def band(field: str, constant: float, least: float = 0.0) -> Band:
        values = np.stack([getattr(one, field) for one in found]) - least
        if slowed is not None:
            values = values * getattr(slowed, field) / getattr(first, field)
        ends = _quantiles(values, None if spread is None else getattr(spread, field)) + constant + least
        return Band(*ends, over=over)

    floor, least = floor_of(problem), 0.0
    if runs or not spec.settings.linear:
        # That of linear layers does not bound what activations, or the batches of one run, can do: losses are whole.
        least = -floor
    elif spec.layers:
        least = left_by_bottleneck(spec)
    train = band("train", floor, least)
    validation = None if problem.validation is None else band("validation", problem.penalty[1])
    return Bands(train, validation, _beside(spec, train, first.train[-1] + floor) if runs else ())


def _beside(spec: RunSpec, band: Band, predicted: float) -> tuple[str, ...]:
    """How far the band's runs end from the predicted loss, where that lies outside their band."""
    if band.low[-1] <= predicted <= band.high[-1]:
        return ()
    left_out = "the noise of their batches" + ("" if spec.settings.linear else " and the drift of the tangent kernel")
    off = 100 * (band.median[-1] / predicted - 1)
    where = f"{abs(off):.3g}% {'above' if off > 0 else 'below'}"
    return (f"the runs that the band is made of end {where} the predicted loss, which leaves out {left_out}",)


def _on_rows(spec: RunSpec, drawn: bool) -> list[Losses] | None:
    """FEW runs on the rows at hand, in other orders, from other starts if these are drawn; None if it takes long."""
    if simulate.seconds_of(spec, FEW) > MOST_SECONDS:
        return None
    spec.progress(Progress(0, 1, f"the band, from {FEW} runs on the rows"))
    return simulate.on_rows(
        spec, [other.layers for other in _other_layers(spec, FEW)] if drawn else [spec.layers] * FEW
    )


def _over_starts(
    spec: RunSpec, trajectory: Trajectory, first: Losses, epochs: Float[np.ndarray, " E"]
) -> list[Losses] | None:
    """Losses of other starts: MANY to take percentiles of, or FEW; None where they would take minutes."""
    if spec.empirical_rows:
        return _by_means(spec, first, _starts(spec, MANY), epochs)
    if isinstance(trajectory, FullBatchTrajectory | MinibatchTrajectory):
        return _of_linear(spec, first, _starts(spec, MANY), epochs)
    if isinstance(trajectory, ScheduledTrajectory):
        return [trajectory.of_start(start) for start in _starts(spec, MANY)]
    if isinstance(trajectory, SampledTrajectory) and trajectory.outputs is not None:
        return _from_outputs(spec, trajectory, epochs)
    if spec.layers:
        return _of_few(_other_layers(spec, FEW), epochs)
    found = _of_few([spec._replace(start=start) for start in _starts(spec, FEW)], epochs)
    return _of_sampled_outputs(spec, first, epochs) if found is None and not spec.full_batch else found


def _other_layers(spec: RunSpec, count: int) -> list[RunSpec]:
    """The run from other draws of all layers."""
    settings, problem = spec.settings, spec.problem
    sizes = (problem.train.inputs, *settings.widths, problem.train.outputs)
    seeds = np.random.default_rng([settings.seed, 2]).integers(2**32, size=count)
    drawn = [start_layers(settings.start, sizes, int(seed)) for seed in seeds]
    return [spec._replace(start=end_to_end(layers), layers=layers) for layers in drawn]


def _starts(spec: RunSpec, count: int) -> list[Weights]:
    """Kernels of Glorot and Bengio (2010), drawn from U(-l, l), l = √(6/(p + q)), in the problem's coordinates."""
    problem = spec.problem
    limit = np.sqrt(6 / (problem.train.inputs + problem.train.outputs))
    draws = np.random.default_rng(spec.settings.seed)
    shape, zeros = problem.reference.kernel.shape, np.zeros_like(problem.reference.bias)
    return [problem.enter(Weights(draws.uniform(-limit, limit, shape), zeros)) for _ in range(count)]


def _of_linear(
    spec: RunSpec, first: Losses, starts: list[Weights], epochs: Float[np.ndarray, " E"]
) -> list[Losses] | None:
    """The losses of many starts of a linear recursion; None where that would take minutes."""
    modes, outputs = spec.problem.spectrum.eigenvalues.size, spec.start.bias.size
    groups, count = spec.problem.groups, len(starts)
    if spec.full_batch:
        work = modes**2 * (outputs + len(epochs) * groups)
        if work * count > MOST_WORK * 25:
            return None
        return [FullBatchTrajectory(spec._replace(start=start)).losses(epochs) for start in starts]
    last = float(spec.steps * len(epochs))
    iterated = min(last, shortest_jump(shuffled_updates(spec, spec.settings.step_size)))
    nodes = window_over(iterated, last).nodes.size
    work = modes**2 * (outputs + groups * (PRODUCTS_OF_NODE * nodes + PRODUCTS_OF_STEP * iterated))
    if count * len(epochs) > MOST_LOSSES or work * count > MOST_WORK:
        return _by_means(spec, first, starts, epochs)
    at_once = max(1, NUMBERS_AT_ONCE // (2 * modes**2 * groups))
    parts = [starts[i : i + at_once] for i in range(0, count, at_once)]
    return [losses for part in parts for losses in MinibatchTrajectory(spec, part).ensemble(epochs)]


def _by_means(
    spec: RunSpec, first: Losses, starts: list[Weights], epochs: Float[np.ndarray, " E"]
) -> list[Losses] | None:
    """The same to leading order in the batches' noise: the mean of the weights differs, and what is left of it."""
    if spec.start.stacked.size * spec.problem.groups * len(starts) * len(epochs) * len(NODES) > MOST_WORK:
        return None
    within = ((epochs[:, None] - 1 + NODES) * spec.steps).ravel() + 1

    def of_mean(start: Weights) -> Losses:
        trajectory = FullBatchTrajectory(spec._replace(start=start))
        ends = trajectory.losses(epochs * spec.steps)
        return ends._replace(train=trajectory.losses(within).train.reshape(-1, len(NODES)) @ NODE_WEIGHTS)

    own = of_mean(spec.start)
    return [Losses(*(a + b - c for a, b, c in zip(first, of_mean(start), own, strict=True))) for start in starts]


def _from_outputs(spec: RunSpec, trajectory: SampledTrajectory, epochs: Float[np.ndarray, " E"]) -> list[Losses]:
    """Losses of MANY starts, from what each output adds to those of a few: outputs learn independently of each other.

    The variance over starts is the sum of those of the outputs, so that few starts tell it; the logarithm is normal.
    """
    assert trajectory.outputs is not None
    outputs = trajectory.outputs.shape[1]
    count = min(FEW, 2 + 20 // outputs)
    runs = [trajectory, *(trajectory_for(spec._replace(start=start, beyond=False)) for start in _starts(spec, count))]
    known = np.stack([run.outputs for run in runs if isinstance(run, SampledTrajectory) and run.outputs is not None])
    mean = np.mean([run.losses(epochs)[:2] for run in runs], axis=0)
    deviation = np.sqrt(known.var(axis=0, ddof=1).sum(axis=1))
    return _lognormal(mean, deviation, (len(runs) - 1) * outputs, 1 + 1 / len(runs))


def _of_sampled_outputs(spec: RunSpec, first: Losses, epochs: Float[np.ndarray, " E"]) -> list[Losses]:
    """The same from a few starts of a few outputs, where one run of all takes minutes.

    The variance over starts is that of these outputs, times all over these. What is known of the mean is the run given.
    """
    draws = np.random.default_rng([spec.settings.seed, 3])
    outputs = draws.permutation(spec.start.bias.size)[:SAMPLED]
    each = STARTS_EACH * SAMPLED // len(outputs)
    starts = _starts(spec, each * len(outputs))

    def one(done: int, output: int, start: Weights) -> Float[np.ndarray, "2 E"]:
        spec.progress(Progress(done, len(outputs) * each, "the band, from other starts"))
        return adam_of_output(spec._replace(progress=silent), output, start)

    known = np.array([one(k, int(outputs[k // each]), start) for k, start in enumerate(starts)])
    known = known.reshape(len(outputs), each, *known.shape[1:])
    variance = known.var(axis=1, ddof=1).mean(axis=0) * spec.start.bias.size
    return _lognormal(np.array(first[:2]), np.sqrt(variance), len(outputs) * (each - 1), 2.0)


def _lognormal(
    mean: Float[np.ndarray, "2 E"], deviation: Float[np.ndarray, "2 E"], freedom: int, variances: float
) -> list[Losses]:
    """MANY losses whose logarithms are spread as Student's t says of one more start: its variance and the mean's."""
    reach = scipy.stats.t.ppf((np.arange(MANY) + 0.5) / MANY, freedom) * np.sqrt(variances)
    train, validation = mean[:, None] * np.exp(reach[:, None] * (deviation / mean)[:, None])
    return [Losses(*pair, np.full_like(pair[0], np.nan)) for pair in zip(train, validation, strict=True)]


def _of_few(courses: list[RunSpec], epochs: Float[np.ndarray, " E"]) -> list[Losses] | None:
    """The losses of runs that are followed one by one; None where that would take minutes."""
    if sum(map(seconds_of, courses)) > MOST_SECONDS:
        return None
    found = []
    for done, spec in enumerate(courses):
        spec.progress(Progress(done, len(courses), "the band, from other starts"))
        found.append(trajectory_for(spec._replace(beyond=False, progress=silent)).losses(epochs))
    return found


def _quantiles(values: Float[np.ndarray, "k E"], spread: Float[np.ndarray, " E"] | None) -> Float[np.ndarray, "3 E"]:
    """The ends and the median of the band, of losses that are each lognormal with this relative spread, if any."""
    tails = np.array([(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    if spread is not None:
        # Every start meets another quantile of the orders of the rows.
        width = np.sqrt(np.log1p(spread**2))
        normal = np.random.default_rng(0).permutation(scipy.stats.norm.ppf((np.arange(MANY) + 0.5) / MANY))
        values = values * np.exp(width * normal[:, None] - width**2 / 2)
    if len(values) >= MANY:
        return np.percentile(values, 100 * tails, axis=0)
    # One more start falls there if logarithms are normal: at their mean ± t s √(1 + 1/k).
    logs = np.log(np.maximum(values, NOTHING * values[:, :1]))
    reach = scipy.stats.t.ppf(tails, len(logs) - 1) * np.sqrt(1 + 1 / len(logs))
    return np.exp(logs.mean(axis=0) + reach[:, None] * logs.std(axis=0, ddof=1))
