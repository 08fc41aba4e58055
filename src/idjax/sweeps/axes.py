"""Sweeps as frozen dataclasses: axes over named fields of `Settings` or of `Gaussian` data, and their points.

A config is a Python file that ends in `sweep = Sweep(...)`. Every axis names its fields and gives its points in a fixed
order; the points of a sweep are the product of its axes, the last one fastest. No JAX inside.
"""

import contextlib
import dataclasses
import itertools
import math
import typing
from collections.abc import Iterator

import numpy as np

from idjax.data.dataset import suggestion
from idjax.results.plain import plain_value
from idjax.settings import Schedule, Settings
from idjax.types import IdjaxError, Value

Given = Value | tuple[int | float, ...] | Schedule
"""What an axis sets a field to."""


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Gaussian rows of one mean, their own target, with variances that fall evenly in the logarithm.

    x = mean + V diag(√λ) z, λ_i = deviation² · 10^(-decades i/(inputs - 1)), V a random rotation; `data.prescribed`.
    """

    mean: float = 1.0
    """Mean of every input."""
    deviation: float = 0.1
    """Standard deviation along the widest axis."""
    inputs: int = 8
    """Number of inputs, which are the outputs too."""
    rows: int = 1024
    """Number of rows, validation rows included."""
    decades: float = 0.0
    """Powers of ten between the largest and the smallest variance."""
    exact: bool = False
    """Whether the moments are those of the rows themselves, rather than of what they are drawn from."""
    data_seed: int = 0
    """Seed of the rows and of their rotation."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of a file, and as their target a column of it or another file; labels makes classes of whole numbers."""

    source: str
    target: str | None = None
    labels: bool = False


Data = Gaussian | Table | str
"""What is swept: Gaussian rows, or those of a table, whose source alone says all if x is the target."""


@typing.runtime_checkable
class Axis(typing.Protocol):
    """A list of settings for some fields, in a fixed order."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of `Settings` or `Gaussian` that it sets."""
        ...

    def values(self) -> list[tuple[Given, ...]]:
        """One value for each field, point by point."""
        ...


@dataclasses.dataclass(frozen=True)
class _OneField:
    field: str

    @property
    def fields(self) -> tuple[str, ...]:
        """Its one field."""
        return (self.field,)


@dataclasses.dataclass(frozen=True)
class Grid(_OneField):
    """One field at the values given."""

    points: tuple[Given, ...]

    def values(self) -> list[tuple[Given, ...]]:
        """As given."""
        return [(point,) for point in self.points]


@dataclasses.dataclass(frozen=True)
class LinearGrid(_OneField):
    """One field at `count` equally spaced values from low to high, both included, rounded where it takes whole ones."""

    low: float | int
    high: float | int
    count: int
    whole: bool = False

    def values(self) -> list[tuple[Given, ...]]:
        """In ascending order of their number; IdjaxError for bounds that span no grid."""
        _check_range(self.field, self.low, self.high, self.count)
        return _column(np.linspace(self.low, self.high, self.count), self.whole)


@dataclasses.dataclass(frozen=True)
class LogGrid(LinearGrid):
    """Values of a field between two positive bounds, equally spaced in the logarithm."""

    def values(self) -> list[tuple[Given, ...]]:
        """In ascending order of their number; IdjaxError for bounds that span no grid."""
        _check_range(self.field, self.low, self.high, self.count, positive=True)
        return _column(np.geomspace(self.low, self.high, self.count), self.whole)


@dataclasses.dataclass(frozen=True)
class Random(_OneField):
    """One field at `count` values drawn uniformly between low and high, or uniformly in the logarithm."""

    low: float | int
    high: float | int
    count: int
    log: bool = False
    whole: bool = False
    seed: int = 0

    def values(self) -> list[tuple[Given, ...]]:
        """In the order drawn; IdjaxError for bounds that span no range."""
        _check_range(self.field, self.low, self.high, self.count, positive=self.log)
        if self.seed < 0:
            raise IdjaxError(f"axis {self.field}: seed is {self.seed}; give a whole number from 0")
        # The field is part of the seed, so that two axes of one seed are not drawn alike.
        draws = np.random.default_rng([self.seed, *self.field.encode()]).random(self.count)
        if self.log:
            return _column(self.low * (self.high / self.low) ** draws, self.whole)
        return _column(self.low + (self.high - self.low) * draws, self.whole)


