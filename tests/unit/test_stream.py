"""Blocks: the same rows from every format, at any size of block; what is bad is refused in one line that says where."""

import builtins
import os
import struct
import subprocess
import sys
import zipfile
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
from hypothesis import given, settings
from hypothesis import strategies as st

from idjax.data import Dataset, Stream, from_arrays, load, load_builtin, stream
from idjax.types import IdjaxError

ROWS = np.random.default_rng(0).normal(size=(300, 5)) * [1, 10, 0.1, 1e3, 1]
NAMES = ("a", "b", "c", "d", "e")
SPECIES = np.array(["setosa", "virginica", "no <b>", "virginica"] * 75)


def table(values: np.ndarray = ROWS, names: tuple[str, ...] = NAMES, **more) -> pa.Table:
    columns = [pa.array(column) for column in values.T] + [pa.array(column) for column in more.values()]
    return pa.table(columns, names=[*names, *more])


def rows_of(s: Stream) -> tuple[np.ndarray, np.ndarray | None]:
    blocks = list(s)
    assert max(len(x) for x, _ in blocks) <= s.block_rows
    y = None if blocks[0][1] is None else np.concatenate([y for _, y in blocks])
    return np.concatenate([x for x, _ in blocks]), y


def refused(said: str, data, *arguments, **options) -> str:
    with pytest.raises(IdjaxError) as caught:
        for _ in stream(data, *arguments, **options):
            pass
    message = str(caught.value)
    assert message.isprintable(), message
    assert len(message) < 500, message
    assert said in message, (said, message)
    return message


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
    "dataset": from_arrays(ROWS, dtype="float64"),
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


def test_frames_keep_their_names():
    frame = pl.DataFrame(ROWS, schema=list(NAMES))
    got = load(frame, "b,a")
    assert (got.feature_names, got.target_names) == (("c", "d", "e"), ("b", "a"))
    assert from_arrays(frame).feature_names == NAMES
    assert load(ROWS, ROWS[:, :1]).y is not None
    assert load(ROWS, "x2").target_names == ("x2",)


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
    np.testing.assert_array_equal(rows_of(stream("unit-uniform-5"))[0], load_builtin("unit-uniform-5").x)


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


