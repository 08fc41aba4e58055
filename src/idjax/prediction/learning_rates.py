"""Learning rates that a quadratic problem allows: stable and fastest, for the full batch and for minibatches."""

import math

import numpy as np

from idjax.prediction.problem import QuadraticProblem
from idjax.results.curve import LearningRates
from idjax.settings import Settings
from idjax.theory.full_batch import momentum as momenta
from idjax.theory.sgd import mean_square, minibatch, stability

STANDING = 1e-75
"""Eigenvalues, of a largest of 1, whose fourth powers underflow float64."""


def max_learning_rate(
    problem: QuadraticProblem, batch_size: int, momentum: float = 0.0, nesterov: bool = False, *, grouped: bool = False
) -> float:
    """The largest learning rate that is stable: for the full batch, or in mean square with this batch size.

    inf where nothing moves. grouped: with momentum, modes alike are taken together, to some digits in little time.
    """
    full_batch = momenta.max_learning_rate(problem.rates, momentum, nesterov)
    if batch_size >= problem.train.count or math.isinf(full_batch):
        return full_batch
    to_rate = _to_rate(problem)
    if momentum == 0:
        return to_rate * stability.max_step(problem.spectrum, problem.mean, batch_size)
    rule, unit = _in_units_of_the_largest(problem, batch_size, momentum, nesterov)
    rule = mean_square.grouped(mean_square.on_range(rule)) if grouped else rule
    return to_rate / unit * mean_square.max_rate(rule, full_batch / to_rate * unit)


def _to_rate(problem: QuadraticProblem) -> float:
    """η/η' of the outputs that count most; inf if none counts."""
    most = 2 * float(problem.output_shares.max())
    return 1 / most if most else math.inf


def _in_units_of_the_largest(
    problem: QuadraticProblem, batch_size: int, momentum: float, nesterov: bool
) -> tuple[minibatch.Updates, float]:
    """Updates whose largest eigenvalue is 1, and what it is: squares of the rates of tiny rows would overflow.

    Modes that are slower by more than float64 can square are taken to stand still.
    """
    unit = float(problem.spectrum.eigenvalues[0])
    eigenvalues, mean = problem.spectrum.eigenvalues / unit, problem.mean / np.sqrt(unit)
    eigenvalues = np.where(eigenvalues > STANDING, eigenvalues, 0.0)
    return minibatch.updates(eigenvalues, mean, batch_size, 1.0, momentum, nesterov), unit


def is_stable(problem: QuadraticProblem, settings: Settings, learning_rate: float) -> bool:
    """Whether this learning rate is stable in mean square with the batches and the momentum of the settings."""
    rate = learning_rate / _to_rate(problem)
    spectrum, mean, rank = problem.spectrum, problem.mean, problem.spectrum.rank
    if rank == 0 or rate == 0:
        return True
    if settings.momentum == 0:
        return stability.growth_is_below(1.0, rate, spectrum.eigenvalues[:rank], mean[:rank], settings.batch_size)
    rule, unit = _in_units_of_the_largest(problem, settings.batch_size, settings.momentum, settings.nesterov)
    return mean_square.growth_is_below(1.0, rule._replace(rate=rate * unit))


def learning_rates(
    problem: QuadraticProblem, batch_size: int, momentum: float = 0.0, nesterov: bool = False
) -> LearningRates:
    """Largest and best learning rates, full batch and in mean square with this batch size, and more for advice."""
    full_max = max_learning_rate(problem, problem.train.count, momentum, nesterov)
    full_best = momenta.best_learning_rate(problem.rates, momentum, nesterov)
    fastest = momenta.best(problem.rates, False)
    most, best = full_max, full_best
    if batch_size < problem.train.count and math.isfinite(full_max):
        most = max_learning_rate(problem, batch_size, momentum, nesterov)
        to_rate = _to_rate(problem)
        if momentum == 0:
            best = to_rate * stability.best_step(problem.spectrum, problem.mean, batch_size, most / to_rate)
        else:
            rule, unit = _in_units_of_the_largest(problem, batch_size, momentum, nesterov)
            best = to_rate / unit * mean_square.best_rate(rule, most / to_rate * unit)
    return LearningRates(
        full_batch_max=full_max,
        full_batch_best=full_best,
        max=most,
        best=best,
        critical_batch=stability.critical_batch(problem.spectrum, problem.mean, problem.train.count),
        momentum=fastest.momentum,
        momentum_rate=fastest.learning_rate,
    )


def two_digits(rate: float) -> float:
    """The rate, rounded down to two digits: what a person would type."""
    if not (0 < rate < math.inf):
        return rate
    scale = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return float(f"{math.floor(rate / scale + 1e-9) * scale:.2g}")
