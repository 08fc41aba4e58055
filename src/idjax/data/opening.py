"""Files by their names: what they are, and the columns in them, ready to be read in blocks."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from idjax.data.arrow import ARROW_REMEDY, arrow_source
from idjax.data.builtin import BUILTINS, builtin_table
from idjax.data.dataset import printable, suggestion
from idjax.data.errors import refusing
from idjax.data.hdf5 import HDF5_REMEDY, hdf5_source
from idjax.data.numpy_files import NPY_REMEDY, NPZ_REMEDY, npy_source, npz_source
from idjax.data.parquet import PARQUET_REMEDY, files_in, parquet_source
from idjax.data.source import Source, of_array
from idjax.data.text import TAB_REMEDY, TEXT_REMEDY, text_source
from idjax.types import IdjaxError

REMEDIES = {
    ".npy": NPY_REMEDY,
    ".npz": NPZ_REMEDY,
    ".csv": TEXT_REMEDY,
    ".tsv": TAB_REMEDY,
    ".parquet": PARQUET_REMEDY,
    ".feather": ARROW_REMEDY,
    ".arrow": ARROW_REMEDY,
    ".h5": HDF5_REMEDY,
    ".hdf5": HDF5_REMEDY,
}
"""The types of files, by the ends of their names, and what to say of a bad one."""
FOLDER = "folder"
"""The kind of a folder of Parquet files, as the ends of names are those of files."""
OF_ARRAYS = (".npz", ".h5", ".hdf5")
"""The kinds that hold arrays by name, of which one can be the target."""
UNNAMED = ("", ".npy")
"""The kinds that have one array without names, built-in sets among them."""


class File(NamedTuple):
    """An existing file or folder: its path, what messages call it, and its kind."""

    path: Path
    source: str
    kind: str


def kind_of(name: str) -> str:
    """The end of the name of a file in lower case, FOLDER of a folder, nothing of a built-in set."""
    if name in BUILTINS:
        return ""
    return FOLDER if _is_folder(name) else Path(name).suffix.lower()


def means_file(text: str) -> bool:
    """Whether a target is meant as a file or a built-in name, rather than as an array or columns.

    A folder is meant only by a path with a separator: any name of a column may be one of a folder nearby.
    """
    return text in BUILTINS or Path(text).suffix.lower() in REMEDIES or (os.sep in text and _is_folder(text))


def locate(name: str) -> File:
    """The file of this name; IdjaxError unless it can be one of data."""
    path, source = Path(name), printable(name)[-200:] or "''"
    try:
        status = os.stat(name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IdjaxError(
            f"{source}: no such file or built-in data set; check the path; {suggestion(name, BUILTINS)}"
        ) from error
    except (OSError, ValueError) as error:
        raise IdjaxError(f"{source}: it cannot be opened; check the path and its permissions") from error
    suffix = path.suffix.lower()
    if stat.S_ISDIR(status.st_mode):
        with refusing(source, "its files cannot be listed; check its permissions"):
            if not files_in(path):
                raise IdjaxError(f"{source}: it is a directory without .parquet files; give a file in it")
        return File(path, source, FOLDER)
    if suffix not in REMEDIES:
        raise IdjaxError(f"{source}: its type is not supported; give one of {', '.join(REMEDIES)}")
    if not stat.S_ISREG(status.st_mode):
        raise IdjaxError(f"{source}: it is not an ordinary file; copy its contents to one")
    if status.st_size == 0:
        raise IdjaxError(f"{source}: it is empty; give a file with at least 2 rows")
    return File(path, source, suffix)


def open_source(name: str, letter: str = "x", *, array_name: str | None = None, leave_out: str | None = None) -> Source:
    """The columns of a built-in set or a file; letter and names choose among the arrays of a file."""
    if name in BUILTINS:
        table = builtin_table(name)
        return of_array(table.values, None, table.source)
    path, source, kind = locate(name)
    with refusing(source, REMEDIES.get(kind, PARQUET_REMEDY)):
        match kind:
            case ".npy":
                return npy_source(path, source, letter)
            case ".npz":
                return npz_source(path, source, letter, array_name, leave_out)
            case ".csv" | ".tsv":
                return text_source(path, source)
            case ".feather" | ".arrow":
                return arrow_source(path, source)
            case ".h5" | ".hdf5":
                return hdf5_source(path, source, letter, array_name, leave_out)
            case _:
                return parquet_source(files_in(path) if kind == FOLDER else [path], source)


def _is_folder(name: str) -> bool:
    try:
        return os.path.isdir(name)
    except ValueError:
        return False