def parquet(values: pa.Table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(values, sink, **options)
    return sink.getvalue().to_pybytes()


def arrow(values: pa.Table, kind=pa.ipc.new_file) -> bytes:
    sink = pa.BufferOutputStream()
    with kind(sink, values.schema) as writer:
        writer.write_table(values)
    return sink.getvalue().to_pybytes()


def hdf5(path: Path, fill) -> bytes:
    with h5py.File(path, "w") as file:
        fill(file)
    return path.read_bytes()


SMALL = table(ROWS[:40])
BAD_COLUMNS = {
    "nested": (pa.table({"a": [1, 2], "n": [[1], [2, 3]]}), "column 'n' holds no plain numbers ('list<"),
    "record": (pa.table({"a": [1, 2], "n": [{"u": 1}, {"u": 2}]}), "column 'n' holds no plain numbers"),
    "dates": (pa.table({"a": [1, 2], "n": pa.array([1, 2], pa.timestamp("ms"))}), "'timestamp[ms]'"),
    "bytes": (pa.table({"a": [1, 2], "n": [b"1", b"2"]}), "'binary'"),
    "text": (pa.table({"a": [1, 2], "n": ["x", "y"]}), "column 'n' holds text"),
    "script": (pa.table({"a": [1, 2], "<script>\x1b[31m\n": ["x", "y"]}), "'<script>\\x1b[31m' holds text"),
    "nothing": (pa.table({"a": pa.array([], pa.float64())}), "no rows"),
    "one row": (pa.table({"a": [1.0]}), "1 row"),
    "infinite": (pa.table({"a": [1.0, np.inf]}), "row 2 (counting from 1), column 'a' is infinite"),
}


@pytest.mark.parametrize("case", BAD_COLUMNS)
@pytest.mark.parametrize("suffix", ["parquet", "feather", "arrow", "frame"])
def test_bad_columns(case, suffix, tmp_path):
    values, said = BAD_COLUMNS[case]
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(parquet(values) if suffix == "parquet" else arrow(values))
    refused(said, values if suffix == "frame" else path)
    with pytest.raises(IdjaxError):
        load(values if suffix == "frame" else path)


def test_columns_of_one_name(tmp_path):
    twins = pa.table([pa.array([1.0, 2]), pa.array([3.0, 4]), pa.array([5.0, 6])], names=["a", "a", "b"])
    for suffix, content in (("parquet", parquet(twins)), ("arrow", arrow(twins))):
        path = tmp_path / f"t.{suffix}"
        path.write_bytes(content)
        np.testing.assert_array_equal(rows_of(stream(path))[0], [[1, 3, 5], [2, 4, 6]])
        np.testing.assert_array_equal(rows_of(stream(path, columns="b"))[0], [[5], [6]])
        refused("2 columns are named 'a'; rename all but one", path, "a")
    dots = pa.table({"a": [1.0, 2], "a.b": [3.0, 4]})
    (tmp_path / "dots.parquet").write_bytes(parquet(dots))
    np.testing.assert_array_equal(rows_of(stream(tmp_path / "dots.parquet", columns="a"))[0], [[1], [2]])


BAD_BYTES = {
    "empty.parquet": (b"", "it is empty"),
    "noise.parquet": (bytes(range(256)), "pyarrow.parquet.write_table"),
    "cut.parquet": (parquet(SMALL)[:-100], "pyarrow.parquet.write_table"),
    "hole.parquet": (b"PAR1" + bytes(900) + parquet(SMALL)[904:], "pyarrow.parquet.write_table"),
    "empty.arrow": (b"", "it is empty"),
    "noise.arrow": (bytes(range(256)), "pyarrow.feather.write_feather"),
    "cut.arrow": (arrow(SMALL)[:-50], "pyarrow.feather.write_feather"),
    "cut-stream.arrow": (arrow(SMALL, pa.ipc.new_stream)[:-500], "pyarrow.feather.write_feather"),
    "version-1.feather": (b"FEA1" + bytes(60) + b"FEA1", "pyarrow.feather.write_feather"),
    "empty.h5": (b"", "it is empty"),
    "noise.h5": (bytes(range(256)), "h5py"),
}


@pytest.mark.parametrize("name", BAD_BYTES)
def test_bad_bytes(name, tmp_path):
    content, said = BAD_BYTES[name]
    (tmp_path / name).write_bytes(content)
    refused(said, tmp_path / name)
    with pytest.raises(IdjaxError, match=name):
        load(tmp_path / name)


def test_a_file_that_is_cut_while_it_is_read(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((5000, 4)))
    rows = stream(tmp_path / "x.npy", block_rows=1000)
    blocks = iter(rows)
    x, _ = next(blocks)
    assert x.sum() == 4000
    os.truncate(tmp_path / "x.npy", 128 + 2500 * 32)
    with pytest.raises(IdjaxError, match=r"x\.npy: it is damaged"):
        list(blocks)


def _objects(file):
    file.create_dataset("x", (3, 2), dtype=h5py.ref_dtype)


def _external_link(file):
    file["x"] = h5py.ExternalLink("other.h5", "x")


def _soft_link(file):
    file["deep/x"] = ROWS
    file["deep/other"] = ROWS
    file["x"] = h5py.SoftLink("/deep/x")


def _raw_elsewhere(file):
    file.create_dataset("x", (4, 2), "f8", external=[("/etc/passwd", 0, 64)])


def _virtual(file):
    layout = h5py.VirtualLayout((4, 2), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4, 2))
    file.create_virtual_dataset("x", layout)


def _huge(file):
    file.create_dataset("x", (2**50, 100), "f8", chunks=(100, 100))


def _huge_packed(file):
    file.create_dataset("x", (2**50, 100), "f8", chunks=(100, 100), compression="gzip")[:100] = 1


def _huge_chunk(file):
    file.create_dataset("x", (2**24, 20), "f8", chunks=(2**24, 20), compression="gzip")


def _nothing(file):
    file.create_dataset("x", data=h5py.Empty("f8"))


def _set(**arrays):
    return lambda file: [file.create_dataset(name, data=values) for name, values in arrays.items()]


