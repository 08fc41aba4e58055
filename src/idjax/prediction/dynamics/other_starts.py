"""The losses of a linear recursion from other starts, which the mean of the weights tells; docs/theory.md (133)."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from idjax.prediction import budget
from idjax.prediction.dynamics.run_spec import RunSpec
from idjax.prediction.dynamics.trajectory import Losses, NoEnsemble, evaluate
from idjax.theory.quadratic import Quadratic
from idjax.types import Weights

Means = Callable[[Float[np.ndarray, " E"]], tuple[Float[np.ndarray, "E g n"], Float[np.ndarray, "E g n"]]]
"""Of some epochs: what is left of each mode of the mean of the weights at their ends, and its mean square in them."""


def from_other_starts(
    spec: RunSpec,
    starts: Sequence[Weights],
    means: Means,
    own: Losses | None = None,
    losses_of: Callable[[RunSpec], Losses] | None = None,
) -> list[Losses] | NoEnsemble:
    """The losses of the run from each start: those of the means alone, or to leading order in the batches' noise.

    Label noise adds the same from every start, what `losses_of` says of the optimum; all else is what the means make of
    it, times what the run's `own` losses are of those of its means.
    """
    modes, count = spec.problem.rates.size, len(starts) * spec.settings.epochs
    if count > budget.LOSSES or count * modes * (spec.problem.spectrum.eigenvalues.size + 2) > budget.ENSEMBLE:
        return NoEnsemble.BEYOND_BUDGET
    size = max(1, budget.NUMBERS_AT_ONCE // modes)
    parts = [means(spec.epochs[first : first + size]) for first in range(0, spec.settings.epochs, size)]
    there = [_of_means(spec._replace(start=start), parts) for start in starts]
    if own is None or losses_of is None:
        return [Losses(*map(np.add, *pair)) for pair in there]
    optimum = spec._replace(start=spec.problem.reference)
    here = _of_means(spec, parts)
    noise = [a - line for a, line in zip(losses_of(optimum), _of_means(optimum, parts)[0], strict=True)]
    share = [_over(a - line - b, square) for a, b, line, square in zip(own, noise, *here, strict=True)]
    return [
        Losses(*(line + square * by + b for line, square, by, b in zip(*one, share, noise, strict=True)))
        for one in there
    ]


def _over(a: Float[np.ndarray, " E"], b: Float[np.ndarray, " E"]) -> Float[np.ndarray, " E"]:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def _of_means(spec: RunSpec, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[Losses, Losses]:
    """The part of the losses that the mean of the weights makes: constant, linear and square."""
    ends = np.concatenate([end for end, _ in parts])
    train = np.concatenate([squares.reshape(len(squares), -1) @ spec.power().ravel() for _, squares in parts])

    def split(form: Quadratic | None) -> tuple[np.ndarray, np.ndarray]:
        if form is None:
            return np.full_like(train, np.nan), np.full_like(train, np.nan)
        line = np.asarray(form.constant) + 2 * np.einsum("gn,egn->e", np.asarray(form.linear), ends)
        return line, np.asarray(evaluate(form, ends)) - line

    lines, squares = zip(*map(split, (spec.validation(), spec.judged())), strict=True)
    return Losses(np.zeros_like(train), *lines), Losses(train, *squares)
