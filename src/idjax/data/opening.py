"""Files by their names: what they are, and the columns in them, ready to be read in blocks."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from idjax.data.arrow import arrow_source
from idjax.data.builtin import BUILTINS
from idjax.data.dataset import printable, suggestion
from idjax.data.errors import reading_errors
from idjax.data.hdf5 import hdf5_source
from idjax.data.numpy_files import npy_source, npz_source
from idjax.data.parquet import files_in, parquet_source
from idjax.data.source import Request, Source, of_array
from idjax.data.text import text_source
from idjax.types import IdjaxError

_NOT = "it is damaged or no"
_TEXT = "it is not text in UTF-8 with one row of numbers a line; save it again as"
_PARQUET = parquet_source, f"{_NOT} Parquet file; save it again with pyarrow.parquet.write_table"
_ARROW = arrow_source, f"{_NOT} Arrow file; save it again with pyarrow.feather.write_feather"
_HDF5 = hdf5_source, f"{_NOT} HDF5 file; save it again with h5py"

FOLDER = "folder"
"""The kind of a folder of Parquet files, as the ends of names are those of files."""
READERS: dict[str, tuple[Callable[[Request], Source], str]] = {
    ".npy": (npy_source, f"{_NOT} .npy file; save it again with numpy.save"),
    ".npz": (npz_source, f"{_NOT} .npz file; save it again with numpy.savez"),
    ".csv": (text_source, f"{_TEXT} CSV in UTF-8"),
    ".tsv": (text_source, f"{_TEXT} tab-separated UTF-8"),
    ".parquet": _PARQUET,
    ".feather": _ARROW,
    ".arrow": _ARROW,
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    FOLDER: _PARQUET,
}
"""The reader of each type of file, by the ends of their names, and the remedy for a bad one."""
OF_ARRAYS = (".npz", ".h5", ".hdf5")
"""The kinds that hold arrays by name, of which one can be the target."""
UNNAMED = ("", ".npy")
"""The kinds that have one array without names, built-in sets among them."""


def kind_of(name: str) -> str:
    """The end of the name of a file in lower case, FOLDER of a folder, nothing of a built-in set."""
    if name in BUILTINS:
        return ""
    return FOLDER if os.path.isdir(name) else Path(name).suffix.lower()


def means_file(text: str) -> bool:
    """Whether a target is meant as a file or a built-in name, rather than as an array or columns.

    A folder is meant only by a path with a separator: any name of a column may be one of a folder nearby.
    """
    return text in BUILTINS or Path(text).suffix.lower() in READERS or (os.sep in text and os.path.isdir(text))


def open_source(
    name: str,
    letter: str = "x",
    *,
    array_name: str | None = None,
    leave_out: str | None = None,
    whole: bool = False,
) -> Source:
    """The columns of a built-in set or a file; the rest is as `Request` has it.

    Raises:
      IdjaxError: if there is no such file, if it can be none of data, or is damaged.
    """
    if name in BUILTINS:
        return of_array(BUILTINS[name](), None, name)
    source = printable(name)[-200:] or "''"
    reader, remedy = READERS[_checked_kind(name, source)]
    with reading_errors(source, remedy):
        return reader(Request(Path(name), source, remedy, letter, array_name, leave_out, whole))


def _checked_kind(name: str, source: str) -> str:
    """The kind of an existing file or folder; IdjaxError unless it can be one of data."""
    try:
        status = os.stat(name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IdjaxError(
            f"{source}: no such file or built-in data set; check the path; {suggestion(name, BUILTINS)}"
        ) from error
    except (OSError, ValueError) as error:
        raise IdjaxError(f"{source}: it cannot be opened; check the path and its permissions") from error
    if stat.S_ISDIR(status.st_mode):
        with reading_errors(source, "its files cannot be listed; check its permissions"):
            if not files_in(Path(name)):
                raise IdjaxError(f"{source}: it is a directory without .parquet files; give a file in it")
        return FOLDER
    suffix = Path(name).suffix.lower()
    if suffix not in READERS:
        types = ", ".join(kind for kind in READERS if kind != FOLDER)
        raise IdjaxError(f"{source}: its type is not supported; give one of {types}")
    if not stat.S_ISREG(status.st_mode):
        raise IdjaxError(f"{source}: it is not an ordinary file; copy its contents to one")
    if status.st_size == 0:
        raise IdjaxError(f"{source}: it is empty; give a file with at least 2 rows")
    return suffix
