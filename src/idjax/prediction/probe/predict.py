"""Frozen features and labels → the learning rate of a linear probe, its epochs, and what normalising would buy.

The rates are raced on some of the rows, turned into their principal axes, with the batches of the run: nothing is
approximated but that there may be fewer of them. docs/probes.md.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from idjax.moments.moments import moments_of
from idjax.moments.normalize import encode, fit
from idjax.prediction.probe import softmax
from idjax.prediction.probe.flow import flow_to
from idjax.prediction.probe.race import LabelledRows, Race, race
from idjax.results.diagnosis import Probe, ProbeRun
from idjax.types import IdjaxError

SHARE = 0.98
"""The accuracy to reach, over that of the converged probe."""
MOST_JUDGED = 16_000
"""Training rows that accuracy is taken on."""
NORMALIZERS = ("none", "center", "feature", "pca")
COARSE = 4.0 ** np.arange(-0.5, 4)
"""The first race's rates, over the smallest limit (P4)."""
SCOUTED = 4000
"""Of the judged rows, those that the first race is judged by: it only has to tell a rate from four times the rate."""
FINE = 2.0 ** (np.arange(-2, 3) / 2)
"""The second race's, over the first one's winner and half a step towards its better neighbour; as many, so that
both share a compilation. Run again around its own winner, where that is at an edge.
"""
AGAIN = 3
"""Times that the second race is run at most."""
ORDERS = 3
"""Orders of the rows in a race: with one the luckiest rate wins, which are those with most noise."""
BEGIN = 0.35
"""Share of the time that a rate is known to take before which nobody looks at it: a look costs tens of updates."""
CONFIRMED = 9
"""Orders of the rows that the chosen rate is timed on again: the winner of a race is lucky as well as fast."""
LONGER = 1.3
"""How much longer than the winner of the second race the others are timed."""
SLOW = 0.2
"""Rates below this share of the one prescribed follow the gradient flow."""
AT_MOST = 3
"""How many times the updates that a race is known to take it may take."""
MOST_STEPS = 50_000
MOST_WORK = 6e11
"""Multiplications that one race may take, some ten seconds of one core."""


class Features(NamedTuple):
    """Rows along the principal axes of a = [z; 1], some of them to judge by, and the labels' one-hot codes."""

    training: LabelledRows
    judged: LabelledRows
    codes: Float[np.ndarray, "N k"]


