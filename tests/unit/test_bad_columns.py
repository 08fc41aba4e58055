"""Bad Parquet, Arrow and HDF5 files and data frames: refused in one line that says where, at once or in blocks."""

import builtins
import sys

import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from data_files import NAMES, READERS, ROWS, arrow, hdf5, parquet, refused, rows_of, table

from idjax.data import stream

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
    refused(said.replace(" is infinite", ""), values if suffix == "frame" else path, reader="load")


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
    for reader in READERS:
        assert name in refused(said, tmp_path / name, reader=reader)


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
    assert "bad.h5" in refused(said.replace(" is infinite", ""), tmp_path / "bad.h5", reader="load")


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


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").write_bytes(parquet(table()))
    (tmp_path / "x.feather").write_bytes(arrow(table()))
    hdf5(tmp_path / "x.h5", _set(x=ROWS))
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
        refused("pip install idjax[files]", tmp_path / name)
    refused("h5py is missing, which reads it; pip install idjax[files]", tmp_path / "x.h5")
    np.testing.assert_array_equal(rows_of(stream(frame))[0], ROWS)
    assert stream(frame).feature_names == NAMES
    refused("pip install idjax[files]", pd.DataFrame({"a": [1, 2], "k": ["u", "v"]}), "k")
