"""Data sets of what is in memory already: arrays of any kind, and data frames."""

import dataclasses

import numpy as np

from idjax.data.dataset import Dataset, Table, assemble, printable
from idjax.data.frames import frame_source, is_frame
from idjax.data.source import collect
from idjax.settings import Dtype
from idjax.types import IdjaxError


def from_arrays(x: object, target: object = None, source: str = "x", dtype: Dtype = "float32") -> Dataset:
    """A checked data set of arrays in memory, copied.

    Args:
      x: numbers of shape (N, p), as a data frame, an array or anything that numpy.asarray makes one of.
      target: numbers of shape (N, q), likewise; None for an autoencoder.
      source: what to call x in messages.
      dtype: floating point type to store both in.

    Raises:
      IdjaxError: if they are not real, finite, two-dimensional, of two rows or more, equally long and within
        the range of the dtype.
    """
    learned = None if target is None else table_of(target, "target")
    return assemble(table_of(x, printable(source)), learned, dtype)


def as_dataset(data: object, target: object, dtype: Dtype) -> Dataset:
    """A data set of this dtype, from one or from arrays; IdjaxError as `from_arrays`."""
    if not isinstance(data, Dataset):
        return from_arrays(data, target, dtype=dtype)
    if data.x.dtype == dtype:
        return data
    cast = from_arrays(data.x, data.y, data.source, dtype)
    return dataclasses.replace(cast, feature_names=data.feature_names, target_names=data.target_names)


def table_of(values: object, source: str) -> Table:
    """Anything array-like or a data frame, with its names of columns; IdjaxError if it is neither."""
    return collect(frame_source(values, source)) if is_frame(values) else Table(as_array(values, source), None, source)


def as_array(values: object, source: str) -> np.ndarray:
    """Anything array-like as an array; IdjaxError if it is ragged or masked."""
    if isinstance(values, np.ma.MaskedArray):
        raise IdjaxError(f"{source}: it is a masked array; fill or drop the masked values, as x.filled(0) does")
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise IdjaxError(f"{source}: it is not an array of numbers; give rows of equal length") from error
