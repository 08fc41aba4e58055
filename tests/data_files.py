"""Rows in files of every format, good and bad, and what reads them: `load` at once, `stream` in blocks."""

import collections
import io
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from idjax.data import Stream, load, stream
from idjax.types import IdjaxError

GOOD = np.arange(6.0).reshape(3, 2)
WITH_NAN = np.array([[1, 2], [3, np.nan], [np.inf, 6]])
RECORDS = np.zeros(3, [("a", "f4"), ("b", "f4")])
ROWS = np.random.default_rng(0).normal(size=(300, 5)) * [1, 10, 0.1, 1e3, 1]
NAMES = ("a", "b", "c", "d", "e")
SPECIES = np.array(["setosa", "virginica", "no <b>", "virginica"] * 75)
READERS = {"load": load, "stream": lambda *words, **options: collections.deque(stream(*words, **options), maxlen=0)}


def refused(said: str, data, *arguments, reader: str = "stream", **options) -> str:
    """What a reader says of bad data, in one line that holds `said`."""
    with pytest.raises(IdjaxError) as caught:
        READERS[reader](data, *arguments, **options)
    return one_line(caught, said)


def one_line(caught: pytest.ExceptionInfo, *said: str) -> str:
    message = str(caught.value)
    assert message.isprintable(), message
    assert len(message) < 500, message
    for part in said:
        assert part in message, (part, message)
    return message


def rows_of(s: Stream) -> tuple[np.ndarray, np.ndarray | None]:
    blocks = list(s)
    assert max(len(x) for x, _ in blocks) <= s.block_rows
    y = None if blocks[0][1] is None else np.concatenate([y for _, y in blocks])
    return np.concatenate([x for x, _ in blocks]), y


def table(values: np.ndarray = ROWS, names: tuple[str, ...] = NAMES, **more) -> pa.Table:
    columns = [pa.array(column) for column in values.T] + [pa.array(column) for column in more.values()]
    return pa.table(columns, names=[*names, *more])


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


def patched(content: bytes, old: bytes, offset: int, new: bytes, last: bool = False) -> bytes:
    at = (content.rindex(old) if last else content.index(old)) + offset
    return content[:at] + new + content[at + len(new) :]


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
