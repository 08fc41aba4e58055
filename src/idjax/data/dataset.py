"""The `Dataset`, checks that need no values, and the words that messages are made of."""

import dataclasses
import difflib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from idjax.types import IdjaxError


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from: finite, at least two, in C order and sharing no memory with where they came from.

    x:              inputs, (N, p).
    y:              targets, (N, q), of the same dtype; None for an autoencoder, whose target is x.
    feature_names:  the p columns of x; x1, x2, ... unless the file names them. Always printable on one line.
    target_names:   the q columns of the target.
    source:         how messages and reports call the data; printable on one line.
    """

    x: Float[np.ndarray, "N p"]
    y: Float[np.ndarray, "N q"] | None
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    source: str

    @property
    def target(self) -> Float[np.ndarray, "N q"]:
        """The targets, (N, q): y, or x for an autoencoder."""
        return self.x if self.y is None else self.y


def find_columns(names: tuple[str, ...], wanted: str, source: str, role: str) -> list[int]:
    """Places of the wanted columns: names with commas between them.

    Raises:
      IdjaxError: if a name is unknown, shared by several columns or given twice; the role is what they are wanted for.
    """
    wanted = printable(wanted)
    chosen = [wanted] if wanted in names else [name.strip() for name in wanted.split(",")]
    for name in chosen:
        if name not in names:
            raise IdjaxError(f"{source}: no column {quote(name)} for {role}; {suggestion(name, names)}")
        if names.count(name) > 1:
            raise IdjaxError(f"{source}: {names.count(name)} columns are named {quote(name)}; rename all but one")
        if chosen.count(name) > 1:
            raise IdjaxError(f"{source}: {role} names column {quote(name)} twice; name it once")
    return [names.index(name) for name in chosen]


def check_form(
    dtype: np.dtype, shape: tuple[int, ...], source: str, letter: str = "x", line: bool = False
) -> tuple[int, int]:
    """Rows and columns of an array, once checked as far as can be before its numbers are read.

    With `line`, one dimension is one column.

    Raises:
      IdjaxError: unless it holds real numbers in two dimensions, in two rows or more.
    """
    if dtype.kind not in "biuf":
        named = "VV" if dtype.names else dtype.kind
        fallback = ("values that are not real numbers", f'give {letter}.astype("float32")')
        what, remedy = _NOT_NUMBERS.get(named, fallback)
        raise IdjaxError(f"{source}: it holds {what} ({quote(dtype.name)}); {remedy}")
    if line and len(shape) == 1:
        shape = (*shape, 1)
    if len(shape) < 2:
        raise IdjaxError(
            f"{source}: it has {count_of(len(shape), 'dimension')} and needs 2, rows by columns; "
            + (f"give {letter}[:, None] for one column" if shape else "give more than a single number")
        )
    if len(shape) > 2:
        raise IdjaxError(
            f"{source}: it has {len(shape)} dimensions and needs 2, rows by columns; "
            f"give {letter}.reshape(len({letter}), -1)"
        )
    rows, columns = shape
    if columns == 0:
        raise IdjaxError(f"{source}: it has no columns; give at least 1")
    if rows < 2:
        raise IdjaxError(f"{source}: it has {count_of(rows, 'row')}; give at least 2")
    return rows, columns


_NOT_NUMBERS = {
    "c": ("complex numbers", "give real and imaginary parts as columns of their own"),
    "O": ("Python objects", "give an array of numbers, such as x.astype(float)"),
    "S": ("text", "give numbers, such as x.astype(float)"),
    "U": ("text", "give numbers, such as x.astype(float)"),
    "VV": (
        "records with named fields",
        "give plain columns: numpy.lib.recfunctions.structured_to_unstructured(x)",
    ),
}


def count_of(number: int, noun: str) -> str:
    """`no rows`, `1 row`, `2 rows`."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def place(row: int, column: int, names: tuple[str, ...] | None) -> str:
    """The place of a cell in words: the row from 1, the column from 0 or by its name."""
    if names is None:
        return f"row {row}, column {column + 1} (counting from 1)"
    return f"row {row} (counting from 1), column {quote(names[column])}"


def numbered(letter: str, columns: int) -> tuple[str, ...]:
    """Names for columns that have none: x1, x2, ..."""
    return tuple(f"{letter}{column}" for column in range(1, columns + 1))


def printable(text: str) -> str:
    """Text on one line, with characters that are not seen, or turn the direction of others, as escapes: \\x1b, \\u202e.

    Names come from the data: on a terminal or a page they may show themselves, and do nothing else.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quote(text: str) -> str:
    """The text in quotes, on one line, cut to 40 characters."""
    text = printable(text)
    return f"'{text}'" if len(text) <= 40 else f"'{text[:37]}...'"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Advice on a name that is not known: the closest that is, or else the first few of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {quote(close[0])}?"
    rest = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return "there is " + ", ".join(map(quote, known[:8])) + rest
