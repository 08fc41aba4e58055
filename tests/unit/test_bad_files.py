"""Bad .npy, .npz and text files, names and targets: refused in one line that says where, read at once or in blocks."""

import io
import os
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_files import GOOD, READERS, RECORDS, WITH_NAN, header, npy, npz, one_line, patched, refused

from idjax.data import load, stream
from idjax.types import IdjaxError

both = pytest.mark.parametrize("reader", READERS)


def twice_named() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("x.npy", npy(GOOD))
        archive.writestr("x.npy", npy(GOOD))
    return content.getvalue()


ONE_ARRAY = npz(x=npy(GOOD))
DEFLATED = npz(zipfile.ZIP_DEFLATED, x=npy(np.zeros((200, 50))))


BAD_FILES = {
    # name of the file: its bytes, what the message has to say, and what that of a stream if not the same (None: good)
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
        "the value at row 3, column 1 (counting from 1) is infinite",
    ),
    "fortran.npy": (npy(np.asfortranarray(WITH_NAN)), "first at row 2, column 2", "row 3, column 1"),
    "big.npy": (npy(GOOD * 1e39), "5 values are too large for float32, the first at row 1, column 2", None),
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
    "nan.npz": (npz(x=npy(WITH_NAN), y=npy(GOOD)), "(array 'x'): 2 values", "(array 'x'): the value at row 3"),
    "header.csv": (b"a,b\n", "no rows"),
    "mark.csv": (b"\xef\xbb\xbf", "no columns"),
    "blank.csv": (b"\n\n", "no columns"),
    "single.csv": (b"a,b\n1,2\n", "1 row"),
    "text.csv": (b"1,2\n3,four\n", "line 2, row 2, column 2 (counting from 1): 'four' is not a number"),
    "named.csv": (b"a,b\n1,2\n3,four\n", "line 3, row 2 (counting from 1), column 'b': 'four'"),
    "first.csv": (
        b"1,two\n3,4\n",
        "line 1, row 1, column 2 (counting from 1): 'two' is not a number",
        "holds text; leave it",
    ),
    "index.csv": (
        b",0,1\n0,1,2\n1,3,4\n",
        "column 1 (counting from 1): the cell is empty",
        "1 value is missing (empty or NaN), at row 1",
    ),
    "script.csv": (b"a,b\n1,2\n3,<script>\x1b[31m\x00alert(1)</script>\n", "\\x1b[31m\\x00"),
    "long.csv": (b"a\n1\n" + b"z" * 900 + b"\n", "'" + "z" * 37 + "...'"),
    "wide.csv": (b"a\n1\n" + b"z" * 200_000 + b"\n", "UTF-8"),
    "gap.csv": (
        b"a,b\n1,2\n3, \n",
        "line 3, row 2 (counting from 1), column 'b': the cell is empty",
        "1 value is missing (empty or NaN), at row 2 (counting from 1), column 'b'",
    ),
    "commas.csv": (b",,\n1,2,3\n4,5,6\n", "column 1 (counting from 1): the cell is empty", "3 values are missing"),
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
    "comma.csv": (
        b"a;b\n1,5;2\n3;4\n",
        "line 2, row 1 (counting from 1), column 'a': '1,5' is not a number",
        "column 'a' holds no plain numbers ('1,5 with a decimal comma')",
    ),
    "quote.csv": (b'a,b\n1,"2\n3,4\n', "'2\\n3,4' is not a number", "column 'b' holds text"),
    "latin.csv": ("é,b\n1,2\n".encode("latin-1"), "UTF-8"),
    "utf16.csv": ("a,b\n1,2\n3,4\n".encode("utf-16"), "UTF-8"),
    "nan.csv": (
        b"a,b\n1,2\n3,nan\n",
        "1 value is NaN or infinite, at row 2 (counting from 1), column 'b'",
        "1 value is missing",
    ),
    "infinite.csv": (b"1,2\n3,-inf\n", "row 2, column 2 (counting from 1)"),
    "beyond.csv": (b"1,2\n3,1e999\n", "NaN or infinite", "row 2, column 2 (counting from 1) is infinite"),
    "big.csv": (b"1,2\n3,1e39\n", "use --dtype float64", None),
    "words.csv": (b"a,b\n1,two\n3,four\n", "'two' is not a number", "column 'b' holds text; leave it out"),
    "data.txt": (b"1,2\n3,4\n", ".npy, .npz, .csv, .tsv"),
    "data": (b"1,2\n3,4\n", "not supported"),
    "data.npy.gz": (npy(GOOD), "not supported"),
}


@both
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file(reader, name, tmp_path):
    content, said, *of_stream = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    expected = of_stream[0] if of_stream and reader == "stream" else said
    if expected is None:
        READERS[reader](tmp_path / name)
    else:
        assert name in refused(expected, tmp_path / name, reader=reader)


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


@both
@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_name(reader, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file.csv").write_bytes(b"1\n2\n")
    Path("folder.npy").mkdir()
    os.mkfifo("pipe.csv")
    refused(BAD_NAMES[name], name, reader=reader)


@pytest.mark.parametrize("error", [PermissionError(13, "no"), OSError(5, "disk"), MemoryError()])
def test_file_that_cannot_be_read(error, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", GOOD)

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(Path, "open", refuse)
    said = {PermissionError: "permission", OSError: "damaged", MemoryError: "memory"}[type(error)]
    for reader in READERS:
        assert "x.npy" in refused(said, tmp_path / "x.npy", reader=reader)


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


@both
@pytest.mark.parametrize(("name", "target"), BAD_TARGETS)
def test_bad_target(reader, name, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a,velocity,twin,twin\n1,2,3,4\n5,6,7,8\n9,10,11,12\n")
    Path("t.txt").write_text("a\n1\n2\n")
    Path("plain.csv").write_text("1,2\n3,4\n")
    np.save("four.npy", np.zeros((4, 2)))
    np.save("line.npy", np.zeros(3))
    np.savez("many.npz", a=GOOD, b=GOOD)
    np.savez("three.npz", a=GOOD, b=GOOD, y=GOOD)
    np.savez("only.npz", x=GOOD)
    if (reader, target) == ("stream", "line.npy"):
        stream(name, target)  # one dimension is one column, there
    else:
        refused(BAD_TARGETS[name, target], name, target, reader=reader)