BAD_HDF5 = {
    "objects": (_objects, "Python objects"),
    "external link": (_external_link, "'x' is a link; copy the data it points to into the file"),
    "soft link": (_soft_link, "'x' is a link"),
    "raw elsewhere": (_raw_elsewhere, "its numbers are in another file"),
    "virtual": (_virtual, "its numbers are in another file"),
    "huge": (_huge, "promises 900719925474099200 bytes and holds"),
    "huge and packed": (_huge_packed, "promises 900719925474099200 bytes and holds"),
    "huge chunk": (_huge_chunk, "promises"),
    "null": (_nothing, "it is empty"),
    "none": (lambda file: file.create_group("g"), "it holds no array"),
    "two": (_set(a=ROWS, b=ROWS), "none of its 2 arrays is named x; there is 'a', 'b'"),
    "cube": (_set(x=np.zeros((2, 2, 2))), "x.reshape(len(x), -1)"),
    "line": (_set(x=np.zeros(5)), "x[:, None]"),
    "records": (_set(x=np.zeros(3, [("a", "f4"), ("b", "f4")])), "named fields"),
    "text": (_set(x=np.array([["a", "b"], ["c", "d"]], dtype=object)), "holds text"),
    "infinite": (_set(x=np.array([[1.0], [-np.inf]])), "row 2, column 1 (counting from 1) is infinite"),
}


@pytest.mark.parametrize("case", BAD_HDF5)
def test_bad_hdf5(case, tmp_path):
    fill, said = BAD_HDF5[case]
    (tmp_path / "other.h5").write_bytes(hdf5(tmp_path / "o.h5", _set(x=ROWS[:4, :2])))
    hdf5(tmp_path / "bad.h5", fill)
    refused(said, tmp_path / "bad.h5")
    with pytest.raises(IdjaxError, match=r"bad\.h5"):
        load(tmp_path / "bad.h5")


def test_a_cut_hdf5_file(tmp_path):
    content = hdf5(tmp_path / "x.h5", _set(x=ROWS))
    (tmp_path / "x.h5").write_bytes(content[:-2000])
    refused("h5py", tmp_path / "x.h5")


def test_bad_folders(tmp_path):
    refused("it is a directory without .parquet files; give a file in it", tmp_path)
    pq.write_table(SMALL, tmp_path / "1.parquet")
    np.testing.assert_array_equal(rows_of(stream(tmp_path))[0], ROWS[:40])
    others = {
        "has a column 'z' rather than 'e', unlike '1.parquet'": SMALL.rename_columns([*"abcdz"]),
        "has 4 columns rather than 5": SMALL.drop_columns(["b"]),
        "holds float rather than double in 'c'": SMALL.set_column(2, "c", SMALL["c"].cast(pa.float32())),
    }
    for said, other in others.items():
        pq.write_table(other, tmp_path / "2.parquet")
        assert "file '2.parquet'" in refused(said, tmp_path)
    (tmp_path / "2.parquet").write_bytes(b"PAR1 and no more")
    assert "file '2.parquet'" in refused("pyarrow.parquet.write_table", tmp_path)


BAD_TEXT = {
    "hole": ("a,b\n1,2\n\n3,4\n", "line 3 is blank"),
    "ragged": ("a,b\n1,2\n3\n", "line 3, row 2"),
    "word": ("a,b\n1,2\n3,four\n", "line 3, row 2 (counting from 1), column 'b': 'four' is not a number"),
    "words": ("a,b\n1,two\n3,four\n", "column 'b' holds text; leave it out"),
    "header": ("a,b\n", "no rows"),
    "one": ("a,b\n1,2\n", "1 row"),
    "score": ("1,2\n3,1_0\n", "'1_0' is not a number"),
    "gap": ("a,b\n1,2\n3, \n", "1 value is missing (empty or NaN), at row 2 (counting from 1), column 'b'"),
    "beyond": ("1,2\n3,1e999\n", "row 2, column 2 (counting from 1) is infinite"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_text(case, tmp_path):
    (tmp_path / "t.csv").write_text(BAD_TEXT[case][0])
    refused(BAD_TEXT[case][1], tmp_path / "t.csv")


def test_bad_numpy_files(tmp_path):
    np.savez(tmp_path / "x.npz", x=ROWS)
    content = (tmp_path / "x.npz").read_bytes()
    at = content.index(ROWS.tobytes()[-16:])
    (tmp_path / "bad.npz").write_bytes(content[:at] + b"\0" + content[at + 1 :])
    refused("numpy.savez", tmp_path / "bad.npz")
    (tmp_path / "short.npy").write_bytes((tmp_path / "x.npz").read_bytes()[:5])
    refused("numpy.save", tmp_path / "short.npy")
    np.save(tmp_path / "o.npy", np.array([[None, 1]], dtype=object), allow_pickle=True)
    refused("Python objects", tmp_path / "o.npy")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 100), }\n"
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    refused("promises 800000000000 bytes and 0 follow", tmp_path / "bomb.npz")
    s = stream(tmp_path / "x.npz")
    np.save(tmp_path / "cut.npy", ROWS)
    cut = stream(tmp_path / "cut.npy")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-8])
    with pytest.raises(IdjaxError, match=r"cut\.npy: it is damaged"):
        list(cut)
    assert len(list(s)) == 1


