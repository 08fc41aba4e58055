"""Data: built-in sets, files and arrays, all as one checked `Dataset`. Nothing here imports JAX."""

from idjax.data.arrays import as_dataset, from_arrays
from idjax.data.builtin import BUILTINS, load_builtin, prescribed
from idjax.data.dataset import Dataset
from idjax.data.readers import read
from idjax.data.split import keras_split, training_rows
from idjax.data.streaming import Stream, stream

load = read

__all__ = [
    "BUILTINS",
    "Dataset",
    "Stream",
    "as_dataset",
    "from_arrays",
    "keras_split",
    "load",
    "load_builtin",
    "prescribed",
    "read",
    "stream",
    "training_rows",
]
