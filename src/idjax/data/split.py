"""The split into training rows and validation rows."""

import math

from idjax.types import IdjaxError


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
        raise IdjaxError(f"--validation-split is {validation_split}: give a share from 0 up to, not including, 1")
    training = rows if validation_split == 0 else math.floor(rows * (1.0 - validation_split))
    if training == 0 or (validation_split > 0 and training == rows):
        empty = "training" if training == 0 else "validation"
        raise IdjaxError(
            f"--validation-split {validation_split} of {rows} rows leaves none for {empty}: "
            "give more rows or another share (0 validates on none)"
        )
    return training


def training_rows(rows: int, validation_split: float, batch_size: int) -> int:
    """`keras_split`, held against the batch size.

    Raises:
      IdjaxError: as `keras_split`, or if a batch does not fit into the training rows.
    """
    training = keras_split(rows, validation_split)
    if batch_size > training:
        raise IdjaxError(
            f"--batch-size {batch_size} is larger than the {training} training rows: give at most {training}"
        )
    return training
