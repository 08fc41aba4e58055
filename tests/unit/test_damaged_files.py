"""Files that would run code, fill the memory, or are cut while they are read; any bytes are data or refused."""

import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pytest
from data_files import GOOD, READERS, ROWS, SPECIES, arrow, hdf5, header, npy, npz, one_line, parquet, table
from hypothesis import given, settings
from hypothesis import strategies as st

from idjax.data import load, numpy_files, stream
from idjax.types import IdjaxError

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=100)


class Payload:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


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
        for read in READERS.values():
            with pytest.raises(IdjaxError):
                read(tmp_path / name)
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
    (tmp_path / "shape.npz").write_bytes(npz(x=header("'<f8'", "(1000000000, 100)", bytes(64))))
    (tmp_path / "shape.npy").write_bytes(header("'<f8'", "(1000000000, 1000)"))
    tracemalloc.start()
    for name in ("header.npz", "shape.npz", "shape.npy"):
        for read in READERS.values():
            with pytest.raises(IdjaxError, match=name):
                read(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_file_that_is_cut_while_it_is_read(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((5000, 4)))
    rows = stream(tmp_path / "x.npy", block_rows=1000)
    blocks = iter(rows)
    x, _ = next(blocks)
    assert x.sum() == 4000
    os.truncate(tmp_path / "x.npy", 128 + 2500 * 32)
    with pytest.raises(IdjaxError, match=r"x\.npy: it is damaged"):
        list(blocks)


def test_a_file_that_is_cut_before_it_is_read(tmp_path):
    np.save(tmp_path / "cut.npy", ROWS)
    cut = stream(tmp_path / "cut.npy")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-8])
    with pytest.raises(IdjaxError, match=r"cut\.npy: it is damaged"):
        list(cut)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def edited(content: bytes, edits, length: float) -> bytes:
    """A file with a few bytes changed, and cut short."""
    for share, new in edits:
        at = int(share * len(content))
        content = content[:at] + new + content[at + len(new) :]
    return content[: int(length * len(content))]


EDITS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=4)
LENGTHS = st.one_of(st.just(1.0), st.floats(0, 1))


SAMPLES = [
    npy(GOOD),
    npy(np.zeros((2, 300), ">f4")),
    npz(x=npy(GOOD)),
    npz(zipfile.ZIP_DEFLATED, x=npy(np.zeros((200, 50)))),
    b"a,b\n1,2\n3,4\n",
    b'"a";b\n1;2\n3;4\n',
]


def attempt(read: Callable[[], Iterable[tuple[np.ndarray, np.ndarray | None]]]) -> str:
    """What is said of a file; nothing if its rows are good."""
    rows = 0
    try:
        for x, y in read():
            assert np.isfinite(x).all()
            assert y is None or (y.sum(axis=1) == 1).all()
            rows += len(x)
    except IdjaxError as error:
        return str(error)
    assert rows >= 2
    return ""


@settings(REPEATABLE, max_examples=600)
@given(
    content=st.one_of(st.binary(max_size=200), st.builds(edited, st.sampled_from(SAMPLES), EDITS, LENGTHS)),
    suffix=st.sampled_from(["npy", "npz", "csv", "tsv"]),
)
def test_any_bytes_are_data_or_refused(folder, content, suffix):
    path = folder / f"any.{suffix}"
    path.write_bytes(content)
    for said in (attempt(lambda: [(load(path).x, None)]), attempt(lambda: stream(path))):
        assert said.isprintable()
        assert not said or path.name in said


GOOD_BYTES = {
    "parquet": parquet(table(ROWS[:30], species=SPECIES[:30])),
    "feather": arrow(table(ROWS[:30], species=SPECIES[:30])),
    "arrow": arrow(table(ROWS[:30], species=SPECIES[:30]), pa.ipc.new_stream),
}


@settings(REPEATABLE, max_examples=300)
@given(suffix=st.sampled_from([*GOOD_BYTES, "h5"]), edits=EDITS, length=LENGTHS)
def test_any_bytes_are_rows_or_refused(folder, suffix, edits, length):
    path = folder / f"any.{suffix}"
    if suffix == "h5":
        content = hdf5(folder / "good.h5", lambda file: file.create_dataset("deep/down", data=ROWS))[:6000]
    else:
        content = GOOD_BYTES[suffix]
    path.write_bytes(edited(content, edits, length))
    assert attempt(lambda: stream(path, None if suffix == "h5" else "species")).isprintable()


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
