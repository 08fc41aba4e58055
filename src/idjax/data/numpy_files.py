"""Arrays in .npy and .npz files, read in blocks. No header is believed unchecked; nothing is unpickled."""

import contextlib
import io
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from idjax.data.dataset import check_form, quote, suggestion
from idjax.data.source import Block, Request, Source, one_array, pick
from idjax.types import IdjaxError

INFLATED_LIMIT = 8 * 2**30
"""The most bytes that one array of an .npz file may unpack to in memory, or in a temporary file."""

_HEADER_BYTES = 2**16
_CHUNK_BYTES = 2**20


class ArrayHeader(NamedTuple):
    """The header of an .npy file, once checked against the file's size."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, int]
    fortran: bool


def _header(head: bytes, size: int, name: str, request: Request) -> ArrayHeader:
    """The header of .npy data of `size` bytes that begin with `head`; IdjaxError unless the two agree."""
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    parsers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = parsers[version](stream)
    if min(shape, default=0) < 0:
        raise ValueError("negative shape")
    shape = check_form(dtype, shape, name, request.letter, request.letter == "y" and not request.whole)
    promised, present = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if promised != present:
        raise IdjaxError(f"{name}: its header promises {promised} bytes and {present} follow; save it again")
    return ArrayHeader(stream.tell(), dtype, shape, fortran)


def npy_source(request: Request) -> Source:
    """The array of an .npy file."""
    with request.path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = _header(file.read(_HEADER_BYTES), size, request.name, request)
    return _source(lambda: request.path.open("rb"), header, request.name, request.remedy, mapped=not header.fortran)


def npz_source(request: Request) -> Source:
    """One array of an .npz file, unpacked in blocks; column by column ones go through a temporary file."""
    with zipfile.ZipFile(request.path) as archive:
        names = [entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")]
        chosen = choose(names, request, "save x in it with numpy.savez(file, x=x)")
        name = request.name if len(names) == 1 else f"{request.name} (array {quote(chosen)})"
        entry = archive.getinfo(f"{chosen}.npy")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
            raise IdjaxError(f"{name}: it is encrypted or packed in an unusual way; save with numpy.savez")
        with archive.open(entry) as stream:
            header = _header(stream.read(_HEADER_BYTES), entry.file_size, name, request)
    if (request.whole or header.fortran) and entry.file_size > INFLATED_LIMIT:
        raise IdjaxError(
            f"{name}: it unpacks to {entry.file_size} bytes, over the limit of {INFLATED_LIMIT}; "
            "save it with numpy.save as .npy"
        )

    @contextlib.contextmanager
    def unpacking() -> Iterator[Any]:
        with zipfile.ZipFile(request.path) as archive, archive.open(entry.filename) as stream:
            if not header.fortran:
                yield stream
                return
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(stream, copy, _CHUNK_BYTES)
                yield copy

    return _source(unpacking, header, name, request.remedy)


def choose(names: list[str], request: Request, remedy: str) -> str:
    """The name of the array that is asked for: by name, or called by the letter, or the only one."""
    source, wanted, left_out = request.name, request.array_name, request.leave_out
    if len(set(names)) < len(names):
        raise IdjaxError(f"{source}: two of its arrays have the same name; save it again with numpy.savez")
    rest = [name for name in names if name != left_out]
    if not rest:
        other = "" if left_out is None else f" besides the target {quote(left_out)}"
        raise IdjaxError(f"{source}: it holds no array{other}; {remedy}")
    if wanted is not None:
        if wanted not in names:
            raise IdjaxError(f"{source}: it has no target array {quote(wanted)}; {suggestion(wanted, names)}")
        return wanted
    for name in (request.letter, "x", *rest[: len(rest) == 1]):
        if name in rest:
            return name
    raise IdjaxError(
        f"{source}: none of its {len(rest)} arrays is named {request.letter}; {suggestion(request.letter, rest)}"
    )


def _source(
    open_file: Callable[[], contextlib.AbstractContextManager[io.BufferedIOBase]],
    header: ArrayHeader,
    name: str,
    remedy: str,
    mapped: bool = False,
) -> Source:
    """An array in a file, row after row or column after column, in blocks that are read, or mapped to save the copy.

    Each block has a map of its own, for pages stay in memory as long as their map does. A file that is cut is refused
    at the next block; cut while a block of it is worked on, the system may end the process.
    """
    offset, dtype, (rows, width), fortran = header

    def read(numbers: Sequence[int], words: int | None, block_rows: int) -> Iterator[Block]:
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
                    yield Block(columns.T)
                    continue
                if mapped:  # ValueError if the file was cut
                    begin = offset + start * width * dtype.itemsize
                    values = np.asarray(np.memmap(file, dtype, "r", begin, (count, width)))
                else:
                    values = np.empty((count, width), dtype)
                    _fill(file, values)
                yield Block(pick(values, numbers))
            file.read(1)  # at its end an archive checks lengths and checksums

    return one_array(name, dtype, (rows, width), read, remedy)


def _fill(file: io.BufferedIOBase, values: np.ndarray) -> None:
    """Reads as many bytes as the array has; EOFError if there are fewer."""
    left = values.reshape(-1).view(np.uint8).data
    while left:
        got = file.readinto(left)
        if not got:
            raise EOFError
        left = left[got:]