def predict_probe(
    x: Float[np.ndarray, "N p"],
    labels: Int[np.ndarray, " N"],
    classes: int,
    *,
    batch_size: int,
    momentum: float = 0.0,
    total: int | None = None,
    normalizers: tuple[str, ...] = NORMALIZERS,
    given: float | None = None,
    seed: int = 0,
) -> Probe:
    """The rate to use and the epochs that a linear probe takes: SGD on softmax cross-entropy from zero weights.

    Args:
      x, labels: features and labels from 0 to classes - 1 of all training rows, or of some.
      batch_size, momentum: of the run.
      total: training rows of the run; those of x if None. Epochs count passes over them.
      normalizers: what may be done to the features first; the first is what will be done.
      given: a learning rate to predict as well, under the first of them.

    Raises:
      IdjaxError: where there are no two classes, or features that do not vary.
    """
    total = len(x) if total is None else total
    if len(np.unique(labels)) < 2:
        raise IdjaxError("a probe needs rows of at least 2 classes: these have one label; give other labels")
    data = {kind: features(x, labels, classes, kind) for kind in dict.fromkeys((*normalizers, "pca"))}
    steps_per_epoch = -(-total // min(batch_size, total))
    # Whitened rows converge quickest, and to the same answers.
    ended = softmax.converged_weights(data["pca"].training.a, data["pca"].codes)
    right = np.argmax(data["pca"].judged.a @ ended, axis=1) == data["pca"].judged.labels
    converged = float(np.mean(right))
    scouted = SHARE * float(np.mean(right[:SCOUTED]))
    goal = Goal(SHARE * converged, scouted, steps_per_epoch, min(batch_size, total), momentum, seed)
    runs = tuple(predict_run(data[kind], kind, goal) for kind in normalizers)
    return Probe(
        classes=classes,
        rows=len(x),
        batch_size=batch_size,
        momentum=momentum,
        converged=converged,
        target=goal.accuracy,
        given=math.nan if given is None else given,
        given_epochs=math.nan if given is None else epochs_at(given, data[normalizers[0]], runs[0], goal),
        runs=runs,
    )


class Goal(NamedTuple):
    """The accuracy to reach, on all judged rows and on those of the first race, and how."""

    accuracy: float
    scouted: float
    steps_per_epoch: int
    batch_size: int
    momentum: float
    seed: int


def features(x: Float[np.ndarray, "N p"], labels: Int[np.ndarray, " N"], classes: int, normalize: str) -> Features:
    """The rows normalised by their own statistics, then along their principal axes."""
    z, _, _ = encode(normalize, fit(normalize, moments_of(x)), x, None)
    a = softmax.with_bias(np.asarray(z, np.float64))
    u = a @ softmax.principal_axes(a).vectors
    some = np.random.default_rng(0).permutation(len(x))[:MOST_JUDGED]
    return Features(LabelledRows(u, labels), LabelledRows(u[some], labels[some]), np.eye(classes)[labels])


def predict_run(data: Features, normalize: str, goal: Goal) -> ProbeRun:
    """The rate to use under one normaliser, by races."""
    u, classes = data.training.a, data.codes.shape[1]
    limits = softmax.stable_rates(u, classes, goal.batch_size, goal.momentum)
    linearised = softmax.linearised_step(u, data.codes, data.judged.a, data.judged.labels, goal.accuracy)
    rates, times, chosen = _tried(data, limits.minibatch, goal)
    steps, how = _confirm(data, float(rates[chosen]), goal, float(times[chosen])), "raced"
    if math.isinf(steps):
        how = "flow"
        steps = flow_to(data.training, data.judged, classes, goal.accuracy)[0] * (1 - goal.momentum) / rates[chosen]
    return ProbeRun(
        normalize=normalize,
        learning_rate=float(rates[chosen]),
        epochs=float(steps) / goal.steps_per_epoch,
        how=how,
        start_limit=limits.start,
        always_limit=limits.always,
        minibatch_limit=limits.minibatch,
        largest=float(np.max(np.mean(u**2, axis=0))),
        linearised=linearised * (1 - goal.momentum) / goal.steps_per_epoch,
        raced=rates,
        raced_epochs=times / goal.steps_per_epoch,
    )


def _tried(data: Features, limit: float, goal: Goal) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"], int]:
    """Rates, the updates that each took, and which to use: raced over all rates, then around the first one's winner."""
    some = LabelledRows(*(part[:SCOUTED] for part in data.judged))
    rates = limit * COARSE
    first = _race(data._replace(judged=some), rates, goal._replace(accuracy=goal.scouted))
    times = first.steps
    if np.isinf(times).all():  # too slow for so many: the leader goes on alone
        return rates, times, int(np.argmax(first.accuracy[-1]))
    chosen = int(np.argmin(times))
    beside = first.accuracy[-1, [max(chosen - 1, 0), min(chosen + 1, len(rates) - 1)]]
    centre = rates[chosen] * math.sqrt(2) ** np.sign(beside[1] - beside[0])
    for _ in range(AGAIN):
        known, rates = times[chosen], centre * FINE
        times = _race(data, rates, goal, extra=LONGER, known=known).steps
        chosen = fastest(rates, times) if np.isfinite(times).any() else len(FINE) // 2
        if 0 < chosen < len(FINE) - 1:
            break
        centre = rates[chosen]
    return rates, times, chosen


def epochs_at(rate: float, data: Features, run: ProbeRun, goal: Goal) -> float:
    """Epochs at a rate that someone else chose: by the flow where it is slow, else raced by itself."""
    if rate > SLOW * run.learning_rate:
        return _confirm(data, rate, goal, run.epochs * goal.steps_per_epoch) / goal.steps_per_epoch
    clock, _ = flow_to(data.training, data.judged, data.codes.shape[1], goal.accuracy)
    return clock * (1 - goal.momentum) / rate / goal.steps_per_epoch


def fastest(rates: Float[np.ndarray, " R"], times: Float[np.ndarray, " R"]) -> int:
    """The index of the rate with the least time, of a parabola through the times that are known, in logarithms."""
    known = np.isfinite(times)
    if np.count_nonzero(known) < 4 or np.min(times) == 0:  # of a start that answers well enough
        return int(np.argmin(times))
    parabola = np.polyfit(np.log(rates[known]), np.log(times[known]), 2)
    return int(np.argmin(np.where(known, np.polyval(parabola, np.log(rates)), np.inf)))


def _confirm(data: Features, rate: float, goal: Goal, known: float) -> float:
    """Updates at one rate, from orders that it was not chosen by; inf if too many."""
    again = goal._replace(seed=goal.seed + 1)
    return float(_race(data, np.array([rate]), again, orders=CONFIRMED, known=known).steps[0])


def _race(
    data: Features,
    rates: Float[np.ndarray, " R"],
    goal: Goal,
    *,
    orders: int = ORDERS,
    extra: float = 1.0,
    known: float = math.inf,
) -> Race:
    """A race that is known to take about so many updates, if it is."""
    classes, unknown = data.codes.shape[1], math.isinf(known)
    update = 4 * len(rates) * orders * goal.batch_size * data.training.a.shape[1] * classes
    most = max(500, MOST_WORK / update, 0 if unknown else AT_MOST * known)

    def raced(begin: float) -> Race:
        return race(
            data.training, data.judged, classes, rates, goal.accuracy, batch_size=goal.batch_size,
            momentum=goal.momentum, orders=orders, seed=goal.seed, extra=extra, begin=begin,
            most_steps=int(min(MOST_STEPS, most)),
        )  # fmt: skip

    found = raced(0 if unknown else BEGIN * known)
    return found if unknown or np.min(found.steps) > BEGIN * known else raced(0)
