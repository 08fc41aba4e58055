"""What noise explains of noise: the mean and the spread of R², against least squares on drawn columns."""

import numpy as np
import pytest

from idjax.theory.chance import explained_by_chance

DRAWS = 20_000


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
    found, expected = drawn(columns, rows), explained_by_chance(columns, rows)
    error = expected.deviation / np.sqrt(DRAWS)
    assert abs(found.mean() - expected.mean) < 4 * error
    assert found.std() == pytest.approx(expected.deviation, rel=0.03)
    assert (
        abs(found.mean() - columns / rows) > 4 * error or rows > 50
    )  # p/N, without the mean that is fitted, is not it


def test_as_few_rows_as_columns_are_explained_always():
    assert explained_by_chance(5, 6) == (1.0, 0.0)
    assert drawn(3, 4) == pytest.approx(np.ones(DRAWS))
