"""Predictions of files: those of their rows in memory, which they never hold all of."""

import tracemalloc

import numpy as np
import pytest

import idjax

FEW, MANY, COLUMNS = 30_000, 120_000, 16
SETTINGS = idjax.Settings(batch_size=1000, epochs=1)
ALL_MORE = 4 * COLUMNS * (MANY - FEW)
"""Bytes that many rows take more than few."""


def saved(folder, rows: int):
    path = folder / f"{rows}.npy"
    np.save(path, 1 + np.random.default_rng(0).normal(size=(rows, COLUMNS)).astype(np.float32))
    return path


def most_held(data) -> int:
    tracemalloc.start()
    try:
        idjax.predict(data() if callable(data) else data, SETTINGS, band=False)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    """By less than a tenth of what more rows take; where they are loaded it grows by all of it."""
    few, many = saved(tmp_path, FEW), saved(tmp_path, MANY)
    idjax.predict(few, SETTINGS, band=False)  # what is loaded and compiled once
    assert most_held(many) - most_held(few) < ALL_MORE / 10
    assert most_held(lambda: idjax.load(many)) - most_held(lambda: idjax.load(few)) > 0.9 * ALL_MORE


@pytest.mark.parametrize("normalize", ["none", "sample"])
def test_a_file_is_predicted_as_its_rows_are(tmp_path, normalize):
    path = saved(tmp_path, FEW)
    settings = idjax.Settings(normalize=normalize, epochs=5)
    by_file, by_rows = (idjax.predict(data, settings) for data in (path, np.load(path)))
    np.testing.assert_allclose(by_file.train, by_rows.train, rtol=1e-10)
    np.testing.assert_allclose(by_file.validation, by_rows.validation, rtol=1e-10)
    assert by_file.steps_to_learn == pytest.approx(by_rows.steps_to_learn, rel=1e-10)
