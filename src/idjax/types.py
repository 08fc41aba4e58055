"""The nouns that the whole library shares. NumPy only: importing this file does not import JAX.

Shapes: p inputs, q outputs, n = p + 1 inputs with the bias, E epochs. All losses are means over rows *and* over
the q outputs, as Keras has them.
"""

import dataclasses
import enum
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Vector = Float[np.ndarray, " n"]

Value = bool | int | float | str | None
"""What an axis of a sweep sets."""


class Progress(NamedTuple):
    """An event of long work: how much is done, of how much, and what is being done.

    A total of at most 1 means that no end is known. An epoch of training, the `done`-th, also brings what was measured
    in it: its updates, losses and explained variance, and the seconds that it took and that are left.
    """

    done: int
    total: int
    what: str
    steps: int = 0
    train: float = math.nan
    validation: float = math.nan
    explained_variance: float = math.nan
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

    @property
    def condition_number(self) -> float:
        """λ_max / λ_min over the range of M (null modes left out)."""
        return float(self.eigenvalues[0] / self.eigenvalues[self.rank - 1]) if self.rank else float("nan")


@dataclasses.dataclass(frozen=True)
class Band:
    """A 95% band and its median, one value an epoch; over says what is random: starts, orders of the rows, or both;
    and how many runs were followed, if it is made of these.
    """

    low: Float[np.ndarray, " E"]
    median: Float[np.ndarray, " E"]
    high: Float[np.ndarray, " E"]
    over: str = "starts"


@dataclasses.dataclass(frozen=True)
class LearningRates:
    """The learning rates that the data allow, for updates Θ ← Θ - η ∇L with the 1/q of the loss inside ∇L.

    full_batch_max:  2/h₁ (2 (1 + β)/h₁ with momentum β), beyond which full-batch descent diverges.
    full_batch_best: 2/(h₁ + h_n), the fastest single rate.
    max, best:       the same in mean square with minibatches (equal to the above for a full batch).
    critical_batch:  the batch size that allows half of full_batch_max: larger ones hardly buy fewer steps.
    momentum:        the heavy-ball momentum that learns fastest with the full batch, at momentum_rate.
    """

    full_batch_max: float
    full_batch_best: float
    max: float
    best: float
    critical_batch: float = float("nan")
    momentum: float = float("nan")
    momentum_rate: float = float("nan")


@dataclasses.dataclass(frozen=True)
class ModeGroup:
    """Modes that learn alike: mean, slow, bias or null.

    modes: how many.  share: of the loss at the start.  steps: updates until all but 1% (1 - learned_at) of their loss
    is gone; inf if noise or the lack of a gradient keeps it.
    """

    name: str
    modes: int
    share: float
    steps: float


class FastestRate(NamedTuple):
    """The learning rate that is predicted to learn in the fewest updates within the run, and how many (inf: not)."""

    learning_rate: float
    steps: float


@dataclasses.dataclass(frozen=True)
class Stall:
    """Where rounding ends learning: the last update that moves a weight stored in `dtype`, and the loss left there."""

    dtype: str
    steps: float
    loss: float


class Status(enum.StrEnum):
    """The validity of a curve: valid numbers, a run that diverges, numbers outside the theory's range, or no theory."""

    VALID = "valid"
    DIVERGES = "diverges"
    OUTSIDE_RANGE = "outside_range"
    NO_THEORY = "no_theory"


@dataclasses.dataclass(frozen=True)
class Curve:
    """The loss of a run epoch by epoch: the result of both `predict` and `train`.

    epoch:               from 1, as Keras counts.
    train:               row-weighted mean over the epoch of the batch losses, each before its update.
    validation:          loss on the validation rows at the epoch's end (NaN without a split).
    explained_variance:  1 - MSE / mean_j Var(y_j), original units, epoch's end, validation rows (training rows
                         without a split).
    shape_correlation:   mean over rows of the correlation across features of output and target, at the end.
    steps_to_learn:      updates until the explained variance above reaches the asked level; inf if it does not.
    weights:             the kernel and bias at the end: those of the whole map where there are hidden linear layers,
                         NaN where hidden layers are not linear.
    layers:              every layer's own, where there are hidden ones and they are known.
    how:                 how the curve was made, in words, for people alone.
    status:              whether the run diverges, or lies outside the range of its theory.
    seconds:             wall time that it took.
    notes:               what else there is to know, a sentence each.
    kernel_drift:        how far the tangent kernel has moved from its start at the epoch's end, relative, where the
                         prediction rests on its standing still.

    A prediction also carries what the data allow: the condition number of the layer's curvature, the learning
    rates, the 95% bands of the two losses, where rounding ends learning, and for adaptive optimizers the fastest rate.
    """

    epoch: Int[np.ndarray, " E"]
    train: Float[np.ndarray, " E"]
    validation: Float[np.ndarray, " E"]
    explained_variance: Float[np.ndarray, " E"]
    shape_correlation: float
    steps_per_epoch: int
    steps_to_learn: float
    weights: Weights
    how: str
    seconds: float
    status: Status = Status.VALID
    condition_number: float | None = None
    learning_rates: LearningRates | None = None
    train_band: Band | None = None
    validation_band: Band | None = None
    mode_groups: tuple[ModeGroup, ...] = ()
    stall: Stall | None = None
    fastest: FastestRate | None = None
    layers: Layers = ()
    notes: tuple[str, ...] = ()
    kernel_drift: Float[np.ndarray, " E"] | None = None

    @property
    def epochs_to_learn(self) -> float:
        """Steps to learn in epochs, fractional."""
        return self.steps_to_learn / self.steps_per_epoch
