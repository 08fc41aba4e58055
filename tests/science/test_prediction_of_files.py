"""Predictions of files: those of their rows in memory, which they never hold all of."""

import tracemalloc

import numpy as np
import pytest

import idjax

FEW, MANY, COLUMNS = 30_000, 200_000, 16
MORE = 4 * MANY
SETTINGS = idjax.Settings(batch_size=1000, epochs=1)
ALL_MORE = 4 * COLUMNS * (MORE - MANY)
"""Bytes that more rows take than many, which are more than the sample that is held of either."""


def saved(folder, rows: int):
    path = folder / f"{rows}.npy"
    np.save(path, 1 + np.random.default_rng(0).normal(size=(rows, COLUMNS)).astype(np.float32))
    return path


def saved_as_text(folder, rows: int):
    path = folder / f"{rows}.csv"
    np.savetxt(path, 1 + np.random.default_rng(0).normal(size=(rows, COLUMNS)), "%.6g", ",", header="a", comments="")
    path.write_text(path.read_text().replace("a\n", ",".join(f"c{i}" for i in range(COLUMNS)) + "\n", 1))
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
    many, more = saved(tmp_path, MANY), saved(tmp_path, MORE)
    idjax.predict(many, SETTINGS, band=False)  # what is loaded and compiled once
    assert most_held(more) - most_held(many) < ALL_MORE / 10
    assert most_held(lambda: idjax.load(more)) - most_held(lambda: idjax.load(many)) > 0.9 * ALL_MORE


def test_memory_does_not_grow_with_the_lines_of_a_large_text(tmp_path, monkeypatch):
    """By less than a tenth of what all rows take, which are held of a small one: that saves a pass."""
    many, more = (saved_as_text(tmp_path, rows) for rows in (5_000, 20_000))
    settings = idjax.Settings(batch_size=1000, epochs=1)
    monkeypatch.setattr("idjax.prediction.measured.LOOKED_AT", 1000)
    # How many blocks wait for a thread is chance: small ones weigh little beside what more rows take.
    monkeypatch.setattr("idjax.prediction.measured.BLOCK_ROWS", 100)
    small = idjax.predict(many, settings, band=False)
    whole = most_held(more) - most_held(many)
    monkeypatch.setattr("idjax.data.text.LARGE", 0)
    idjax.predict(many, settings, band=False)  # what is loaded once
    assert whole > 8 * COLUMNS * 15_000
    assert most_held(more) - most_held(many) < 0.1 * whole
    np.testing.assert_allclose(idjax.predict(many, settings, band=False).train, small.train, rtol=1e-10)


@pytest.mark.parametrize("normalize", ["none", "sample"])
def test_a_file_is_predicted_as_its_rows_are(tmp_path, normalize):
    path = saved(tmp_path, FEW)
    settings = idjax.Settings(normalize=normalize, epochs=5)
    by_file, by_rows = (idjax.predict(data, settings) for data in (path, np.load(path)))
    np.testing.assert_allclose(by_file.train, by_rows.train, rtol=1e-10)
    np.testing.assert_allclose(by_file.validation, by_rows.validation, rtol=1e-10)
    assert by_file.steps_to_learn == pytest.approx(by_rows.steps_to_learn, rel=1e-10)
