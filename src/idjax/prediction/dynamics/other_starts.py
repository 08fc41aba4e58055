"""The losses of a linear recursion from other starts, which the mean of the weights tells; docs/theory.md (133)."""

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float

from idjax.prediction import budget
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.prediction.dynamics.trajectory import Losses
from idjax.prediction.problem import QuadraticProblem
from idjax.theory.quadratic import evaluate, quadratic_form
from idjax.types import Weights

Means = Callable[[Float[np.ndarray, " E"]], tuple[Float[np.ndarray, "E g n"], Float[np.ndarray, "E g n"]]]
"""Of some epochs: what is left of each mode of the mean of the weights at their ends, and its mean square in them."""


def from_other_starts(
    spec: RunSpec,
    starts: Iterable[Weights],
    many: int,
    means: Means,
    own: Losses | None = None,
    losses_of: Callable[[RunSpec], Losses] | None = None,
) -> list[Losses] | None:
    """The losses of the run from each of so many starts: those of the means alone, or to leading order in the batches'
    noise; None beyond the budget.

    Without the error as judged, NaN, which would take as long again and no band is asked for.
    Label noise adds the same from every start, what `losses_of` says of the optimum; all else is what the means make of
    it, times what the run's `own` losses are of those of its means.
    """
    problem, epochs = spec.problem, spec.epochs
    modes, count, numbers = problem.rates.size, many * len(epochs), spec.start.stacked.size
    # Of every epoch, and of every start: its coefficients, and what it bends the moments of each of the rows with.
    n = problem.spectrum.eigenvalues.size
    products = count * modes * (n + 2) + many * n * numbers * (1 + 2 * (problem.groups == 1))
    if count > budget.LOSSES or products > budget.ENSEMBLE:
        return None
    size = max(1, budget.NUMBERS_AT_ONCE // modes)
    parts = [means(epochs[first : first + size]) for first in range(0, len(epochs), size)]
    ends, squares = map(np.concatenate, zip(*parts, strict=True))
    size = max(1, budget.NUMBERS_AT_ONCE // (modes * (len(epochs) + n) + numbers))
    drawn = iter(starts)
    chosen = iter(lambda: list(itertools.islice(drawn, size)), [])
    lines, squares_there = (
        [np.concatenate(part) for part in zip(*each, strict=True)]
        for each in zip(*(_of_means(problem, some, ends, squares) for some in chosen), strict=True)
    )
    if own is None or losses_of is None:
        found = map(np.add, lines, squares_there)
    else:
        line, square = _of_means(problem, [spec.start, problem.reference], ends, squares)
        at_optimum = losses_of(spec._replace(start=problem.reference))
        noise = [whole - part[1] for whole, part in zip(at_optimum[:2], line, strict=True)]
        parts = zip(own[:2], line, square, noise, strict=True)
        share = [_over(whole - a[0] - added, b[0]) for whole, a, b, added in parts]
        found = (a + b * by + added for a, b, by, added in zip(lines, squares_there, share, noise, strict=True))
    unasked = np.full(len(epochs), np.nan)
    train, validation = found
    return [Losses(*one, unasked) for one in zip(train, validation, strict=True)]


def _over(a: Float[np.ndarray, " E"], b: Float[np.ndarray, " E"]) -> Float[np.ndarray, " E"]:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def _of_means(
    problem: QuadraticProblem,
    starts: Sequence[Weights],
    ends: Float[np.ndarray, "E g n"],
    squares: Float[np.ndarray, "E g n"],
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Of training and validation loss what the mean of the weights makes, (k, E): constant with linear, and square."""
    kernels, biases = (np.stack(parts) for parts in zip(*starts, strict=True))
    errors = np.concatenate([kernels, biases[:, None]], axis=1) - problem.reference.stacked
    coefficients = problem.spectrum.eigenvectors.T @ errors
    powers = problem.spectrum.eigenvalues[:, None] * coefficients**2 * problem.output_shares
    powers = powers.sum(axis=2) if problem.groups == 1 else powers.swapaxes(1, 2)
    train = powers.reshape(len(starts), -1) @ squares.reshape(len(squares), -1).T

    line = bent = np.full_like(train, np.nan)
    if problem.on_validation is not None:
        form = quadratic_form(problem.on_validation, coefficients[:, None], problem.output_weights, problem.groups)
        line = form.constant + 2 * np.einsum("kgn,egn->ke", form.linear[:, 0], ends)
        bent = evaluate(form, ends) - line
    return (np.zeros_like(train), line), (train, bent)
