"""Checks of a batch (inputs, targets), which becomes arrays with the rows first, and its blocks of rows."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from idjax.types import IdjaxError

BLOCK_ROWS = 128
"""Rows that are looked at together."""


def arrays_of(batch: Any) -> tuple[tuple[Any, Any], int]:
    """The batch as arrays, and its number of rows, which all of them must have.

    Raises:
      IdjaxError: for what is not (inputs, targets), or holds something else than finite numbers, or unequal rows.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise IdjaxError("batch: give (inputs, targets), arrays or nests of arrays with the rows first")
    inputs, targets = (
        jax.tree.map(lambda leaf, name=name: _array(leaf, name), part)
        for name, part in zip(("inputs", "targets"), batch, strict=True)
    )
    lengths = {len(leaf) for leaf in jax.tree.leaves((inputs, targets))}
    if not lengths:
        raise IdjaxError("batch: it holds no arrays: give (inputs, targets)")
    if len(lengths) != 1:
        raise IdjaxError(f"batch: its arrays have {', '.join(map(str, sorted(lengths)))} rows: give as many in each")
    if (rows := lengths.pop()) < 2:
        raise IdjaxError("batch: give at least 2 rows, better 1,000")
    return (inputs, targets), rows


def cut(batch: tuple[Any, Any], chosen: slice | np.ndarray) -> tuple[Any, Any]:
    """The chosen rows of a batch."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[chosen]), batch)


def blocks(rows: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each block of so many rows."""
    for begin in range(0, rows, BLOCK_ROWS):
        yield begin, min(begin + BLOCK_ROWS, rows)


def _array(leaf: Any, name: str) -> Any:
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    if array.ndim == 0:
        raise IdjaxError(f"batch: the {name} hold a single number: give arrays (np.asarray of a list), rows first")
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        raise IdjaxError(f"batch: the {name} are of type {array.dtype}: give numbers")
    if jnp.issubdtype(array.dtype, jnp.inexact) and not np.isfinite(array).all():
        raise IdjaxError(f"batch: the {name} hold numbers that are not finite: drop those rows")
    return array
