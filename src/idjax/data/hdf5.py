"""Data sets of HDF5 files, read by slices; no link to another file is followed."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from idjax.data.dataset import check_form, quote
from idjax.data.errors import import_extra
from idjax.data.numpy_files import choose
from idjax.data.source import TEXT, Block, Request, Source, one_array, pick
from idjax.types import IdjaxError

_CACHE_BYTES = 2**27
"""Of unpacked chunks: one that does not fit is unpacked again for each block."""
_CHUNK_LIMIT = 2**30
_PACKED_AT_MOST = 2000
"""Numbers take at least this share of their bytes: deflate's best is 1032."""


def hdf5_source(request: Request) -> Source:
    """One data set of an HDF5 file, chosen as an array of an .npz file is."""
    source, letter = request.name, request.letter
    h5py = import_extra("h5py", source)

    def opened() -> Any:
        return h5py.File(request.path, "r", rdcc_nbytes=_CACHE_BYTES)

    with opened() as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        links = [name for name in file if not isinstance(file.get(name, getlink=True), h5py.HardLink)]
        for name in (request.array_name, letter, "x"):
            if name is not None and name in links:
                raise IdjaxError(f"{source}: {quote(name)} is a link; copy the data it points to into the file")
        chosen = choose(names, request, "save x in it as a data set named x")
        source = source if len(names) == 1 else f"{source} (data set {quote(chosen)})"
        data = file[chosen]
        text = h5py.check_string_dtype(data.dtype) is not None
        shape, dtype = _checked(data, source, letter, text)
    rows, width = shape

    def read(numbers: Sequence[int], words: int | None, block_rows: int) -> Iterator[Block]:
        with opened() as file:
            data = file[chosen]
            if data.chunks and data.chunks[0] < 4 * block_rows:  # whole chunks, so that none is unpacked twice
                block_rows = max(1, block_rows // data.chunks[0]) * data.chunks[0]
            for start in range(0, rows, block_rows):
                held = (data.asstr(errors="replace") if text else data)[start : start + block_rows].reshape(-1, width)
                yield Block(pick(held, numbers), None if words is None else held[:, words])

    return one_array(source, TEXT if text else dtype, shape, read, request.remedy)


def _checked(data: Any, source: str, letter: str, text: bool) -> tuple[tuple[int, int], np.dtype]:
    """Rows and columns of a data set, and its dtype; IdjaxError unless it holds as many numbers as it says."""
    if data.is_virtual or data.external:
        raise IdjaxError(f"{source}: its numbers are in another file; copy them into this one")
    shape, dtype = data.shape, data.dtype
    if shape is None:
        raise IdjaxError(f"{source}: it is empty; give a data set with at least 2 rows")
    shape = check_form(np.dtype(bool) if text else dtype, shape, source, letter, line=letter == "y")
    promised, stored = math.prod(shape) * dtype.itemsize, data.id.get_storage_size()
    packed = data.chunks is not None and data.id.get_create_plist().get_nfilters() > 0
    if promised > stored * (_PACKED_AT_MOST if packed else 1):
        raise IdjaxError(f"{source}: it promises {promised} bytes and holds {stored}; save it again")
    if data.chunks and math.prod(data.chunks) * dtype.itemsize > _CHUNK_LIMIT:
        raise IdjaxError(f"{source}: its chunks {data.chunks} are over 1 GiB each; save it with smaller ones")
    return shape, dtype
