"""Blocks: the same rows from every format, at any size of block; labels, missing values, two sources side by side."""

from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from data_files import NAMES, ROWS, SPECIES, refused, rows_of, table

from idjax.data import Dataset, load, stream
from idjax.types import IdjaxError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The same rows in every format; in some, a column of labels as well."""
    path = tmp_path_factory.mktemp("streams")
    words = table(species=SPECIES)
    pq.write_table(table(), path / "x.parquet", row_group_size=70)
    pq.write_table(words, path / "words.parquet", row_group_size=70)
    (path / "many").mkdir()
    pq.write_table(table(ROWS[:110]), path / "many/part-1.parquet")
    pq.write_table(table(ROWS[110:]), path / "many/part-2.parquet")
    (path / "many/_SUCCESS").write_bytes(b"")
    (path / "many/.part-3.parquet").write_bytes(b"hidden")
    pa.feather.write_feather(table(), path / "x.feather", chunksize=43)
    pa.feather.write_feather(words, path / "words.feather", chunksize=43, compression="uncompressed")
    with pa.ipc.new_stream(path / "x.arrow", table().schema) as writer:
        writer.write_table(table(), max_chunksize=101)
    with h5py.File(path / "x.h5", "w") as file:
        file.create_dataset("x", data=ROWS, chunks=(64, 3), compression="gzip")
        file["y"] = np.arange(300) % 3
        file["words"] = SPECIES.astype(object)
        file["deep/z"] = ROWS[:, :2]
    with h5py.File(path / "only.hdf5", "w") as file:
        file["deep/down"] = ROWS
    np.save(path / "c.npy", ROWS)
    np.save(path / "f.npy", np.asfortranarray(ROWS))
    np.save(path / "labels.npy", np.arange(300) % 3)
    np.savez_compressed(path / "c.npz", x=ROWS, y=ROWS[:, :1])
    np.savez_compressed(path / "f.npz", np.asfortranarray(ROWS))
    lines = [",".join((*map(repr, row), name)) for row, name in zip(ROWS.tolist(), SPECIES, strict=True)]
    (path / "words.csv").write_text("a,b,c,d,e,species\n" + "\n".join(lines))
    (path / "x.tsv").write_text("\n".join("\t".join(map(repr, row)) for row in ROWS.tolist()))
    return path


IN_MEMORY = {
    "array": ROWS,
    "fortran array": np.asfortranarray(ROWS),
    "list": ROWS.tolist(),
    "pandas": pd.DataFrame(ROWS, columns=list(NAMES), index=np.arange(300) * 7),
    "pandas with nulls": pd.DataFrame(ROWS, columns=list(NAMES)).astype({"a": "Float64"}),
    "polars": pl.DataFrame(ROWS, schema=list(NAMES)),
    "arrow": table(),
    "dataset": load(ROWS, dtype="float64"),
}
FILES = ("x.parquet", "many", "x.feather", "x.arrow", "x.h5", "only.hdf5", "c.npy", "f.npy", "c.npz", "f.npz", "x.tsv")


@pytest.mark.parametrize("block_rows", [None, 1, 7, 64, 1000])
@pytest.mark.parametrize("name", [*FILES, *IN_MEMORY])
def test_every_source_has_the_same_rows(folder, name, block_rows):
    data = IN_MEMORY.get(name, folder / name)
    s = stream(data, block_rows=block_rows)
    for _ in range(2):
        x, y = rows_of(s)
        np.testing.assert_array_equal(x, ROWS)
        assert x.dtype == np.float64
        assert y is None
    assert s.rows in (300, None)
    assert s.feature_names in (NAMES, ("x1", "x2", "x3", "x4", "x5"))
    assert s.target_names == s.feature_names
    assert s.feature_dtypes == (np.float64,) * 5
    assert (s.classes, s.dropped) == (None, 0)


@pytest.mark.parametrize("name", [*FILES, *IN_MEMORY])
def test_every_source_is_read_at_once(folder, name):
    if name == "dataset":
        return
    data = IN_MEMORY.get(name, folder / name)
    for dtype in ("float32", "float64"):
        got = load(data, dtype=dtype)
        np.testing.assert_array_equal(got.x, ROWS.astype(dtype))
        assert got.x.flags.c_contiguous
        assert got.feature_names == stream(data).feature_names


@pytest.mark.parametrize("name", ["words.parquet", "words.feather", "words.csv"])
def test_columns_by_name(folder, name):
    s = stream(folder / name, "d,b", columns="e, a", block_rows=31)
    x, y = rows_of(s)
    np.testing.assert_array_equal(x, ROWS[:, [4, 0]])
    np.testing.assert_array_equal(y, ROWS[:, [3, 1]])
    assert (s.feature_names, s.target_names) == (("e", "a"), ("d", "b"))
    assert rows_of(stream(folder / name, columns=["c"]))[0].shape == (300, 1)
    data = load(folder / "x.parquet", "b")
    assert (data.feature_names, data.target_names) == (("a", "c", "d", "e"), ("b",))


@pytest.mark.parametrize("name", ["x.tsv", "x.parquet", "x.feather", "pandas"])
def test_a_target_that_is_the_first_column(folder, name):
    """All columns are read then, in another order than they have."""
    data, first = IN_MEMORY.get(name, folder / name), "x1" if name == "x.tsv" else "a"
    x, y = rows_of(stream(data, first, block_rows=31))
    np.testing.assert_array_equal(np.hstack([y, x]), ROWS)
    np.testing.assert_array_equal(load(data, first, "float64").target, ROWS[:, :1])


WITH_WORDS = {
    "pandas": table(species=SPECIES).to_pandas(),
    "categorical": table(species=SPECIES).to_pandas().astype({"species": "category"}),
    "polars": pl.from_arrow(table(species=SPECIES)),
    "dictionary": table(species=pa.array(SPECIES).dictionary_encode()),
}


@pytest.mark.parametrize("name", ["words.parquet", "words.feather", "words.csv", *WITH_WORDS])
def test_words_are_labels(folder, name):
    s = stream(WITH_WORDS.get(name, folder / name), "species", block_rows=40)
    assert s.classes == s.target_names == ("no <b>", "setosa", "virginica")
    assert s.target_dtypes == (np.dtype(str),)
    x, y = rows_of(s)
    np.testing.assert_array_equal(x, ROWS)
    np.testing.assert_array_equal(y, SPECIES[:, None] == np.array(s.classes))


def test_numbers_are_labels_if_asked(folder):
    codes = np.eye(3)[np.arange(300) % 3]
    for data, target in ((folder / "x.h5", "y"), (folder / "c.npy", folder / "labels.npy"), (ROWS, np.arange(300) % 3)):
        s = stream(data, target, labels=True, block_rows=77)
        assert s.classes == ("0", "1", "2")
        np.testing.assert_array_equal(rows_of(s)[1], codes)
        assert stream(data, target).classes is None
    assert stream(folder / "x.h5", "words").classes == ("no <b>", "setosa", "virginica")
    assert stream(ROWS, SPECIES.astype(object)).classes == ("no <b>", "setosa", "virginica")
    refused("5 columns; give one column of labels", ROWS, ROWS, labels=True)
    refused("over 4096 different labels", np.zeros((9000, 1)), np.arange(9000.0)[:, None], labels=True)


def test_two_sources_side_by_side(folder):
    x, y = rows_of(stream(folder / "x.feather", folder / "many", block_rows=50))
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(rows_of(stream(folder / "c.npz", "y"))[1], ROWS[:, :1])
    np.testing.assert_array_equal(rows_of(stream(ROWS, folder / "c.npz"))[1], ROWS[:, :1])
    message = refused("the target has 299 rows and", folder / "x.tsv", ROWS[1:], block_rows=64)
    assert message.startswith("target: ")
    assert "has 300; give one row" in message
    data = Dataset(ROWS, ROWS[:, :1], NAMES, ("t",), "d")
    s = stream(data)
    np.testing.assert_array_equal(rows_of(s)[1], ROWS[:, :1])
    assert s.target_names == ("t",)


def test_dtypes_are_those_of_the_file(tmp_path):
    columns = {
        "f4": np.float32([1.5, 2]),
        "i8": [1, 2],
        "flag": [True, False],
        "f2": np.float16([1, 2]),
        "u1": np.uint8([1, 2]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    s = stream(tmp_path / "t.parquet")
    assert s.feature_dtypes == (np.float32, np.int64, np.bool_, np.float16, np.uint8)
    np.testing.assert_array_equal(rows_of(s)[0], [[1.5, 1, 1, 1, 1], [2, 2, 0, 2, 2]])
    for name, dtype in (("x.npy", ">f4"), ("y.npy", "?"), ("z.npy", "i2")):
        np.save(tmp_path / name, np.arange(6).reshape(3, 2).astype(dtype))
        s = stream(tmp_path / name)
        assert s.feature_dtypes == (np.dtype(dtype),) * 2
        np.testing.assert_array_equal(rows_of(s)[0], np.arange(6).reshape(3, 2).astype(dtype))
    assert stream(jnp.ones((3, 2))).feature_dtypes == (np.float32,) * 2
    assert stream("unit-uniform-5").feature_dtypes == (np.float32,) * 5
    np.testing.assert_array_equal(rows_of(stream("unit-uniform-5"))[0], load("unit-uniform-5").x)


def test_numbers_as_they_are_stored(tmp_path):
    """float32 where every column is, else float64; checked just the same."""
    half = ROWS.astype(np.float32)
    np.save(tmp_path / "x.npy", half)
    pq.write_table(table(half), tmp_path / "x.parquet")
    mixed = table(half).set_column(0, "a", [ROWS[:, 0]])
    for data, dtype in ((tmp_path / "x.npy", "f4"), (tmp_path / "x.parquet", "f4"), (mixed, "f8"), (half > 0, "f8")):
        s = stream(data, block_rows=70)
        stored = np.concatenate([x for x, _ in s.blocks(as_stored=True)])
        assert stored.dtype == dtype
        np.testing.assert_array_equal(stored, rows_of(s)[0])
    large = np.full((3, 2), 3e38, np.float32)  # their sum overflows, they do not
    np.testing.assert_array_equal(next(stream(large).blocks(as_stored=True))[0], large)
    half[7, 1] = np.inf
    with pytest.raises(IdjaxError, match=r"row 8, column 2 .* is infinite"):
        list(stream(half).blocks(as_stored=True))


BAD_OPTIONS = {
    # options of a stream of words.parquet: what the message has to say
    ("nothing", None): "no column 'nothing' for the target",
    ("a,a", None): "names column 'a' twice",
    ("a,b,c,d,e,species", None): "the target takes all columns",
    (None, None): "column 'species' holds text; leave it out",
    (None, "velocity"): "no column 'velocity' for x",
    ("a", "a,b"): "column 'a' is both of x and the target",
    ("a,species", "b"): "the target has 2 columns; give one column of labels",
    (None, "a,species"): "column 'species' holds text",
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(folder, case):
    refused(BAD_OPTIONS[case], folder / "words.parquet", case[0], columns=case[1])


def test_bad_values_of_options(folder):
    refused("block_rows is 0", ROWS, block_rows=0)
    refused("x[:, None]", ROWS[:, 0])
    refused("no such file", folder / "absent.parquet")
    refused("it has no target array 'w'; there is", folder / "x.h5", "w")
