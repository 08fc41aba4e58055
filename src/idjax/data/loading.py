"""Data sets in memory: all rows of a stream at once, checked and cast. Files are not trusted; nothing is unpickled."""

from typing import Any

import numpy as np
from jaxtyping import Float

from idjax.data.columns import ChosenColumns, choose_columns
from idjax.data.dataset import Dataset, count_of
from idjax.data.source import TEXT
from idjax.data.streaming import one_hot, stream
from idjax.settings import Dtype
from idjax.types import IdjaxError


def load(data: Any, target: Any = None, dtype: Dtype = "float32", *, labels: bool = False) -> Dataset:
    """A built-in data set, or the numbers of a file, a data frame or an array, checked and ready to learn from.

    An .npy file holds x, (N, p). An .npz or HDF5 file holds it as its only array or as the array named x. A .csv or
    .tsv file holds it as UTF-8 text, with commas, tabs or semicolons between the cells; a first line without
    any number names the columns. The columns of Parquet (a file, or a folder of them), Arrow and Feather files and
    of data frames have names. A built-in name wins over a file of the same name.

    Args:
      data: a name in `BUILTINS`, the path of a file, or a data frame or array in memory.
      target: None for an autoencoder, or where y, (N, q), is: columns by name, with commas between them (x1, x2,
        ... if they have no names), which then leave x; the name of another array in the .npz or HDF5 file;
        another file or built-in name (where such a file may call its array y); or numbers in memory.
      dtype: floating point type to store the numbers in.
      labels: take the target's one column of numbers for class labels, as words always are: y is their one-hot code.

    Raises:
      IdjaxError: if a file cannot be read or does not hold what is said above, or if the numbers are not real, finite,
        two-dimensional, of two rows or more, equally long and in the range of the dtype; with the place and the remedy.

    Example:
      >>> data = load([[1, 2, 3], [4, 5, 6]], "x3")
      >>> data.x.shape, data.target.shape, data.target_names
      ((2, 2), (2, 1), ('x3',))
    """
    labels = labels and (target is not None or isinstance(data, Dataset))
    if target is not None and not labels:
        learned = choose_columns(data, target)[1]
        labels = learned is not None and TEXT in learned.dtypes
    rows = stream(data, target, labels=labels, whole=not labels)
    coded = (False, rows.codes is not None)
    collected = [_Collected(*each, dtype) for each in zip(rows.columns, coded, strict=False)]
    for parts in rows.parts():
        for each, values in zip(collected, parts, strict=True):
            each.add(values)
    x, *targets = [each.rows() for each in collected]
    y = targets[0] if targets else None
    if y is not None and rows.classes is not None:
        y = one_hot(y[:, 0], len(rows.classes)).astype(dtype)
    return Dataset(x, y, rows.feature_names, rows.target_names, rows.source)


def as_dataset(data: Any, target: Any, dtype: Dtype, *, labels: bool = False) -> Dataset:
    """The data set itself if it has this dtype, or what `load` makes of the data."""
    held = isinstance(data, Dataset) and data.x.dtype == dtype and not (labels and data.target.shape[1] == 1)
    return data if held else load(data, target, dtype, labels=labels)


class _Collected:
    """Blocks of some columns, cast and put together, with what could not be kept: how many numbers, and the first."""

    def __init__(self, columns: ChosenColumns, coded: bool, dtype: Dtype):
        source = columns.source
        self._columns, self._name, self._dtype, self._blocks, self._done = columns, source.name, dtype, [], 0
        self._lost: dict[str, tuple[int, str]] = {}
        self._remedies = {
            "missing (empty or NaN)" if coded else "NaN or infinite": "remove or fill in those rows",
            f"too large for {dtype}": (
                "use --dtype float64" if dtype == "float32" else "divide that column by a constant"
            ),
        }
        try:
            self._whole = None if source.rows is None else np.empty((source.rows, len(columns.columns)), dtype)
        except (MemoryError, ValueError) as error:
            raise IdjaxError(f"{self._name}: its {source.rows} rows do not fit in memory; give fewer rows") from error

    def add(self, values: np.ndarray) -> None:
        """Takes the next rows; those beyond what the source promises are for its own check."""
        start, self._done = self._done, self._done + len(values)
        with np.errstate(all="ignore"):
            if self._whole is None:
                numbers = np.array(values, dtype=self._dtype, order="C")
                self._blocks.append(numbers)
            else:
                numbers = self._whole[start : self._done]
                numbers[:] = values[: len(numbers)]
            if np.isfinite(numbers.sum()):  # quicker than a look at each, unless the sum overflows
                return
        for what, held in zip(self._remedies, (values[: len(numbers)], numbers), strict=True):
            lost = ~np.isfinite(held)
            if lost.any():
                row, column = map(int, np.unravel_index(np.argmax(lost), lost.shape))
                count, first = self._lost.get(what, (0, self._columns.place(start + row, column)))
                self._lost[what] = count + int(np.count_nonzero(lost)), first

    def rows(self) -> Float[np.ndarray, "N p"]:
        """All rows; IdjaxError if there are too few, or if one of their numbers is not finite."""
        if self._done < 2:
            raise IdjaxError(f"{self._name}: it has {count_of(self._done, 'row')}; give at least 2")
        for what, remedy in self._remedies.items():
            if what in self._lost:
                count, first = self._lost[what]
                are, at = ("value is", "at") if count == 1 else ("values are", "the first at")
                raise IdjaxError(f"{self._name}: {count} {are} {what}, {at} {first}; {remedy}")
        return np.concatenate(self._blocks) if self._whole is None else self._whole
