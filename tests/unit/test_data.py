"""Data: what is read is what was written, and what is bad is refused in one line that says where."""

import io
import math
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idjax.data import BUILTINS, Dataset, from_arrays, keras_split, load, load_builtin, numpy_files, prescribed
from idjax.types import IdjaxError

GOOD = np.arange(6.0).reshape(3, 2)
REPEATABLE = settings(derandomize=True, deadline=None, max_examples=100)


def one_line(caught: pytest.ExceptionInfo, *said: str) -> None:
    message = str(caught.value)
    assert message.isprintable(), message
    assert len(message) < 500, message
    for part in said:
        assert part in message, (part, message)


def npy(values, **options) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, **options)
    return stream.getvalue()


def header(descr: str, shape: str, body: bytes = b"", fortran: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def npz(compression=zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def twice_named() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("x.npy", npy(GOOD))
        archive.writestr("x.npy", npy(GOOD))
    return stream.getvalue()


def patched(content: bytes, old: bytes, offset: int, new: bytes, last: bool = False) -> bytes:
    at = (content.rindex(old) if last else content.index(old)) + offset
    return content[:at] + new + content[at + len(new) :]


class Payload:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


ONE_ARRAY = npz(x=npy(GOOD))
DEFLATED = npz(zipfile.ZIP_DEFLATED, x=npy(np.zeros((200, 50))))
WITH_NAN = np.array([[1, 2], [3, np.nan], [np.inf, 6]])
RECORDS = np.zeros(3, [("a", "f4"), ("b", "f4")])

BAD_FILES = {
    # name of the file: its bytes, and what the message has to say
    "empty.npy": (b"", "it is empty"),
    "empty.npz": (b"", "it is empty"),
    "empty.csv": (b"", "it is empty"),
    "noise.npy": (bytes(range(256)), "numpy.save"),
    "noise.npz": (bytes(range(256)), "numpy.savez"),
    "zip.npy": (ONE_ARRAY, "numpy.save"),
    "npy.npz": (npy(GOOD), "numpy.savez"),
    "magic.npy": (npy(GOOD)[:8], "damaged"),
    "version.npy": (patched(npy(GOOD), b"NUMPY", 5, b"\x09"), "damaged"),
    "header.npy": (npy(GOOD)[:40], "damaged"),
    "cut.npy": (npy(GOOD)[:-1], "48 bytes and 47 follow"),
    "long.npy": (npy(GOOD) + b"!", "48 bytes and 49 follow"),
    "huge.npy": (header("'<f8'", "(4611686018427387904, 64)"), "and 0 follow"),
    "negative.npy": (header("'<f8'", "(-2, -3)", bytes(48)), "damaged"),
    "code.npy": (header("__import__('os').getcwd()", "(3, 2)"), "damaged"),
    "nested.npy": (header("(" * 5000 + ")" * 5000, "(3, 2)"), "damaged"),
    "words.npy": (header("'<f8'", "('a', 'b')"), "damaged"),
    "objects.npy": (npy(np.array([[1, None], [2, 3]]), allow_pickle=True), "Python objects"),
    "complex.npy": (npy(GOOD + 1j), "complex numbers"),
    "text.npy": (npy(np.array([["a", "b"], ["c", "d"]])), "text"),
    "bytes.npy": (npy(np.array([[b"a", b"b"], [b"c", b"d"]])), "text"),
    "dates.npy": (npy(np.zeros((3, 2), "M8[s]")), "not real numbers"),
    "records.npy": (npy(RECORDS), "named fields"),
    "scalar.npy": (npy(np.array(1.0)), "no dimensions"),
    "line.npy": (npy(np.arange(4.0)), "x[:, None]"),
    "cube.npy": (npy(np.zeros((2, 2, 2))), "x.reshape(len(x), -1)"),
    "rowless.npy": (npy(np.zeros((0, 2))), "no rows"),
    "single.npy": (npy(np.zeros((1, 2))), "1 row; give at least 2"),
    "columnless.npy": (npy(np.zeros((3, 0))), "no columns"),
    "nan.npy": (
        npy(WITH_NAN),
        "2 values are NaN or infinite, the first at row 2, column 2 (counting from 1)",
    ),
    "fortran.npy": (npy(np.asfortranarray(WITH_NAN)), "first at row 2, column 2"),
    "big.npy": (npy(GOOD * 1e39), "5 values are too large for float32, the first at row 1, column 2"),
    "cut.npz": (ONE_ARRAY[:-30], "damaged"),
    "nothing.npz": (npz(), "no array"),
    "half.npz": (npz(x=npy(GOOD)[:-8]), "48 bytes and 40 follow"),
    "checksum.npz": (patched(ONE_ARRAY, npy(GOOD)[-16:], 3, b"\x07"), "damaged"),
    "deflate.npz": (patched(DEFLATED, b"x.npy", 30, b"\xff\xff\xff"), "damaged"),
    "bomb.npz": (npz(x=header("'<f8'", "(1000000000, 100)", bytes(64))), "promises 800000000000 bytes"),
    "liar.npz": (patched(ONE_ARRAY, b"PK\x01\x02", 24, struct.pack("<I", 10**9)), "follow"),
    "over.npz": (patched(DEFLATED, b"PK\x01\x02", 24, struct.pack("<I", 2**32 - 2)), "follow"),
    "short.npz": (patched(DEFLATED, b"PK\x01\x02", 24, struct.pack("<I", 200)), "damaged"),
    "locked.npz": (patched(ONE_ARRAY, b"PK\x01\x02", 8, b"\x01"), "encrypted"),
    "bzip2.npz": (npz(zipfile.ZIP_BZIP2, x=npy(GOOD)), "packed in an unusual way"),
    "lzma.npz": (npz(zipfile.ZIP_LZMA, x=npy(GOOD)), "packed in an unusual way"),
    "pair.npz": (npz(a=npy(GOOD), b=npy(GOOD)), "none of its 2 arrays is named x; there is 'a', 'b'"),
    "twice.npz": (twice_named(), "same name"),
    "objects.npz": (npz(x=npy(np.array([[1, None]]), allow_pickle=True)), "Python objects"),
    "nan.npz": (npz(x=npy(WITH_NAN), y=npy(GOOD)), "(array 'x'): 2 values"),
    "header.csv": (b"a,b\n", "no rows"),
    "mark.csv": (b"\xef\xbb\xbf", "no columns"),
    "blank.csv": (b"\n\n", "no columns"),
    "single.csv": (b"a,b\n1,2\n", "1 row"),
    "text.csv": (b"1,2\n3,four\n", "line 2, row 2, column 2 (counting from 1): 'four' is not a number"),
    "named.csv": (b"a,b\n1,2\n3,four\n", "line 3, row 2 (counting from 1), column 'b': 'four'"),
    "first.csv": (b"1,two\n3,4\n", "line 1, row 1, column 2 (counting from 1): 'two' is not a number"),
    "index.csv": (b",0,1\n0,1,2\n1,3,4\n", "column 1 (counting from 1): the cell is empty"),
    "script.csv": (b"a,b\n1,2\n3,<script>\x1b[31m\x00alert(1)</script>\n", "\\x1b[31m\\x00"),
    "long.csv": (b"a\n1\n" + b"z" * 900 + b"\n", "'" + "z" * 37 + "...'"),
    "wide.csv": (b"a\n1\n" + b"z" * 200_000 + b"\n", "UTF-8"),
    "gap.csv": (b"a,b\n1,2\n3,\n", "line 3, row 2 (counting from 1), column 'b': the cell is empty"),
    "commas.csv": (b",,\n1,2,3\n4,5,6\n", "column 1 (counting from 1): the cell is empty"),
    "hole.csv": (b"a\n1\n\n2\n", "line 3 is blank"),
    "ragged.csv": (
        b"a,b\n1,2\n3,4,5\n",
        "line 3, row 2 (counting from 1), has 3 cells and the first line has 2",
    ),
    "ragged.tsv": (b"1\t2\n3\n", "line 2, row 2"),
    "score.csv": (b"1,2\n3,1_000\n", "'1_000' is not a number"),
    "decimal.csv": (
        b"a;b\n1;2\n1,5;2\n",
        "line 3, row 2 (counting from 1), column 'a': '1,5' is not a number",
    ),
    "quote.csv": (b'a,b\n1,"2\n3,4\n', "'2\\n3,4' is not a number"),
    "latin.csv": ("é,b\n1,2\n".encode("latin-1"), "UTF-8"),
    "utf16.csv": ("a,b\n1,2\n3,4\n".encode("utf-16"), "UTF-8"),
    "nan.csv": (b"a,b\n1,2\n3,nan\n", "1 value is NaN or infinite, at row 2 (counting from 1), column 'b'"),
    "infinite.csv": (b"1,2\n3,-inf\n", "row 2, column 2 (counting from 1)"),
    "beyond.csv": (b"1,2\n3,1e999\n", "NaN or infinite"),
    "big.csv": (b"1,2\n3,1e39\n", "use --dtype float64"),
    "data.txt": (b"1,2\n3,4\n", ".npy, .npz, .csv, .tsv"),
    "data": (b"1,2\n3,4\n", "not supported"),
    "data.npy.gz": (npy(GOOD), "not supported"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file(name, tmp_path):
    content, said = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IdjaxError) as caught:
        load(tmp_path / name)
    one_line(caught, name, said)


@pytest.mark.parametrize("name", [name for name in BAD_FILES if name[-4:] in (".npy", ".npz") and name != "nan.npz"])
def test_bad_target_file(name, tmp_path):
    """The same files are refused as targets, by their own name; and y is what the remedies call them."""
    (tmp_path / "good.csv").write_bytes(b"1,2\n3,4\n5,6\n")
    (tmp_path / name).write_bytes(BAD_FILES[name][0])
    with pytest.raises(IdjaxError) as caught:
        load(tmp_path / "good.csv", tmp_path / name)
    one_line(caught, name)
    assert "x[:" not in str(caught.value)


BAD_NAMES = {
    "missing.npy": "no such file",
    "narow-normal": "did you mean 'narrow-normal'?",
    "something-else": "there is 'narrow-normal', 'unit-uniform', 'unit-uniform-5'",
    "": "no such file",
    "nul\0.npy": "nul\\x00.npy: it cannot be opened",
    "line\nbreak.npy": "line\\nbreak.npy: no such file",
    "\u202egro.npy": "\\u202egro.npy: no such file",
    "\udcff.csv": "\\udcff.csv: no such file",
    "a" * 5000 + ".npy": ".npy: it cannot be opened",
    "file.csv/x.npy": "no such file",
    "folder.npy": "it is a directory",
    ".": "it is a directory",
    "pipe.csv": "it is not an ordinary file",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file.csv").write_bytes(b"1\n2\n")
    Path("folder.npy").mkdir()
    os.mkfifo("pipe.csv")
    with pytest.raises(IdjaxError) as caught:
        load(name)
    one_line(caught, BAD_NAMES[name])


@pytest.mark.parametrize("error", [PermissionError(13, "no"), OSError(5, "disk"), MemoryError()])
def test_file_that_cannot_be_read(error, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", GOOD)

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(IdjaxError) as caught:
        load(tmp_path / "x.npy")
    one_line(
        caught,
        "x.npy",
        {PermissionError: "permission", OSError: "damaged", MemoryError: "memory"}[type(error)],
    )


BAD_TARGETS = {
    # (file, target): what the message has to say
    ("t.csv", "velocty"): "t.csv: no column 'velocty' for the target; did you mean 'velocity'?",
    ("t.csv", "a,,"): "no column '' for the target",
    ("t.csv", "a,a"): "names column 'a' twice",
    ("t.csv", "twin"): "2 columns are named 'twin'; rename all but one",
    ("t.csv", "missing.npy"): "missing.npy: no such file",
    ("t.csv", "four.npy"): "four.npy: the target has 4 rows and t.csv has 3",
    ("t.csv", "unit-uniform-5"): "unit-uniform-5: the target has 99999 rows and t.csv has 3",
    ("t.csv", "line.npy"): "y[:, None]",
    ("t.csv", "many.npz"): "many.npz: none of its 2 arrays is named y; there is 'a', 'b'",
    ("t.csv", "<b>\n"): "no column '<b>\\n' for the target",
    ("plain.csv", "x3"): "no column 'x3' for the target",
    ("plain.csv", "x1,x2"): "the target takes all columns",
    ("plain.csv", "c" * 99): "'" + "c" * 37 + "...'",
    ("four.npy", "y"): "y: no such file",
    ("four.npy", "t.csv"): "t.csv: the target has 3 rows and four.npy has 4",
    ("unit-uniform-5", "a"): "a: no such file",
    ("many.npz", "label"): "many.npz: it has no target array 'label'; there is 'a', 'b'",
    ("only.npz", "x"): "only.npz: it holds no array besides the target 'x'",
    ("three.npz", "y"): "none of its 2 arrays is named x",
    ("t.txt", "a"): "t.txt: its type is not supported",
    ("nothing.csv", "a"): "nothing.csv: no such file",
}


@pytest.mark.parametrize(("name", "target"), BAD_TARGETS)
def test_bad_target(name, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a,velocity,twin,twin\n1,2,3,4\n5,6,7,8\n9,10,11,12\n")
    Path("t.txt").write_text("a\n1\n2\n")
    Path("plain.csv").write_text("1,2\n3,4\n")
    np.save("four.npy", np.zeros((4, 2)))
    np.save("line.npy", np.zeros(3))
    np.savez("many.npz", a=GOOD, b=GOOD)
    np.savez("three.npz", a=GOOD, b=GOOD, y=GOOD)
    np.savez("only.npz", x=GOOD)
    with pytest.raises(IdjaxError) as caught:
        load(name, target)
    one_line(caught, BAD_TARGETS[name, target])


BAD_ARRAYS = {
    "a line": (np.zeros(3), "speed: it has 1 dimension and needs 2, rows by columns; give x[:, None]"),
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
        from_arrays(values, source="speed")
    one_line(caught, "speed", said)
    with pytest.raises(IdjaxError) as caught:
        from_arrays(GOOD, values)
    one_line(
        caught,
        "target: ",
        said.replace("speed: ", "").replace("x[", "target[").replace("x.", "target.").replace("(x)", "(target)"),
    )


def test_row_counts_differ():
    with pytest.raises(IdjaxError, match=r"^target: the target has 2 rows and x has 3"):
        from_arrays(GOOD, GOOD[:2])


@pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(float).max, reason="long double is double here")
def test_overflow_of_float64():
    with pytest.raises(IdjaxError, match=r"too large for float64.*divide"):
        from_arrays(np.full((2, 2), 10, np.longdouble) ** 400, dtype="float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stored", ["?", "i1", "u8", "f2", "<f4", ">f4", "f8", "longdouble"])
@pytest.mark.parametrize("suffix", ["npy", "npz", "array"])
def test_any_real_dtype(stored, suffix, dtype, tmp_path):
    values = (np.arange(12).reshape(4, 3) % 2).astype(stored)
    if suffix == "npy":
        np.save(tmp_path / "x.npy", values)
    else:
        np.savez_compressed(tmp_path / "x.npz", values)
    data = from_arrays(values, dtype=dtype) if suffix == "array" else load(tmp_path / f"x.{suffix}", dtype=dtype)
    assert data.x.dtype == dtype
    assert data.x.flags.c_contiguous
    assert data.x.flags.writeable
    assert type(data.x) is np.ndarray
    np.testing.assert_array_equal(data.x, values)


def test_array_is_copied():
    x = GOOD.copy()
    data = from_arrays(x, dtype="float64")
    x[0, 0] = np.nan
    assert data.x[0, 0] == 0
    assert data.y is None
    assert data.target is data.x
    assert data.feature_names == data.target_names == ("x1", "x2")
    assert data.source == "x"
    assert from_arrays(GOOD, GOOD).target_names == ("y1", "y2")
    assert from_arrays([[2**24 + 1], [0]]).x[0, 0] == 2**24


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


def test_builtin_name_wins_over_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("unit-uniform-5").write_text("1,2\n")
    assert load("unit-uniform-5").x.shape == (99_999, 5)


def test_no_pickle_is_run(tmp_path):
    """In no place where NumPy or zipfile could meet one."""
    trace = tmp_path / "executed"
    bomb = np.array([[Payload(str(trace)), 1], [2, 3]], dtype=object)
    contents = {
        "bare.npy": pickle.dumps(Payload(str(trace))),
        "array.npy": npy(bomb, allow_pickle=True),
        "array.npz": npz(x=npy(bomb, allow_pickle=True)),
        "bare.npz": npz(x=pickle.dumps(Payload(str(trace)))),
        "text.csv": pickle.dumps(Payload(str(trace)), protocol=0),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(IdjaxError):
            load(tmp_path / name)
    assert not trace.exists()
    np.load(tmp_path / "array.npy", allow_pickle=True)[0, 0].close()
    assert trace.exists(), "the payload is a live one"


def test_limit_of_unpacking(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((100_000, 10)))
    monkeypatch.setattr(numpy_files, "INFLATED_LIMIT", 8_000_000)
    with pytest.raises(IdjaxError, match="it unpacks to 8000128 bytes, over the limit of 8000000"):
        load(tmp_path / "x.npz")
    monkeypatch.setattr(numpy_files, "INFLATED_LIMIT", 8_000_128)
    assert load(tmp_path / "x.npz").x.shape == (100_000, 10)


def test_bombs_take_no_memory(tmp_path):
    """A header of 200 MB in a small archive, and a shape that is larger than its entry."""
    long_header = b"\x93NUMPY\x02\x00" + struct.pack("<I", 200_000_000) + bytes(200_000_000)
    (tmp_path / "header.npz").write_bytes(npz(zipfile.ZIP_DEFLATED, x=long_header))
    del long_header
    (tmp_path / "shape.npz").write_bytes(BAD_FILES["bomb.npz"][0])
    (tmp_path / "shape.npy").write_bytes(header("'<f8'", "(1000000000, 1000)"))
    tracemalloc.start()
    for name in ("header.npz", "shape.npz", "shape.npy"):
        with pytest.raises(IdjaxError, match=name):
            load(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


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


@REPEATABLE
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


def spoiled(contents: list[bytes]):
    """A good file with a few bytes changed, or cut short."""
    content = st.sampled_from(contents)
    edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=3)), max_size=4)

    def edit(content: bytes, edits, length: float) -> bytes:
        for share, new in edits:
            at = int(share * len(content))
            content = content[:at] + new + content[at + len(new) :]
        return content[: int(length * len(content))]

    return st.builds(edit, content, edits, st.one_of(st.just(1.0), st.floats(0, 1)))


def attempt(path: Path) -> Dataset | str:
    try:
        return load(path)
    except IdjaxError as error:
        return str(error)


SAMPLES = [
    npy(GOOD),
    npy(np.zeros((2, 300), ">f4")),
    ONE_ARRAY,
    DEFLATED,
    b"a,b\n1,2\n3,4\n",
    b'"a";b\n1;2\n3;4\n',
]


@settings(REPEATABLE, max_examples=600)
@given(
    content=st.one_of(st.binary(max_size=200), spoiled(SAMPLES)),
    suffix=st.sampled_from(["npy", "npz", "csv", "tsv"]),
)
def test_any_bytes_are_data_or_refused(folder, content, suffix):
    path = folder / f"any.{suffix}"
    path.write_bytes(content)
    answer = attempt(path)
    if isinstance(answer, Dataset):
        assert np.isfinite(answer.x).all()
        assert len(answer.x) >= 2
    else:
        assert answer.isprintable()
        assert path.name in answer


@REPEATABLE
@given(name=st.text(max_size=20), target=st.one_of(st.none(), st.text(max_size=20)))
def test_any_name_is_refused_in_one_line(folder, name, target):
    (folder / "named.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(IdjaxError) as caught:
        load(f"no-such/{name}", target)
    one_line(caught)
    if target is not None and {part.strip() for part in target.split(",")} - {"a", "b"}:
        with pytest.raises(IdjaxError) as caught:
            load(folder / "named.csv", target)
        one_line(caught)


@pytest.mark.parametrize(
    ("name", "shape", "mean", "deviation"),
    [
        ("narrow-normal", (139_336, 84), 1.1090579, 0.0012380764),
        ("unit-uniform", (99_999, 84), 0.5, math.sqrt(1 / 12)),
        ("unit-uniform-5", (99_999, 5), 0.5, math.sqrt(1 / 12)),
    ],
)
def test_builtin(name, shape, mean, deviation):
    data = load_builtin(name)
    assert data.x.shape == shape
    assert data.x.dtype == np.float32
    assert (data.y, data.source) == (None, name)
    assert "\n" not in BUILTINS[name].description
    count = math.prod(shape)
    kurtosis = 3.0 if name == "narrow-normal" else 1.8
    sample = data.x.astype(np.float64)
    error = deviation * math.sqrt((kurtosis - 1) / 4 / count)
    assert abs(sample.mean() - mean) < 4 * deviation / math.sqrt(count)
    assert abs(sample.std() - deviation) < 4 * error
    each = (sample.mean(axis=0) - mean) / deviation * math.sqrt(shape[0])
    assert np.abs(each).max() < 5
    if name != "narrow-normal":
        assert data.x.min() >= 0
        assert data.x.max() < 1


def test_builtin_in_full():
    """unit-uniform-5: independent columns, rows in no order, the same numbers in either dtype every time."""
    x = load_builtin("unit-uniform-5").x
    wide = load_builtin("unit-uniform-5", "float64").x
    assert wide.dtype == np.float64
    np.testing.assert_array_equal(wide, x)
    np.testing.assert_array_equal(load_builtin("unit-uniform-5").x, x)
    rows = len(wide)
    correlation = np.corrcoef(wide.T) - np.eye(5)
    assert np.abs(correlation).max() < 5 / math.sqrt(rows)
    serial = [np.corrcoef(wide[1:, j], wide[:-1, j])[0, 1] for j in range(5)]
    assert np.abs(serial).max() < 5 / math.sqrt(rows)
    counts = np.histogram(wide, bins=20, range=(0, 1))[0]
    expected = wide.size / 20
    assert ((counts - expected) ** 2 / expected).sum() < 50  # chi² of 19 degrees of freedom


def test_unknown_builtin():
    with pytest.raises(IdjaxError) as caught:
        load_builtin("unit-unifrom")
    one_line(caught, "'unit-unifrom' is not a built-in data set; did you mean 'unit-uniform'?")


def sample_moments(x):
    """Mean and covariance without cancellation: exact sums for the mean, then deviations in long double."""
    mean = np.array([math.fsum(column) / len(x) for column in x.T])
    d = x.astype(np.longdouble) - mean
    d = d - d.mean(axis=0)
    return mean, (d.T @ d / len(x)).astype(np.float64)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("rows", [8, 1000])
def test_exact_moments(offset, rows):
    deviation = 1e-3
    eigenvalues = deviation**2 * np.array([1.0, 0.5, 0.0, 2.0, 1e-3, 0.0, 1.0])
    mean = offset * deviation * np.array([1.0, -1.0, 0.5, 2.0, 1.0, -0.3, 0.7])
    basis = np.linalg.qr(np.random.default_rng(5).normal(size=(7, 7)))[0]
    x = prescribed(mean, eigenvalues, rows, 3, exact=True, basis=basis)
    assert x.shape == (rows, 7)
    assert x.dtype == np.float64
    found_mean, found = sample_moments(x)
    rounding = 2e-16 * (1 + 2 * offset)  # of one number, in units of the deviation
    np.testing.assert_allclose(found_mean, mean, rtol=0, atol=10 * rounding * deviation)
    np.testing.assert_allclose(
        found, basis * eigenvalues @ basis.T, rtol=0, atol=20 * max(rounding, 1e-15) * deviation**2
    )


def test_exact_moments_in_a_random_basis():
    eigenvalues = np.array([3.0, 1.0, 1e-6])
    x = prescribed(np.zeros(3), eigenvalues, 50, 0, exact=True)
    found = np.linalg.eigvalsh(sample_moments(x)[1])[::-1]
    np.testing.assert_allclose(found, eigenvalues, rtol=1e-9)
    other = prescribed(np.zeros(3), eigenvalues, 50, 1, exact=True)
    assert np.abs(sample_moments(x)[1] - sample_moments(other)[1]).max() > 0.1
    np.testing.assert_array_equal(x, prescribed(np.zeros(3), eigenvalues, 50, 0, exact=True))


def test_population_moments():
    mean, eigenvalues, rows = np.array([5.0, -2.0]), np.array([4.0, 0.25]), 100_000
    x = prescribed(mean, eigenvalues, rows, 11, basis=np.eye(2))
    found_mean, found = x.mean(axis=0), np.cov(x.T, bias=True)
    assert (np.abs(found_mean - mean) < 4 * np.sqrt(eigenvalues / rows)).all()
    assert (np.abs(np.diag(found) / eigenvalues - 1) < 4 * math.sqrt(2 / rows)).all()
    assert abs(found[0, 1]) < 4 / math.sqrt(rows)
    assert np.abs(np.diag(found) / eigenvalues - 1).max() > 1e-6, "drawn, not forced"


def test_prescribed_extremes():
    still = prescribed(np.ones(3), np.zeros(3), 4, 0, exact=True)
    np.testing.assert_array_equal(still, np.ones((4, 3)))
    smallest = prescribed(np.zeros(2), np.ones(2), 3, 0, exact=True)
    np.testing.assert_allclose(smallest.T @ smallest / 3, np.eye(2), atol=1e-14)


@pytest.mark.parametrize(
    ("mean", "eigenvalues", "rows", "options", "said"),
    [
        ([0.0, 0.0], [1.0, 1.0], 2, {"exact": True}, "rows is 2: give at least 3 for 2 nonzero eigenvalues"),
        ([0.0, 0.0], [1.0, 1.0], 0, {}, "rows is 0: give at least 1"),
        ([0.0, 0.0], [1.0], 5, {}, "mean has 2 numbers and eigenvalues 1"),
        ([], [], 5, {}, "mean has 0 numbers"),
        ([0.0], [-1.0], 5, {}, "zero or more"),
        ([0.0], [np.nan], 5, {}, "finite"),
        ([np.inf], [1.0], 5, {}, "finite"),
        ([0.0], [1.0], 5, {"basis": np.array([[2.0]])}, "1 orthonormal columns"),
        ([0.0], [1.0], 5, {"basis": np.array([[np.inf]])}, "orthonormal"),
        ([0.0, 0.0], [1.0, 1.0], 5, {"basis": np.ones((2, 2))}, "2 orthonormal columns"),
    ],
)
def test_bad_prescription(mean, eigenvalues, rows, options, said):
    with pytest.raises(IdjaxError) as caught:
        prescribed(np.array(mean), np.array(eigenvalues), rows, 0, **options)
    one_line(caught, said)


@pytest.mark.parametrize(
    ("rows", "split", "training"),
    [
        (139_336, 0.3, 97_535),
        (99_999, 0.3, 69_999),
        (10, 0.3, 7),
        (10, 0.7, 3),
        (10, 0.0, 10),
        (10, 0.01, 9),
        (2, 0.5, 1),
    ],
)
def test_keras_split(rows, split, training):
    assert keras_split(rows, split) == training


@pytest.mark.parametrize(
    ("rows", "split", "said"),
    [
        (10, 0.9, "of 10 rows leaves none for training"),  # 10 * (1 - 0.9) is below 1 in floating point
        (1, 0.5, "leaves none for training"),
        (3, 1e-20, "leaves none for validation"),
        (0, 0.0, "leaves none for training"),
        (10, 1.0, "--validation-split is 1.0"),
        (10, -0.1, "--validation-split is -0.1"),
        (10, math.nan, "--validation-split is nan"),
    ],
)
def test_bad_split(rows, split, said):
    with pytest.raises(IdjaxError) as caught:
        keras_split(rows, split)
    one_line(caught, said)


@pytest.mark.slow
@pytest.mark.parametrize("split", [0.1, 0.25, 0.3, 0.7, 0.9, 1 / 3])
def test_split_is_that_of_keras(split, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    adapters = pytest.importorskip("keras.src.trainers.data_adapters.array_slicing")
    for rows in range(2, 200):
        try:
            (training,), _ = adapters.train_validation_split((np.zeros(rows),), split)
        except ValueError:
            with pytest.raises(IdjaxError):
                keras_split(rows, split)
        else:
            assert keras_split(rows, split) == len(training)


def test_jax_is_not_imported():
    code = "import sys, idjax.data; assert 'jax' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
