"""Missing and infinite values in a stream: counted and named by their place, or their rows dropped."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_files import ROWS, refused, rows_of

from idjax.data import stream


def test_numbers_in_unusual_columns(tmp_path):
    columns = {
        "decimal": pa.array([1.25, None, 3]).cast(pa.decimal128(9, 2)),
        "whole": pa.array([1, 2, None]),
        "flag": pa.array([True, None, False]),
        "coded": pa.array([2.0, 2.0, 5.0]).dictionary_encode(),
        "nothing": pa.nulls(3),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    refused("6 values are missing (empty or NaN), the first at row 1 (counting", tmp_path / "t.parquet", "flag")
    refused("2 values are missing", tmp_path / "t.parquet", columns="decimal,whole")
    np.testing.assert_array_equal(rows_of(stream(tmp_path / "t.parquet", columns="coded"))[0], [[2], [2], [5]])


GAPS = np.where(np.arange(60).reshape(20, 3) % 11 == 10, np.nan, np.arange(60.0).reshape(20, 3))


def gap_csv(path: Path) -> Path:
    lines = [
        ",".join(("" if i % 2 else "NA") if v != v else repr(v) for v in row) for i, row in enumerate(GAPS.tolist())
    ]
    path.write_text("a,b,c\n" + "\n".join(lines))
    return path


@pytest.mark.parametrize("block_rows", [1, 4, 100])
@pytest.mark.parametrize("kind", ["array", "csv", "parquet", "pandas", "polars"])
def test_missing_values(kind, block_rows, tmp_path):
    nulls = pa.table([pa.array(column, from_pandas=True) for column in GAPS.T], names=list("abc"))
    pq.write_table(nulls, tmp_path / "t.parquet")
    data = {
        "array": GAPS,
        "csv": gap_csv(tmp_path / "t.csv"),
        "parquet": tmp_path / "t.parquet",
        "pandas": pd.DataFrame(GAPS, columns=list("abc")),
        "polars": pl.from_arrow(nulls),
    }[kind]
    where = "row 4, column 2 (counting from 1)" if kind == "array" else "row 4 (counting from 1), column 'b'"
    said = f"5 values are missing (empty or NaN), the first at {where}"
    refused(said, data, block_rows=block_rows)
    s = stream(data, missing="drop", block_rows=block_rows)
    kept = GAPS[~np.isnan(GAPS).any(axis=1)]
    np.testing.assert_array_equal(rows_of(s)[0], kept)
    assert s.dropped == 20 - len(kept) == 5
    if kind != "array":
        s = stream(data, "b", missing="drop", columns="a", block_rows=block_rows)
        x, y = rows_of(s)
        kept = GAPS[~np.isnan(GAPS[:, :2]).any(axis=1)]
        np.testing.assert_array_equal(np.hstack([x, y]), kept[:, :2])


def test_missing_labels_and_targets():
    words = pa.table({"a": [1.0, 2, 3, 4], "k": ["u", None, "v", "u"]})
    refused("1 value is missing (empty or NaN), at row 2 (counting from 1), column 'k'", words, "k")
    said = "1 value is missing (empty or NaN), at row 2 (counting from 1), column 'k'; remove or fill in those rows"
    refused(said, words, "k", reader="load")
    s = stream(words, "k", missing="drop")
    x, y = rows_of(s)
    np.testing.assert_array_equal(x, [[1], [3], [4]])
    np.testing.assert_array_equal(y, [[1, 0], [0, 1], [1, 0]])
    assert s.dropped == 1
    assert refused("at row 3, column 1", ROWS[:4], np.array([1, 2, np.nan, 3])).startswith("target: 1 value is missing")
    wide = np.ones((3, 4))
    wide[1, 3] = np.nan
    refused("target: 1 value is missing (empty or NaN), at row 2, column 4", ROWS[:3, :1], wide)


def test_infinite_values_are_refused():
    for value in (np.inf, -np.inf):
        x = ROWS.copy()
        x[250, 2] = value
        x[0, 0] = np.nan
        for missing in ("refuse", "drop"):
            refused(
                "x: the value at row 251, column 3 (counting from 1) is infinite", x, missing=missing, block_rows=20
            )
            refused("target: the value at row 251", ROWS, x, missing=missing, block_rows=20)
    large = np.full((3, 2), 1e308)
    np.testing.assert_array_equal(rows_of(stream(large))[0], large)
    np.testing.assert_array_equal(rows_of(stream(-large))[0], -large)


def test_too_few_rows_are_left():
    refused("x: it has 1 row without missing values, of 3", np.array([[1], [np.nan], [np.nan]]), missing="drop")