def test_what_is_missing_is_named(folder, monkeypatch):
    there = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] in ("pyarrow", "h5py"):
            raise ImportError(name)
        return there(name, *arguments, **options)

    for name in [name for name in sys.modules if name.partition(".")[0] in ("pyarrow", "h5py")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr("importlib.import_module", lambda name: without(name))
    frame = pl.DataFrame(ROWS, schema=list(NAMES))
    for name in ("x.parquet", "x.feather"):
        refused("pip install idjax[files]", folder / name)
    refused("h5py is missing, which reads it; pip install idjax[files]", folder / "x.h5")
    np.testing.assert_array_equal(rows_of(stream(frame))[0], ROWS)
    assert stream(frame).feature_names == NAMES
    refused("pip install idjax[files]", pd.DataFrame({"a": [1, 2], "k": ["u", "v"]}), "k")


def test_light_to_import():
    code = "import sys, idjax.data; assert not {'jax', 'pyarrow', 'h5py', 'pandas', 'polars'} & set(sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


GOOD_BYTES = {
    "parquet": parquet(table(ROWS[:30], species=SPECIES[:30])),
    "feather": arrow(table(ROWS[:30], species=SPECIES[:30])),
    "arrow": arrow(table(ROWS[:30], species=SPECIES[:30]), pa.ipc.new_stream),
}


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    suffix=st.sampled_from([*GOOD_BYTES, "h5"]),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=4),
    length=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_any_bytes_are_rows_or_refused(folder, suffix, edits, length):
    content = GOOD_BYTES[suffix] if suffix != "h5" else (folder / "only.hdf5").read_bytes()[:6000]
    for share, new in edits:
        at = int(share * len(content))
        content = content[:at] + new + content[at + len(new) :]
    path = folder / f"any.{suffix}"
    path.write_bytes(content[: int(length * len(content))])
    assert attempt(path, None if suffix == "h5" else "species").isprintable()


def attempt(path: Path, target: str | None) -> str:
    """What is said of a file, nothing if its rows are good."""
    try:
        for x, y in stream(path, target):
            assert np.isfinite(x).all()
            assert y is None or (y.sum(axis=1) == 1).all()
    except IdjaxError as error:
        return str(error)
    return ""


BIG = """
import sys
from idjax.data import stream
from idjax.moments.moments import measure_stream
got = measure_stream(stream(sys.argv[1]))
assert got.moments.raw.count == int(sys.argv[2]), got.moments.raw.count
with open("/proc/self/status") as status:  # ru_maxrss would start from that of the parent process
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("kind", ["c.npy", "f.npy", "row-group.parquet", "x.feather"])
def test_files_larger_than_the_memory_allowed(kind, tmp_path):
    """3 GiB of rows go through under 1 GiB; a Parquet file as well that has them in one group of rows."""
    rows, columns = 3 * 2**20, 128
    piece = np.random.default_rng(0).normal(size=(2**15, columns))
    path = tmp_path / kind
    if kind.endswith(".npy"):
        values = np.lib.format.open_memmap(path, "w+", np.float64, (rows, columns), fortran_order=kind == "f.npy")
        for i in range(0, rows, len(piece)):
            values[i : i + len(piece)] = piece
        del values
    else:
        group = pa.table({f"c{i}": column for i, column in enumerate(piece.T.copy())})
        if kind == "x.feather":
            with pa.ipc.new_file(path, group.schema) as writer:
                for _ in range(rows // len(piece)):
                    writer.write_table(group)
        else:
            with pq.ParquetWriter(path, group.schema, compression="none", use_dictionary=False) as writer:
                for _ in range(rows // len(piece) // 32):
                    writer.write_table(pa.concat_tables([group] * 32).combine_chunks(), row_group_size=rows)
    size = path.stat().st_size
    assert size > 2.9 * 2**30
    command = [sys.executable, "-c", BIG, str(path), str(rows)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    peak = int(subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout)
    print(f"{kind}: {size / 2**30:.2f} GiB read with a peak of {peak / 2**10:.0f} MiB")
    assert peak < 2**20
