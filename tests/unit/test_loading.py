"""Data sets: what is read is what was written, whatever the dtype, the format and the target; arrays are checked."""

import dataclasses
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import polars as pl
import pytest
from data_files import GOOD, NAMES, RECORDS, ROWS, WITH_NAN, one_line
from hypothesis import given, settings
from hypothesis import strategies as st

from idjax.data import Dataset, as_dataset, load
from idjax.types import IdjaxError

BAD_ARRAYS = {
    "a line": (np.zeros(3), "x: it has 1 dimension and needs 2, rows by columns; give x[:, None]"),
    "a list": ([1.0, 2.0], "x[:, None]"),
    "a number": (1.0, "no dimensions"),
    "a cube": (np.zeros((2, 2, 2)), "x.reshape(len(x), -1)"),
    "ragged rows": ([[1.0], [1.0, 2.0]], "rows of equal length"),
    "huge integers": ([[10**30], [1]], "Python objects"),
    "text": ([["1"], ["2"]], "text"),
    "complex": (GOOD + 1j, "complex numbers ('complex128')"),
    "records": (RECORDS, "named fields"),
    "strings": (np.array([["a"]], dtype=np.dtypes.StringDType()), "not real numbers"),
    "masked": (np.ma.masked_less(GOOD, 2), "masked"),
    "one row": (GOOD[:1], "1 row"),
    "NaN": (WITH_NAN, "first at row 2, column 2"),
    "overflow": (np.array([[1e39], [1], [1]]), "1 value is too large for float32, at row 1, column 1"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_array(case):
    values, said = BAD_ARRAYS[case]
    with pytest.raises(IdjaxError) as caught:
        load(values)
    one_line(caught, "x", said)
    with pytest.raises(IdjaxError) as caught:
        load(GOOD, values)
    one_line(
        caught,
        "target: ",
        said.replace("x: ", "").replace("x[", "target[").replace("x.", "target.").replace("(x)", "(target)"),
    )


def test_row_counts_differ():
    with pytest.raises(IdjaxError, match=r"^target: the target has 2 rows and x has 3"):
        load(GOOD, GOOD[:2])


@pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(float).max, reason="long double is double here")
def test_overflow_of_float64():
    with pytest.raises(IdjaxError, match=r"too large for float64.*divide"):
        load(np.full((2, 2), 10, np.longdouble) ** 400, dtype="float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stored", ["?", "i1", "u8", "f2", "<f4", ">f4", "f8", "longdouble"])
@pytest.mark.parametrize("suffix", ["npy", "npz", "array"])
def test_any_real_dtype(stored, suffix, dtype, tmp_path):
    values = (np.arange(12).reshape(4, 3) % 2).astype(stored)
    if suffix == "npy":
        np.save(tmp_path / "x.npy", values)
    else:
        np.savez_compressed(tmp_path / "x.npz", values)
    data = load(values if suffix == "array" else tmp_path / f"x.{suffix}", dtype=dtype)
    assert data.x.dtype == dtype
    assert data.x.flags.c_contiguous
    assert data.x.flags.writeable
    assert type(data.x) is np.ndarray
    np.testing.assert_array_equal(data.x, values)


def test_array_is_copied():
    x = GOOD.copy()
    data = load(x, dtype="float64")
    x[0, 0] = np.nan
    assert data.x[0, 0] == 0
    assert data.y is None
    assert data.target is data.x
    assert data.feature_names == data.target_names == ("x1", "x2")
    assert data.source == "x"
    assert load(GOOD, GOOD).target_names == ("y1", "y2")
    assert load([[2**24 + 1], [0]]).x[0, 0] == 2**24


def test_a_data_set_is_cast_or_taken_as_it_is():
    data = dataclasses.replace(load(GOOD, GOOD[:, :1]), source="rows")
    assert as_dataset(data, None, "float32") is data
    wide = as_dataset(data, None, "float64")
    assert (wide.x.dtype, wide.y.dtype) == (np.float64, np.float64)
    assert (wide.source, wide.feature_names, wide.target_names) == ("rows", ("x1", "x2"), ("y1",))


def test_the_target_of_a_data_set_is_taken_for_labels_where_that_is_asked():
    numbers = load(GOOD, np.array([[2.0], [7.0], [2.0]]))
    assert as_dataset(numbers, None, "float32").y.tolist() == [[2], [7], [2]]
    coded = as_dataset(numbers, None, "float32", labels=True)
    assert (coded.y.tolist(), coded.target_names) == ([[1, 0], [0, 1], [1, 0]], ("2", "7"))
    assert as_dataset(load(GOOD), None, "float64", labels=True).y is None


def test_numbers_in_a_column_of_a_table_are_labels_where_that_is_asked(tmp_path):
    (tmp_path / "t.csv").write_text("a,k\n1,7\n2,2\n3,7\n")
    coded = load(tmp_path / "t.csv", "k", labels=True)
    assert (coded.y.tolist(), coded.target_names) == ([[0, 1], [1, 0], [0, 1]], ("2", "7"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.csv", "1,2\n3,4.5\n"),
        ("windows.csv", "1,2\r\n3,4.5\r\n"),
        ("old-mac.csv", "1,2\r3,4.5\r"),
        ("trailing.csv", "1,2\n3,4.5\n\n  \n"),
        ("spaces.csv", " 1 , 2\n3 ,+4.5e0\n"),
        ("quoted.csv", '"1","2"\n"3","4.5"\n'),
        ("semicolon.csv", "1;2\n3;4.5\n"),
        ("tabs.csv", "1\t2\n3\t4.5"),
        ("tabs.tsv", "1\t2\n3\t4.5"),
        ("UPPER.CSV", "1,2\n3,4.5\n"),
        ("mark.csv", "\ufeff1,2\n3,4.5\n"),
    ],
)
def test_text_without_names(name, text, tmp_path):
    (tmp_path / name).write_bytes(text.encode())
    data = load(str(tmp_path / name))
    np.testing.assert_array_equal(data.x, [[1, 2], [3, 4.5]])
    assert data.feature_names == ("x1", "x2")
    assert data.source == str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("h.csv", "a,b\n1,2\n3,4\n", ("a", "b")),
        ("h.csv", "\ufeffa , b\n1,2\n3,4\n", ("a", "b")),
        ("h.csv", "a,\n1,2\n3,4\n", ("a", "x2")),
        ("h.csv", "a,a\n1,2\n3,4\n", ("a", "a")),
        ("h.csv", '"a\nb",c\\d\n1,2\n3,4\n', ("a\\nb", "c\\d")),
        ("h.csv", "é;\U0001f600\n1;2\n3;4\n", ("é", "\U0001f600")),
        ("h.tsv", "a, b; c\td\n1\t2\n3\t4\n", ("a, b; c", "d")),
    ],
)
def test_names_of_columns(name, text, names, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    data = load(tmp_path / name)
    assert data.feature_names == data.target_names == names
    np.testing.assert_array_equal(data.x, [[1, 2], [3, 4]])


def test_targets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text('a,b,"c,d",e\n1,2,3,4\n5,6,7,8\n9,10,11,12\n')
    Path("plain.csv").write_text("1,2,3\n4,5,6\n7,8,9\n")
    np.save("y.npy", GOOD)
    np.savez("d.npz", x=GOOD, y=GOOD + 1, z=GOOD + 2)
    np.savez("pair.npz", inputs=GOOD, label=GOOD + 1)

    def check(data: Dataset, x, y, feature_names, target_names):
        np.testing.assert_array_equal(data.x, x)
        np.testing.assert_array_equal(data.target, y)
        assert data.x.flags.c_contiguous
        assert data.target.flags.c_contiguous
        assert (data.feature_names, data.target_names) == (feature_names, target_names)

    table = np.arange(1.0, 13).reshape(3, 4)
    check(load("t.csv", "e"), table[:, :3], table[:, 3:], ("a", "b", "c,d"), ("e",))
    check(load("t.csv", "e, a"), table[:, 1:3], table[:, [3, 0]], ("b", "c,d"), ("e", "a"))
    check(load("t.csv", "c,d"), table[:, [0, 1, 3]], table[:, 2:3], ("a", "b", "e"), ("c,d",))
    check(load("t.csv", "y.npy"), table, GOOD, ("a", "b", "c,d", "e"), ("y1", "y2"))
    check(load("plain.csv", "x2"), [[1, 3], [4, 6], [7, 9]], [[2], [5], [8]], ("x1", "x3"), ("x2",))
    check(load("y.npy", "t.csv"), GOOD, table, ("x1", "x2"), ("a", "b", "c,d", "e"))
    check(load("d.npz"), GOOD, GOOD, ("x1", "x2"), ("x1", "x2"))
    check(load("d.npz", "z"), GOOD, GOOD + 2, ("x1", "x2"), ("y1", "y2"))
    check(load("d.npz", "d.npz"), GOOD, GOOD + 1, ("x1", "x2"), ("y1", "y2"))
    check(load("pair.npz", "label"), GOOD, GOOD + 1, ("x1", "x2"), ("y1", "y2"))
    check(load("y.npy", Path("y.npy"), "float64"), GOOD, GOOD, ("x1", "x2"), ("y1", "y2"))
    assert load("y.npy").y is None
    assert load("unit-uniform-5", "unit-uniform-5").y is not None


def test_frames_keep_their_names():
    frame = pl.DataFrame(ROWS, schema=list(NAMES))
    got = load(frame, "b,a")
    assert (got.feature_names, got.target_names) == (("c", "d", "e"), ("b", "a"))
    assert load(frame).feature_names == NAMES
    assert load(ROWS, ROWS[:, :1]).y is not None
    assert load(ROWS, "x2").target_names == ("x2",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


TABLES = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6).map(lambda s: (s[0] + 1, s[1])),
        elements=hnp.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False),
    )
)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(values=TABLES, fortran=st.booleans(), delimiter=st.sampled_from(",;\t"), names=st.booleans())
def test_what_is_written_is_read(folder, values, fortran, delimiter, names):
    np.save(folder / "r.npy", np.asfortranarray(values) if fortran else values)
    np.savez_compressed(folder / "r.npz", values)
    first = [delimiter.join(f"c{i}" for i in range(values.shape[1]))] if names else []
    lines = first + [delimiter.join(repr(float(value)) for value in row) for row in values]
    (folder / "r.csv").write_text("\n".join(lines))
    for name in ("r.npy", "r.npz", "r.csv"):
        data = load(folder / name, dtype=values.dtype.name)
        assert data.x.dtype == values.dtype
        assert data.x.tobytes() == values.tobytes(), name
