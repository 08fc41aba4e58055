"""The split into training rows and validation rows, and what settings come to with so many and such rows."""

import dataclasses
import math
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from idjax.settings import Settings
from idjax.types import IdjaxError

FEW = 20
"""So many different whole numbers in a target may be class labels."""
OFTEN = 5
"""Times that each of them is there, on average."""
LOOKED_AT = 20_000

Given = TypeVar("Given", bound=Settings)


def keras_split(rows: int, validation_split: float) -> int:
    """The number of training rows, floor(rows · (1 - split)), rounded exactly as Keras 3 does.

    Keras trains on the first rows and validates on the rest, before any shuffling. A split of 0 keeps
    every row for training.

    Raises:
      IdjaxError: if the split is outside [0, 1) or leaves the training or the validation rows empty.

    Example:
      >>> keras_split(10, 0.3)
      7
    """
    if not 0 <= validation_split < 1:
        raise IdjaxError(f"validation_split is {validation_split}: give a share from 0 up to, not including, 1")
    training = rows if validation_split == 0 else math.floor(rows * (1.0 - validation_split))
    if training == 0 or (validation_split > 0 and training == rows):
        empty = "training" if training == 0 else "validation"
        raise IdjaxError(
            f"validation_split is {validation_split}: of {rows} rows that leaves none for {empty}; "
            "give more rows or another share (0 validates on none)"
        )
    return training


def within(settings: Given, rows: int) -> Given:
    """The settings, with a batch of at most the training rows: one of more is the full batch, as in Keras.

    Example:
      >>> within(Settings(batch_size=32), rows=5).batch_size
      5
    """
    return settings if settings.batch_size <= rows else dataclasses.replace(settings, batch_size=rows)


def notes_on(settings: Settings, rows: int, target: Float[np.ndarray, "N q"] | None) -> tuple[str, ...]:
    """Notes on settings as given for so many training rows, and on their target, None if it is x.

    Raises:
      IdjaxError: a target that is not one of classes, where the loss takes these.

    Example:
      >>> notes_on(Settings(batch_size=8), 5, None)
      ('batch_size is 8, more than the 5 training rows: each update sees all 5 of them, as in Keras',)
    """
    notes = []
    if settings.classifies:
        _check_classes(target)
    if settings.batch_size > rows:
        notes.append(
            f"batch_size is {settings.batch_size:,}, more than the {rows:,} training rows: each update sees all "
            f"{rows:,} of them, as in Keras"
        )
    numbers = target if target is not None and target.shape[1] == 1 and not settings.classifies else None
    if numbers is not None and (held := _like_labels(numbers[:: -(-len(numbers) // LOOKED_AT)])):
        notes.append(
            f"the target holds only {held}, as class labels do, and is learned as a number: if these are classes, "
            "give `labels=True`"
        )
    return tuple(notes)


def _check_classes(target: Float[np.ndarray, "N q"] | None) -> None:
    """Raises IdjaxError unless the target is one of classes: a number from 0 to 1, or shares that sum to 1."""
    shares = target is not None and bool(((target >= 0) & (target <= 1)).all())
    if target is not None and shares and (target.shape[1] == 1 or np.allclose(target.sum(axis=1), 1, atol=1e-3)):
        return
    raise IdjaxError(
        "loss is cross-entropy: it takes a target of one number from 0 to 1, or class labels, whose whole numbers are "
        "labels with `labels=True`"
    )


def _like_labels(target: Float[np.ndarray, "k 1"]) -> str:
    """The few whole numbers that are there over and over, in words; empty if others are there."""
    found = np.unique(target)
    if not 2 <= len(found) <= min(FEW, len(target) / OFTEN) or not np.array_equal(found, np.round(found)):
        return ""
    return (
        " and ".join(f"{value:g}" for value in found)
        if len(found) == 2
        else (f"{len(found)} whole numbers from {found[0]:g} to {found[-1]:g}")
    )
