"""What noise explains of noise: the distribution of R², against least squares on drawn columns."""

import numpy as np
import pytest
import scipy.special

from idjax.theory.chance import chance_to_explain, explained_by_chance

DRAWS = 20_000
TAILS = [0.5, 0.2, 0.05, 0.01]


def drawn(columns: int, rows: int) -> np.ndarray:
    """R² of least squares, many times."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(DRAWS, rows, columns)), rng.normal(size=(DRAWS, rows))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    cross = np.einsum("dni,dn->di", x, y)
    gram = np.einsum("dni,dnj->dij", x, x)
    return np.sum(cross * np.linalg.solve(gram, cross[..., None])[..., 0], axis=1) / np.sum(y**2, axis=1)


@pytest.mark.parametrize(("columns", "rows"), [(1, 20), (5, 20), (5, 60)])
def test_what_noise_explains_of_noise(columns, rows):
    found, mean = drawn(columns, rows), explained_by_chance(columns, rows)
    error = found.std() / np.sqrt(DRAWS)
    assert abs(found.mean() - mean) < 4 * error
    assert (
        abs(found.mean() - columns / rows) > 4 * error or rows > 50
    )  # p/N, without the mean that is fitted, is not it


@pytest.mark.parametrize(("columns", "rows"), [(1, 4), (1, 20), (5, 20), (5, 60)])
def test_how_often_noise_explains_as_much(columns, rows):
    found = drawn(columns, rows)
    shares = np.quantile(found, 1 - np.array(TAILS))
    error = np.sqrt(np.array(TAILS) / DRAWS)
    told = np.array([chance_to_explain(share, columns, rows) for share in shares])
    assert np.all(np.abs(told - TAILS) < 4 * error)
    # The negative control: as if R² were normal, as it nearly is of many columns and rows.
    normal = scipy.special.ndtr(-(shares - found.mean()) / found.std())
    assert np.any(np.abs(normal - TAILS) > 4 * error)


def test_as_few_rows_as_columns_are_explained_always():
    assert explained_by_chance(5, 6) == chance_to_explain(1.0, 5, 6) == 1
    assert drawn(3, 4) == pytest.approx(np.ones(DRAWS))
