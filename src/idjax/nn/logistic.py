"""Logistic and softmax regression: the loss of the base rates, and the least loss of a linear layer, if it has one.

One output is a logit of two classes, with targets from 0 to 1; of more, each is the logit of a class, with targets that
sum to 1. Losses are means over rows. Source: McFadden 1974, "Conditional logit analysis of qualitative choice
behavior", for 1 - loss/(loss of the base rates) as what is explained; Albert and Anderson 1984, "On the existence of
maximum likelihood estimates in logistic regression models", for classes that a plane separates, whose loss has none.
"""

from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Float

from idjax.moments.normalize import standardize_samples
from idjax.moments.remembered import remembered
from idjax.types import Rows

MOST_ROWS = 10_000
"""Rows, evenly spaced, that the least loss is looked for on."""
SEPARABLE = (
    "the classes are separable: the loss has no least value but falls for ever as the weights grow, so that learned "
    "means a share of what is explained on the way there"
)
DEGENERATE = 1e-10
"""Eigenvalues below this share of the largest are left out."""


class LeastLoss(NamedTuple):
    """The least loss of a linear layer on its training rows; the share of the judged rows' that it explains, or the
    most on the way there where classes are separable; and whether they are, so that the loss has an infimum of 0 only.
    """

    loss: float
    explained: float
    separable: bool


def base_loss(mean: Float[np.ndarray, " q"]) -> float:
    """The loss of always answering the mean of the targets, their entropy.

    Example:
      >>> round(base_loss(np.array([0.5])), 4), round(base_loss(np.full(4, 0.25)), 4)
      (0.6931, 1.3863)
    """
    rates = np.append(mean, 1 - mean) if len(mean) == 1 else mean
    return float(np.sum(scipy.special.entr(np.clip(rates, 0.0, 1.0))))


def mean_loss(logits: Float[np.ndarray, "N q"], targets: Float[np.ndarray, "N q"]) -> float:
    """The mean cross-entropy over rows."""
    return shares_and_loss(logits, targets)[1]


def shares_and_loss(
    logits: Float[np.ndarray, "N q"], targets: Float[np.ndarray, "N q"]
) -> tuple[Float[np.ndarray, "N q"], float]:
    """The shares p that the logits give the classes, and the mean cross-entropy over rows."""
    if logits.shape[1] == 1:
        return scipy.special.expit(logits), float(np.mean(np.logaddexp(0, logits) - targets * logits))
    top = np.max(logits, axis=1, keepdims=True)
    odds = np.exp(logits - top)
    total = np.sum(odds, axis=1, keepdims=True)
    return odds / total, float(np.mean(np.log(total) + top - np.sum(targets * logits, axis=1, keepdims=True)))


@remembered
def least_loss(
    x: Float[np.ndarray, "N p"],
    y: Float[np.ndarray, "N q"],
    judged_x: Float[np.ndarray, "M p"] | None = None,
    judged_y: Float[np.ndarray, "M q"] | None = None,
) -> LeastLoss:
    """By L-BFGS on whitened inputs, from zero weights; once for a prediction and the training beside it.

    Args:
      judged_x, judged_y: the rows that the explained share is told of; the training rows if None.

    Example:
      >>> x = np.arange(-2.0, 3.0)[:, None]
      >>> least_loss(x, (x > 0).astype(float)).separable, least_loss(x, (x**2 > 2).astype(float)).separable
      (True, False)
    """
    every = -(-len(x) // MOST_ROWS)
    x, y = x[::every].astype(np.float64), y[::every].astype(np.float64)
    seen, targets = x, y
    if judged_x is not None and judged_y is not None:
        seen, targets = (part[:: -(-len(part) // MOST_ROWS)] for part in (judged_x, judged_y))
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True).reshape(x.shape[1], -1))
    kept = values > DEGENERATE * values[-1]
    whiten = vectors[:, kept] / np.sqrt(values[kept])
    a, b = (np.append((part - mean) @ whiten, np.ones((len(part), 1)), axis=1) for part in (x, seen))
    shape = a.shape[1], y.shape[1]
    passed: list[float] = []

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        shares, value = shares_and_loss(a @ flat.reshape(shape), y)
        return value, (a.T @ (shares - y) / len(a)).ravel()

    def look(flat: np.ndarray) -> None:
        passed.append(mean_loss(b @ flat.reshape(shape), targets))

    found = scipy.optimize.minimize(
        loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", callback=look,
        options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8},
    )  # fmt: skip
    separable = _separates(a @ found.x.reshape(shape), y)
    base = base_loss(targets.mean(axis=0))
    least = min(passed, default=base) if separable else mean_loss(b @ found.x.reshape(shape), targets)
    explained = 1.0 if separable and judged_x is None else 1 - least / base if base > 0 else 0.0
    return LeastLoss(0.0 if separable else float(found.fun), explained, separable)


def least_loss_of(normalize: str, training: Rows, judged: Rows | None = None) -> LeastLoss:
    """The least loss of rows that a model normalises; of what is an affine map it knows nothing, for it whitens."""
    x, seen = training.x, None if judged is None or judged is training else judged.x
    if normalize == "sample":
        x, seen = standardize_samples(x)[0], None if seen is None else standardize_samples(seen)[0]
    return least_loss(x, training.target, seen, None if seen is None or judged is None else judged.target)


def _separates(logits: np.ndarray, targets: np.ndarray) -> bool:
    """Whether every row's own class has strictly the largest logit."""
    if not np.isin(targets, (0.0, 1.0)).all():
        return False
    if logits.shape[1] == 1:
        return bool(np.all(logits * (2 * targets - 1) > 0))
    own = np.sum(logits * targets, axis=1)
    others = np.max(np.where(targets > 0, -np.inf, logits), axis=1)
    return bool(np.all(own > others))
