"""Full-batch runs that fall 90% of the way to their floor, as predictions are compared with them."""

import dataclasses
import functools

import numpy as np
import pytest
from conftest import PROBLEMS

import idjax
from idjax.moments.moments import measure, moments_of
from idjax.moments.normalize import encode, fit, undo
from idjax.prediction.learning_rates import learning_rates
from idjax.prediction.predict import predict
from idjax.prediction.problem import quadratic_problem
from idjax.settings import Settings
from idjax.training.train import train

EXACT = 1e-8


def where(condition):
    """Runs a test on the problems of which the condition holds."""
    return pytest.mark.parametrize("problem", list(filter(condition, PROBLEMS)), ids=lambda problem: problem.name)


@functools.cache
def full_batch(problem, **changes) -> Settings:
    """Full batch in float64 at the problem's share of the largest rate, long enough to lose 90% of what can be lost."""
    rows = len(problem.x)
    settings = Settings(batch_size=rows, validation_split=0.0, dtype="float64", epochs=1, **changes)
    problem_of = quadratic_problem(measure(problem.x, problem.y), None, settings)
    rate = problem.learning_rate_share * learning_rates(problem_of, rows).full_batch_max
    settings = dataclasses.replace(settings, learning_rate=rate)
    for epochs in (100, 1_000, 10_000, 100_000):
        settings = dataclasses.replace(settings, epochs=epochs)
        curve = predict(problem.x, settings, target=problem.y, band=False)
        if fallen(curve.train, floor_of(problem, settings)) > 0.9:
            return settings
    raise AssertionError("no horizon moves the loss 90% of the way to its floor")


@functools.cache
def trained_full_batch(problem, **changes) -> idjax.Curve:
    """What training with these settings gives, which several tests compare predictions with."""
    return train(problem.x, full_batch(problem, **changes), target=problem.y)


def floor_of(problem, settings: Settings) -> float:
    """The smallest loss, by least squares on the rows as the layer sees them; the L2 penalty shrinks its solution."""
    fitted = fit(settings.normalize, moments_of(problem.x, problem.y))
    z, target, affine = encode(settings.normalize, fitted, problem.x, problem.y)
    a = np.c_[z, np.ones(len(z))]
    output = a @ np.linalg.lstsq(a, target, rcond=None)[0]
    shrink = 1 + settings.activity_l2 * target.shape[1]
    error = target - output / shrink
    if settings.loss_space == "original" and settings.normalize != "none":
        error = undo(error, affine) - affine.shift
    loss = np.mean(error**2)
    return float(loss + settings.activity_l2 * np.mean(np.sum((output / shrink) ** 2, axis=1)))


def fallen(losses: np.ndarray, floor: float) -> float:
    return (losses[0] - losses[-1]) / (losses[0] - floor)


def worst(predicted: np.ndarray, trained: np.ndarray) -> float:
    """The largest difference along the curve, relative to the loss; below 1e-16 of the start it is rounding."""
    return float(np.max(np.abs(predicted - trained) / np.maximum(trained, 1e-12 * trained[0])))


def beyond_chance(predicted, trained) -> float:
    """The largest difference of the mean over seeds beyond three standard errors, relative to the loss."""
    losses = np.array([curve.validation for curve in trained])
    error = losses.std(axis=0, ddof=1) / np.sqrt(len(losses))
    return float(np.max((np.abs(losses.mean(axis=0) - predicted.validation) - 3 * error) / predicted.validation))
