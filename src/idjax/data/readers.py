"""Data sets from files and from memory. Files are not trusted: nothing is unpickled, no header believed unchecked."""

import os
from typing import Any

from idjax.data import dataset
from idjax.data.arrays import table_of
from idjax.data.builtin import BUILTINS, builtin_table
from idjax.data.dataset import Dataset, Table
from idjax.data.errors import refusing
from idjax.data.numpy_files import read_npy, read_npz
from idjax.data.opening import OF_ARRAYS, REMEDIES, UNNAMED, kind_of, locate, means_file, open_source
from idjax.data.source import collect
from idjax.data.text import read_text
from idjax.settings import Dtype


def read(path_or_name: Any, target: Any = None, dtype: Dtype = "float32") -> Dataset:
    """A built-in data set, or the numbers of a file or a data frame, checked and ready to learn from.

    An .npy file holds x, (N, p). An .npz or HDF5 file holds it as its only array or as the array named x. A .csv or
    .tsv file holds it as UTF-8 text, with commas, tabs or semicolons between the cells; a first line without
    any number names the columns. The columns of Parquet (a file, or a folder of them), Arrow and Feather files and
    of data frames have names. A built-in name wins over a file of the same name.

    Args:
      path_or_name: a name in `BUILTINS`, the path of a file, or a data frame or array in memory.
      target: None for an autoencoder, or where y, (N, q), is: columns by name, with commas between them (x1, x2,
        ... if they have no names), which then leave x; the name of another array in the .npz or HDF5 file;
        another file or built-in name (where such a file may call its array y); or numbers in memory.
      dtype: floating point type to store the numbers in.

    Raises:
      IdjaxError: if a file cannot be read or does not hold what is said above, with the place and the remedy;
        and as `from_arrays`.
    """
    if not isinstance(path_or_name, str | os.PathLike):
        x = table_of(path_or_name, "x")
        if not isinstance(target, str):
            return dataset.assemble(x, None if target is None else _target(target), dtype)
        return dataset.assemble(*dataset.part(_named(x), target), dtype)
    name = os.fspath(path_or_name)
    if target is None:
        return dataset.assemble(_load(name), None, dtype)
    if not isinstance(target, str | os.PathLike):
        return dataset.assemble(_load(name), _target(target), dtype)
    wanted, kind = os.fspath(target), kind_of(name)
    if means_file(wanted) or kind in UNNAMED:
        return dataset.assemble(_load(name), _load(wanted, "y"), dtype)
    if kind in OF_ARRAYS:
        y = _load(name, "y" if kind != ".npz" else "x", array_name=wanted)
        return dataset.assemble(_load(name, leave_out=wanted), y, dtype)
    return dataset.assemble(*dataset.part(_load(name), wanted), dtype)


def _load(name: str, letter: str = "x", *, array_name: str | None = None, leave_out: str | None = None) -> Table:
    """The values of a built-in set or a file; letter and names choose among the arrays of a file."""
    if name in BUILTINS:
        return builtin_table(name)
    path, source, kind = locate(name)
    if kind not in (".npy", ".npz", ".csv", ".tsv"):
        return collect(open_source(name, letter, array_name=array_name, leave_out=leave_out))
    with refusing(source, REMEDIES[kind]):
        if kind == ".npy":
            return read_npy(path, source, letter)
        if kind == ".npz":
            return read_npz(path, source, letter, array_name, leave_out)
        return read_text(path, source)


def _target(values: Any) -> Table:
    return _load(os.fspath(values), "y") if isinstance(values, os.PathLike) else table_of(values, "y")


def _named(table: Table) -> Table:
    """The table, once it is known to have columns to choose from."""
    dataset.check_form(table.values.dtype, table.values.shape, table.source)
    return table
