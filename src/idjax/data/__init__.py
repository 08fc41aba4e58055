"""Data: built-in sets, files and arrays, all as one checked `Dataset`. Nothing here imports JAX."""

from idjax.data.builtin import BUILTINS, prescribed
from idjax.data.dataset import Dataset
from idjax.data.loading import as_dataset, from_arrays, load, load_builtin
from idjax.data.split import keras_split, notes_on, within
from idjax.data.streaming import Stream, stream

__all__ = [
    "BUILTINS",
    "Dataset",
    "Stream",
    "as_dataset",
    "from_arrays",
    "keras_split",
    "load",
    "load_builtin",
    "notes_on",
    "prescribed",
    "stream",
    "within",
]
