"""The types that the whole library shares, and limits of the fields of settings. No JAX inside.

Shapes: p inputs, q outputs, n = p + 1 inputs with the bias, E epochs. All losses are means over rows *and* over
the q outputs, as Keras has them.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
from jaxtyping import Float

Value = bool | int | float | str | None
"""What an axis of a sweep sets."""

ACTIVATION_RANGES = {
    "relu": (0.0, math.inf),
    "tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "gelu": (-0.16997121, math.inf),
}
"""The least and the most that each activation can be, where it is bounded."""


class Progress(NamedTuple):
    """An event of long work: how much is done, of how much, and what is being done.

    A total of at most 1 means that no end is known. An epoch of training, the `done`-th, also brings what was measured
    in it: its updates, losses, explained variance and accuracy, and the seconds that it took and that are left.
    """

    done: int
    total: int
    what: str
    steps: int = 0
    train: float = math.nan
    validation: float = math.nan
    explained_variance: float = math.nan
    accuracy: float = math.nan
    seconds: float = math.nan
    seconds_left: float = math.nan


OnProgress = Callable[[Progress], None]
"""What hears of long work."""


def silent(_event: Progress) -> None:
    """Hears of long work, and does nothing."""


class IdjaxError(ValueError):
    """Bad input: one line that names the place and the remedy. The command line prints it and exits with 2."""


@dataclasses.dataclass(frozen=True)
class Moments:
    """First and second moments of (x, y) over weighted rows, in float64, centred so that small variances survive.

    `covariance_* ` are centred and divided by the total weight; `weight` is the mean weight of a row (1 unless
    rows are weighted), so that E[w a aᵀ] = weight · [[Σ + m mᵀ, m], [mᵀ, 1]] for a = [x; 1].
    For an autoencoder, y is x and the fields share their arrays.
    """

    count: int
    weight: float
    mean_x: Float[np.ndarray, " p"]
    mean_y: Float[np.ndarray, " q"]
    covariance_xx: Float[np.ndarray, "p p"]
    covariance_xy: Float[np.ndarray, "p q"]
    covariance_yy: Float[np.ndarray, "q q"]
    autoencoder: bool

    @classmethod
    def of_pair(
        cls, count: int, weight: float, x: tuple[np.ndarray, ...], y: tuple[np.ndarray, ...] | None
    ) -> "Moments":
        """From mean and covariance of x; and of y its mean, its covariance with x and its own, None if y is x."""
        return cls(count, weight, x[0], (y or x)[0], x[1], (y or x)[1], (y or x)[-1], y is None)

    @property
    def inputs(self) -> int:
        """The number of inputs p."""
        return self.mean_x.shape[0]

    @property
    def outputs(self) -> int:
        """The number of outputs q."""
        return self.mean_y.shape[0]


class Weights(NamedTuple):
    """A kernel (p, q) and a bias (q,)."""

    kernel: Float[np.ndarray, "p q"]
    bias: Float[np.ndarray, " q"]

    @property
    def stacked(self) -> Float[np.ndarray, "n q"]:
        """Θ = [W; b], (p + 1, q)."""
        return np.concatenate([self.kernel, self.bias[None]])


Layers = tuple[Weights, ...]
"""Kernel and bias of every layer, in the order in which a row meets them."""


def end_to_end(layers: Layers) -> Weights:
    """The one affine map that linear layers make: W = W₁ W₂ ⋯ W_L, b = (b₁ W₂ + b₂) ⋯ W_L + b_L (D1)."""
    kernel, bias = layers[0]
    for weight, shift in layers[1:]:
        kernel, bias = kernel @ weight, bias @ weight + shift
    return Weights(kernel, bias)


class Rows(NamedTuple):
    """Inputs (N, p) and targets (N, q), None for an autoencoder, of NumPy or of JAX."""

    x: Any
    y: Any

    @property
    def target(self) -> Any:
        """The targets, (N, q): y, or x for an autoencoder."""
        return self.x if self.y is None else self.y

    def part(self, chosen: slice) -> "Rows":
        """Some of the rows."""
        return Rows(self.x[chosen], None if self.y is None else self.y[chosen])

    def thinned(self, most: int) -> "Rows":
        """At most so many of the rows, evenly spaced."""
        return self.part(slice(None, None, -(-len(self.x) // most)))


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Eigen-decomposition M = V diag(λ) Vᵀ of the second moment M = E[w a aᵀ], a = [x; 1], in descending order.

    Directions in which the data never move (null modes) have eigenvalue exactly 0 and come last.
    """

    eigenvalues: Float[np.ndarray, " n"]
    eigenvectors: Float[np.ndarray, "n n"]

    @property
    def rank(self) -> int:
        """The number of modes that the data excite."""
        return int(np.count_nonzero(self.eigenvalues))


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
    for name, default, holds, remedy in _limits(type(given)):
        value = getattr(given, name)
        if value is default:  # which holds; a diagnosis makes hundreds of settings that differ in a few
            continue
        try:
            met = holds(value)
        except (TypeError, ValueError):  # of another type
            met = False
        if not met:
            shown = repr(value) if isinstance(value, str) else value
            raise IdjaxError(f"{name} is {shown}: {remedy}")


@functools.cache
def _limits(kind: Any) -> tuple[tuple[str, Any, Callable[[Any], bool], str], ...]:
    words = {name: get_args(hint) for name, hint in get_type_hints(kind).items() if get_origin(hint) is Literal}
    choices = {
        name: Limit(frozenset(some).__contains__, f"give one of {', '.join(some)}") for name, some in words.items()
    }
    found = {field: field.metadata.get("limit") or choices.get(field.name) for field in dataclasses.fields(kind)}
    return tuple((field.name, field.default, limit.holds, limit.remedy) for field, limit in found.items() if limit)


def whole(low: int, high: int | float, remedy: str) -> Limit:
    """Whole numbers between two, both included."""
    return Limit(lambda value: low <= operator.index(value) <= high, remedy)


def of_type(kind: type, remedy: str) -> Limit:
    """Values of a type."""
    return Limit(lambda value: isinstance(value, kind), remedy)


SHARE = Limit(lambda value: 0 <= value < 1, "give a number from 0 up to, not including, 1")
POSITIVE = Limit(lambda value: 0 < value < math.inf, "give a positive number, such as 0.01")
NOT_NEGATIVE = Limit(lambda value: 0 <= value < math.inf, "give zero or a positive number")