@dataclasses.dataclass(frozen=True)
class Paired:
    """Axes of equal length that move together: the first points of all, then the second of all, and so on.

    `Paired((Random("learning_rate", ...), Random("momentum", ...)))` is a random search over both.
    """

    axes: tuple[Axis, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of all its axes."""
        return tuple(field for axis in self.axes for field in axis.fields)

    def values(self) -> list[tuple[Given, ...]]:
        """The points side by side; IdjaxError unless the axes are equally long."""
        parts = [axis.values() for axis in self.axes]
        if len({len(part) for part in parts}) > 1:
            named = zip(("/".join(axis.fields) for axis in self.axes), parts, strict=True)
            lengths = ", ".join(f"{fields} {len(part)}" for fields, part in named)
            raise IdjaxError(f"axis {'/'.join(self.fields)}: paired axes have different numbers of points ({lengths})")
        return [tuple(itertools.chain(*some)) for some in zip(*parts, strict=True)]


@dataclasses.dataclass(frozen=True)
class Point:
    """One run of a sweep: its number, what the axes set (in plain words and numbers), and what follows from that."""

    index: int
    at: dict[str, Value]
    data: Data
    settings: Settings


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Runs that answer one question: at every point of the axes the theory is held against a training.

    data is a built-in set or a file, a `Table`, or `Gaussian` rows, whose fields may have axes too. tolerance is the
    largest relative difference of trained and predicted 1 - EV that passes where batches are drawn.
    """

    name: str
    title: str
    question: str
    data: Data
    settings: Settings
    axes: tuple[Axis, ...]
    tolerance: float = 0.05

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the axes set, in their order."""
        return tuple(field for axis in self.axes for field in axis.fields)

    def expand(self) -> tuple[Point, ...]:
        """The product of the axes, the last one fastest.

        Raises:
          IdjaxError: with the axis and the reason, if fields are unknown, set twice, of another type, or if there are
            no points or two alike.
        """
        types = _SETTINGS | (_GAUSSIAN if isinstance(self.data, Gaussian) else {})
        for field in self.fields:
            _check_field(field, self.fields, types, self.data)
        points = []
        for index, parts in enumerate(itertools.product(*(_values(axis) for axis in self.axes))):
            raw = dict(zip(self.fields, itertools.chain(*parts), strict=True))
            given = {field: _cast(field, value, types[field]) for field, value in raw.items()}
            at = {field: plain_value(field, value) for field, value in given.items()}
            with self.blaming(index, at):
                points.append(Point(index, at, *self._with(given)))
        _check_distinct(points)
        return tuple(points)

    @contextlib.contextmanager
    def blaming(self, index: int, at: dict[str, Value]) -> Iterator[None]:
        """Puts the axis whose field an error begins with before it, or else the point."""
        try:
            yield
        except IdjaxError as error:
            field = str(error).split()[0].removeprefix("--").replace("-", "_")
            where = ", ".join(f"{name}={value}" for name, value in at.items())
            point = f"point {index} ({where})" if at else "settings"
            raise IdjaxError(f"{f'axis {field}' if field in at else point}: {error}") from None

    def _with(self, given: dict[str, typing.Any]) -> tuple[Data, Settings]:
        of_settings, data = {field: value for field, value in given.items() if field in _SETTINGS}, self.data
        if isinstance(data, Gaussian):
            data = dataclasses.replace(data, **{key: value for key, value in given.items() if key not in _SETTINGS})
        return data, dataclasses.replace(self.settings, **of_settings)


_SETTINGS = typing.get_type_hints(Settings)
_GAUSSIAN = typing.get_type_hints(Gaussian)
_KINDS = {bool: "truth value", int: "whole number", float: "number", str: "text"}


def _column(numbers: np.ndarray, whole: bool) -> list[tuple[Given, ...]]:
    return [(round(number) if whole else number,) for number in numbers.tolist()]


def _values(axis: Axis) -> list[tuple[Given, ...]]:
    values = axis.values()
    if not values:
        raise IdjaxError(f"axis {'/'.join(axis.fields)}: it has no points; give at least one")
    return values


def _check_range(field: str, low: float | int, high: float | int, count: int, positive: bool = False) -> None:
    least = 0.0 if positive else -math.inf
    if not (math.isfinite(low) and math.isfinite(high) and least < low < high):
        what = "two positive numbers" if positive else "two numbers"
        raise IdjaxError(f"axis {field}: it goes from {low} to {high}; give {what}, the smaller first")
    if count < 2:
        raise IdjaxError(f"axis {field}: count is {count}; give at least 2")


def _check_field(field: str, fields: tuple[str, ...], types: dict[str, typing.Any], data: Data) -> None:
    if fields.count(field) > 1:
        raise IdjaxError(f"axis {field}: more than one axis sets it; keep one")
    if field in types:
        return
    if field in _GAUSSIAN:
        raise IdjaxError(f"axis {field}: the data are {data!r}, which has none; sweep it over Gaussian(...) data")
    raise IdjaxError(f"axis {field}: there is no such setting; {suggestion(field, types)}")


def _cast(field: str, value: Given, kind: typing.Any) -> Given:
    """The value as the type of its field, or one of its words; `Settings` checks widths, penalties and schedules."""
    if typing.get_origin(kind) is typing.Literal:
        words = typing.get_args(kind)
        if value not in words:
            raise IdjaxError(f"axis {field}: {value!r} is none of {', '.join(map(str, words))}")
        return value
    kinds = typing.get_args(kind) or (kind,)
    if type(value) is int and float in kinds:
        return float(value)
    if type(value) in kinds or not {*kinds} <= {*_KINDS, type(None)}:
        return value
    named = " or ".join(_KINDS[part] for part in kinds if part in _KINDS)
    raise IdjaxError(f"axis {field}: {value!r} is not a {named}")


def _check_distinct(points: list[Point]) -> None:
    seen: dict[tuple[Value, ...], int] = {}
    for point in points:
        first = seen.setdefault(tuple(point.at.values()), point.index)
        if first != point.index:
            where = ", ".join(f"{field}={value}" for field, value in point.at.items())
            alike = f"points {first} and {point.index} are alike ({where})"
            raise IdjaxError(f"axis {'/'.join(point.at)}: {alike}; drop one, or space whole numbers by one or more")
