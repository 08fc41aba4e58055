"""Limits of the fields of a dataclass: what each can be by itself, and what to do where it is not. No JAX inside."""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from idjax.types import IdjaxError


class Limit(NamedTuple):
    """A condition on a value (an error of its type counts as unmet), and the remedy where it is not met."""

    holds: Callable[[Any], bool]
    remedy: str

    @property
    def optional(self) -> "Limit":
        """The limit of a field that can be None as well."""
        return Limit(lambda value: value is None or self.holds(value), self.remedy)


def limited(default: Any, limit: Limit | None = None, **metadata: Any) -> Any:
    """A dataclass field with its default, its limit, and what else is to be known of it."""
    return dataclasses.field(default=default, metadata={"limit": limit, **metadata})


def check_fields(given: Any) -> None:
    """Holds each field of a dataclass against its limit, or against the words of its `Literal` type.

    Raises:
      IdjaxError: with the field, its value and the remedy.
    """
    for name, holds, remedy in _limits(type(given)):
        value = getattr(given, name)
        try:
            met = holds(value)
        except (TypeError, ValueError):  # of another type
            met = False
        if not met:
            shown = repr(value) if isinstance(value, str) else value
            raise IdjaxError(f"{name} is {shown}: {remedy}")


@functools.cache
def _limits(kind: Any) -> tuple[tuple[str, Callable[[Any], bool], str], ...]:
    words = {name: get_args(hint) for name, hint in get_type_hints(kind).items() if get_origin(hint) is Literal}
    choices = {
        name: Limit(frozenset(some).__contains__, f"give one of {', '.join(some)}") for name, some in words.items()
    }
    found = {field.name: field.metadata.get("limit") or choices.get(field.name) for field in dataclasses.fields(kind)}
    return tuple((name, limit.holds, limit.remedy) for name, limit in found.items() if limit)


def whole(low: int, high: int | float, remedy: str) -> Limit:
    """Whole numbers between two, both included."""
    return Limit(lambda value: low <= operator.index(value) <= high, remedy)


def instance_of(kind: type, remedy: str) -> Limit:
    """Values of a type."""
    return Limit(lambda value: isinstance(value, kind), remedy)


SHARE = Limit(lambda value: 0 <= value < 1, "give a number from 0 up to, not including, 1")
POSITIVE = Limit(lambda value: 0 < value < math.inf, "give a positive number, such as 0.01")
NOT_NEGATIVE = Limit(lambda value: 0 <= value < math.inf, "give zero or a positive number")
