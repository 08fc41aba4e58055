"""Arrays in .npy and .npz files, read at once or in blocks. No header is believed unchecked; nothing is unpickled."""

import contextlib
import io
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from idjax.data import dataset
from idjax.data.dataset import Table, quote, suggestion
from idjax.data.source import Block, Source, pick
from idjax.types import IdjaxError

INFLATED_LIMIT = 8 * 2**30
"""The most bytes that one array of an .npz file may unpack to."""
NPY_REMEDY = "it is damaged or no .npy file; save it again with numpy.save"
NPZ_REMEDY = "it is damaged or no .npz file; save it again with numpy.savez"

_HEADER_BYTES = 2**16
_CHUNK_BYTES = 2**20


class _Layout(NamedTuple):
    """What the header of an .npy file says, once checked against the file's size."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, int]
    fortran: bool


def _layout(head: bytes, size: int, source: str, letter: str, line: bool = False) -> _Layout:
    """The layout of .npy data of `size` bytes that begin with `head`; IdjaxError unless the two agree.

    With `line`, a target of one dimension is one column.
    """
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    parsers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = parsers[version](stream)
    if min(shape, default=0) < 0:
        raise ValueError("negative shape")
    shape = dataset.check_form(dtype, shape, source, letter, line and letter == "y")
    promised, present = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if promised != present:
        raise IdjaxError(f"{source}: its header promises {promised} bytes and {present} follow; save it again")
    return _Layout(stream.tell(), dtype, shape, fortran)


def read_npy(path: Path, source: str, letter: str) -> Table:
    """The array of an .npy file, left on disk until it is cast."""
    with path.open("rb") as file:
        offset, dtype, shape, fortran = _npy_layout(file, source, letter)
        values = np.memmap(file, dtype, "r", offset, shape, "F" if fortran else "C")
    return Table(values, None, source)


def npy_source(path: Path, source: str, letter: str) -> Source:
    """The array of an .npy file, to be read in blocks."""
    with path.open("rb") as file:
        layout = _npy_layout(file, source, letter, line=True)
    return _source(lambda: path.open("rb"), layout, source, NPY_REMEDY, mapped=not layout.fortran)


def _npy_layout(file: io.BufferedIOBase, source: str, letter: str, line: bool = False) -> _Layout:
    return _layout(file.read(_HEADER_BYTES), os.fstat(file.fileno()).st_size, source, letter, line)


def read_npz(path: Path, source: str, letter: str, array_name: str | None, leave_out: str | None) -> Table:
    """One array of an .npz file, unpacked into no more memory than the checked header asks for."""
    with zipfile.ZipFile(path) as archive:
        entry, source = _entry(archive, source, letter, array_name, leave_out)
        _check_inflated(entry, source)
        with archive.open(entry) as stream:
            head = stream.read(_HEADER_BYTES)
            offset, dtype, shape, fortran = _layout(head, entry.file_size, source, letter)
            content = bytearray(head[offset:])
            while chunk := stream.read(_CHUNK_BYTES):  # the last read checks the length and the checksum
                content += chunk
    values = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return Table(values, None, source)


def npz_source(path: Path, source: str, letter: str, array_name: str | None, leave_out: str | None) -> Source:
    """One array of an .npz file, to be unpacked in blocks; column by column ones go through a temporary file."""
    with zipfile.ZipFile(path) as archive:
        entry, source = _entry(archive, source, letter, array_name, leave_out)
        with archive.open(entry) as stream:
            layout = _layout(stream.read(_HEADER_BYTES), entry.file_size, source, letter, line=True)
    if layout.fortran:
        _check_inflated(entry, source)

    @contextlib.contextmanager
    def unpacking() -> Iterator[Any]:
        with zipfile.ZipFile(path) as archive, archive.open(entry.filename) as stream:
            if not layout.fortran:
                yield stream
                return
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(stream, copy, _CHUNK_BYTES)
                yield copy

    return _source(unpacking, layout, source, NPZ_REMEDY)


def _entry(
    archive: zipfile.ZipFile, source: str, letter: str, array_name: str | None, leave_out: str | None
) -> tuple[zipfile.ZipInfo, str]:
    """The entry of an archive that is asked for, and what messages call it."""
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    chosen = choose(names, source, letter, array_name, leave_out, "save x in it with numpy.savez(file, x=x)")
    source = source if len(names) == 1 else f"{source} (array {quote(chosen)})"
    entry = archive.getinfo(f"{chosen}.npy")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
        raise IdjaxError(f"{source}: it is encrypted or packed in an unusual way; save with numpy.savez")
    return entry, source


def _check_inflated(entry: zipfile.ZipInfo, source: str) -> None:
    if entry.file_size > INFLATED_LIMIT:
        raise IdjaxError(
            f"{source}: it unpacks to {entry.file_size} bytes, over the limit of {INFLATED_LIMIT}; "
            "save it with numpy.save as .npy"
        )


def choose(
    names: list[str], source: str, letter: str, array_name: str | None, leave_out: str | None, remedy: str
) -> str:
    """The name of the array that is asked for: by name, or called by the letter, or the only one."""
    if len(set(names)) < len(names):
        raise IdjaxError(f"{source}: two of its arrays have the same name; save it again with numpy.savez")
    rest = [name for name in names if name != leave_out]
    if not rest:
        other = "" if leave_out is None else f" besides the target {quote(leave_out)}"
        raise IdjaxError(f"{source}: it holds no array{other}; {remedy}")
    if array_name is not None:
        if array_name not in names:
            raise IdjaxError(f"{source}: it has no target array {quote(array_name)}; {suggestion(array_name, names)}")
        return array_name
    for name in (letter, "x", *rest[: len(rest) == 1]):
        if name in rest:
            return name
    raise IdjaxError(f"{source}: none of its {len(rest)} arrays is named {letter}; {suggestion(letter, rest)}")


def _source(
    open_file: Callable[[], contextlib.AbstractContextManager[io.BufferedIOBase]],
    layout: _Layout,
    source: str,
    remedy: str,
    mapped: bool = False,
) -> Source:
    """An array in a file, row after row or column after column, in blocks that are read, or mapped to save the copy.

    Each block has a map of its own, for pages stay in memory as long as their map does. A file that is cut is refused
    at the next block; cut while a block of it is worked on, the system may end the process.
    """
    offset, dtype, (rows, width), fortran = layout

    def read(numbers: Sequence[int], words: Sequence[int], block_rows: int) -> Iterator[Block]:
        with open_file() as file:
            if not (fortran or mapped):
                file.read(offset)
            for start in range(0, rows, block_rows):
                count = min(block_rows, rows - start)
                if fortran:
                    columns = np.empty((len(numbers), count), dtype)
                    for place, column in enumerate(numbers):
                        file.seek(offset + (column * rows + start) * dtype.itemsize)
                        _fill(file, columns[place])
                    yield Block(columns.T, [])
                    continue
                if mapped:  # ValueError if the file was cut
                    begin = offset + start * width * dtype.itemsize
                    values = np.asarray(np.memmap(file, dtype, "r", begin, (count, width)))
                else:
                    values = np.empty((count, width), dtype)
                    _fill(file, values)
                yield Block(pick(values, numbers), [])
            file.read(1)  # at its end an archive checks lengths and checksums

    return Source(
        source, None, (dtype,) * width, (dtype.name,) * width, rows, rows * width * dtype.itemsize, read, remedy
    )


def _fill(file: io.BufferedIOBase, values: np.ndarray) -> None:
    """Reads as many bytes as the array has; EOFError if there are fewer."""
    left = values.reshape(-1).view(np.uint8).data
    while left:
        got = file.readinto(left)
        if not got:
            raise EOFError
        left = left[got:]
