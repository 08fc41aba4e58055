"""Very many steps of minibatch SGD with momentum, by powers of the matrix that few second moments move by."""

import math

import numpy as np
from jaxtyping import Float

from idjax.theory.sgd.minibatch import Pairs, Updates, moved

LARGEST = 512
"""Second moments up to which their matrix is cheap to multiply."""


def by_powers(
    rule: Updates,
    pairs: Pairs,
    moments: Float[np.ndarray, "4 P"],
    noise: float,
    forms: Float[np.ndarray, "k P"],
    steps: int,
) -> Float[np.ndarray, "steps k"]:
    """tr(Q E) before each of so many updates, as `minibatch.iterated` has it.

    With s_t the second moments and a 1, s_{t+1} = B s_t: of t = i m + j, Q B^j is made by j products, and B^(m i) s_0
    by i of them with B^m, where m² ≈ steps. Rounding B is felt at every step: to within steps · 2e-16 of the start's.
    """
    matrix = _matrix(rule, pairs, noise)
    length = math.isqrt(steps - 1) + 1
    state = np.append(moments.ravel(), 1.0)
    rows = np.zeros((len(forms), len(matrix)))
    rows[:, : forms.shape[1]] = forms
    seen, leap = [], np.linalg.matrix_power(matrix, length)
    for _ in range(length):
        seen.append(rows)
        rows = rows @ matrix
    stacked, values = np.concatenate(seen), []
    for _ in range(-(-steps // length)):
        values.append((stacked @ state).reshape(length, len(forms)))
        state = leap @ state
    return np.concatenate(values)[:steps]


def _matrix(rule: Updates, pairs: Pairs, noise: float) -> Float[np.ndarray, "m m"]:
    """B: the second moments after an update of those before it and a 1."""
    count = 4 * len(pairs.first)
    basis = np.moveaxis(np.eye(count + 1, count).reshape(count + 1, 4, -1), 0, 1)
    common = -2 * np.outer(basis[0] @ (pairs.twice * pairs.focus), pairs.focus)
    traces = basis[0][:, pairs.diagonal] @ rule.eigenvalues
    traces[-1] = noise
    common[:, pairs.diagonal] += np.outer(traces, rule.eigenvalues)
    matrix = np.zeros((count + 1, count + 1))
    matrix[:count] = np.moveaxis(moved(rule, pairs, common, basis), 1, 2).reshape(count, -1)
    matrix[-1, -1] = 1.0
    return matrix
