"""Data: built-in sets, files and arrays, all as one checked `Dataset`. Nothing here imports JAX."""

from idjax.data.builtin import BUILTINS, prescribed
from idjax.data.dataset import Dataset
from idjax.data.loading import as_dataset, load
from idjax.data.split import keras_split, notes_on, within
from idjax.data.streaming import Stream, stream

__all__ = [
    "BUILTINS",
    "Dataset",
    "Stream",
    "as_dataset",
    "keras_split",
    "load",
    "notes_on",
    "prescribed",
    "stream",
    "within",
]
