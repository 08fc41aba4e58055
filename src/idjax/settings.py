"""Everything that a run depends on, as frozen dataclasses that cannot be invalid. No JAX inside."""

import dataclasses
import math
import operator
from collections.abc import Callable
from typing import Any, Literal

from idjax.types import NOT_NEGATIVE, POSITIVE, SHARE, IdjaxError, Limit, check_fields, limited, of_type, whole

Optimizer = Literal["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "adamax", "nadam"]
Loss = Literal["mse", "mae", "huber", "log-cosh", "cross-entropy"]
Activation = Literal["linear", "relu", "tanh", "sigmoid", "gelu"]
Normalize = Literal["none", "center", "feature", "sample", "pca", "zca"]
LossSpace = Literal["original", "normalized"]
Dtype = Literal["float32", "float64", "bfloat16", "float16"]
Rounding = Literal["nearest", "stochastic", "master"]
MomentsOf = Literal["gaussian", "data"]
Solver = Literal["auto", "steps", "blocks"]

KERAS_NUMBERS = {
    "rmsprop": {"beta_2": 0.9, "epsilon": 1e-7},
    "adagrad": {"epsilon": 1e-7},
    "adadelta": {"beta_2": 0.95, "epsilon": 1e-7},
    "adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
    "adamw": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "weight_decay": 0.004},
    "adamax": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
    "nadam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
}
"""The numbers that each optimizer takes, with Keras's defaults; rmsprop and adadelta have their ρ as beta_2."""


def _penalties(value: Any) -> bool:
    first, last = value if isinstance(value, tuple) else (value, value)
    return 0 <= first < math.inf and 0 <= last < math.inf


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How the learning rate changes: linearly up over the epochs of `warmup`, then held, or decayed by `kind`.

    kind is constant, cosine (to 0 at the end of the run) or exponential (times `factor` an epoch).

    Example:
      >>> print(Schedule("cosine", warmup=2.0))
      warmup=2+cosine
    """

    kind: Literal["constant", "cosine", "exponential"] = "constant"
    warmup: float = limited(0.0, NOT_NEGATIVE)
    factor: float = limited(0.9, Limit(lambda value: 0 < value <= 1, "give a number above 0, at most 1"))

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def changes(self) -> bool:
        """Whether the rate is not the same at every update."""
        return self.kind != "constant" or self.warmup > 0

    def __str__(self) -> str:
        kind = f"exponential={short(self.factor)}" if self.kind == "exponential" else self.kind
        if not self.warmup:
            return kind
        warmup = f"warmup={short(self.warmup)}"
        return warmup if kind == "constant" else f"{warmup}+{kind}"


def short(number: float) -> str:
    """A number as settings tell it: whole ones without a point."""
    return str(number).removesuffix(".0")


_LEFT_OUT = SHARE._replace(remedy="give a share from 0 up to, not including, 1")
_WIDTHS = Limit(
    lambda value: isinstance(value, tuple) and all(operator.index(units) > 0 for units in value),
    "give a tuple of whole numbers of units, such as (64, 8, 64)",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """One Dense layer or a few, how they start and how they are trained.

    Raises:
      IdjaxError: with the setting, its value and what it takes.

    Example:
      >>> import dataclasses
      >>> settings = Settings(learning_rate=0.01, hidden=(64, 8, 64), schedule=Schedule("cosine"))
      >>> dataclasses.replace(settings, learning_rate=-1.0)
      Traceback (most recent call last):
      idjax.types.IdjaxError: learning_rate is -1.0: give a positive number, such as 0.01
    """

    start: str = limited("glorot", of_type(str, "give glorot, lecun, identity or the name of a file"), stacked=True)
    """Where training starts: glorot, lecun (Flax's own), identity, or a FILE of weights (.npz, .npy or .msgpack)."""
    hidden: tuple[int, ...] = limited((), _WIDTHS)
    """Widths of hidden layers before the output layer, such as (32,) or (64, 8, 64); none if not given."""
    hidden_activation: Activation = "linear"
    """Activation of the hidden layers."""
    hidden_l2: float | tuple[float, float] = limited(
        0.0, Limit(_penalties, "give a number from 0 on, or two, as (0.01, 0.05)")
    )
    """L2 penalty on the weights into and out of each hidden unit: one number, or those of a layer's first and last."""
    loss: Loss = "mse"
    """What is minimised: the mean over rows and outputs; cross-entropy: over rows, of logits, one or one a class."""
    activation: Activation = "linear"
    """Activation of the output layer."""
    activity_l1: float = limited(0.0, NOT_NEGATIVE)
    """L1 penalty on the layer's output: sum of |output| times this, over the batch size."""
    activity_l2: float = limited(0.0, NOT_NEGATIVE)
    """L2 penalty on the layer's output: sum of output² times this, over the batch size."""
    optimizer: Optimizer = "sgd"
    """Optimizer, with Keras's update rule and defaults."""
    learning_rate: float | None = limited(None, POSITIVE.optional, stacked=True)
    """Step size; Keras's default if not given (0.01 for sgd, 0.001 for the others)."""
    momentum: float = limited(0.0, SHARE, stacked=True)
    """Momentum of sgd or rmsprop."""
    nesterov: bool = limited(False, of_type(bool, "give True or False"))
    """Nesterov momentum, with sgd only."""
    beta_1: float | None = limited(None, SHARE.optional, stacked=True)
    """Decay of the mean of the gradients in adam and its relatives; Keras's 0.9 if not given."""
    beta_2: float | None = limited(None, SHARE.optional, stacked=True)
    """Decay of the mean of their squares, rmsprop's and adadelta's rho included; Keras's default if not given."""
    epsilon: float | None = limited(
        None, POSITIVE._replace(remedy="give a positive number, such as 1e-7").optional, stacked=True
    )
    """What is added to the root of that mean, where Keras adds it; Keras's 1e-7 if not given."""
    weight_decay: float | None = limited(None, NOT_NEGATIVE.optional, stacked=True)
    """Decoupled weight decay of adamw; Keras's 0.004 if not given."""
    schedule: Schedule = limited(
        Schedule(), of_type(Schedule, "give an idjax.Schedule, such as Schedule('cosine', warmup=2)")
    )
    """Learning rate over time."""
    batch_size: int = limited(32, whole(1, math.inf, "give a whole number of rows, at least 1"))
    """Rows in an update."""
    epochs: int = limited(20, whole(1, 1_000_000, "give a whole number, at least 1 and at most a million"))
    """Passes over the training rows."""
    validation_split: float = limited(0.3, _LEFT_OUT)
    """Share of the rows, taken from the end, that is kept for validation."""
    normalize: Normalize = "none"
    """What the model does to inputs, and undoes at its output: center or standardise each feature, standardise each
    sample, or whiten along the principal axes (pca) or turned back from them (zca)."""
    loss_space: LossSpace = "normalized"
    """Units of the loss when the model normalises."""
    learned_at: float = limited(
        0.99, Limit(lambda value: 0 < value < 1, "give a number between 0 and 1, such as 0.99"), stacked=True
    )
    """Explained variance that counts as learned."""
    dtype: Dtype = "float32"
    """Floating point type of the weights; with those of 16 bits, rows and arithmetic are float32."""
    rounding: Rounding = "nearest"
    """How updates are added to the weights: to nearest, stochastic, or to a float32 master copy of those of 16 bits."""
    loss_scale: float = limited(1.0, POSITIVE._replace(remedy="give a positive number, such as 1024"), stacked=True)
    """What the loss is multiplied by before it is differentiated, and the gradient divided by after: for weights of
    float16, whose gradients lose digits below 6e-5 and are 0 below 3e-8."""
    moments: MomentsOf = "gaussian"
    """What a prediction for minibatches knows of the rows beyond mean and covariance: that they are gaussian, or the
    data's own fourth moments (sgd on small data)."""
    seed: int = limited(0, whole(0, 2**32 - 1, "give a whole number from 0 to 4294967295"), stacked=True)
    """Seed of the start and of the order of the batches."""
    solver: Solver = "auto"
    """How training computes sgd's updates: batch by batch in steps, or in blocks of consecutive batches, each solved at
    once, which is the same run to 1e-5 in float32. auto takes blocks where they apply and are faster."""

    def __post_init__(self) -> None:
        check_fields(self)
        numbers = KERAS_NUMBERS.get(self.optimizer, {})
        for name in ("beta_1", "beta_2", "epsilon", "weight_decay"):
            if (value := getattr(self, name)) is not None and name not in numbers:
                takers = ", ".join(optimizer for optimizer, takes in KERAS_NUMBERS.items() if name in takes)
                raise IdjaxError(f"{name} is {value}: {self.optimizer} has none; use it with {takers}")
        for name, holds, remedy in _CONFLICTS:
            if not holds(self):
                raise IdjaxError(f"{name} is {getattr(self, name)}: {remedy.format(self)}")

    @property
    def step_size(self) -> float:
        """The learning rate, or Keras's default for the optimizer."""
        return self.learning_rate or (0.01 if self.optimizer == "sgd" else 0.001)

    @property
    def unit_penalties(self) -> tuple[tuple[float, ...], ...]:
        """The L2 penalty of each unit of each hidden layer; () if there is none."""
        if not self.hidden_l2:
            return ()
        first, last = self.hidden_l2 if isinstance(self.hidden_l2, tuple) else (self.hidden_l2, self.hidden_l2)
        return tuple(
            tuple(first + (last - first) * unit / max(units - 1, 1) for unit in range(units)) for units in self.hidden
        )

    @property
    def linear(self) -> bool:
        """Whether the outputs are an affine map of the inputs."""
        return self.activation == "linear" and (not self.hidden or self.hidden_activation == "linear")

    @property
    def classifies(self) -> bool:
        """Whether the outputs are logits of classes."""
        return self.loss == "cross-entropy"

    @property
    def data_dtype(self) -> Literal["float32", "float64"]:
        """Floating point type of the rows: weights of 16 bits see float32 rows."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def half(self) -> bool:
        """Whether the weights have 16 bits."""
        return self.dtype in ("bfloat16", "float16")

    @property
    def numbers(self) -> dict[str, float]:
        """The optimizer's beta_1, beta_2, epsilon and weight_decay, as far as it has them."""
        return {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, default in KERAS_NUMBERS.get(self.optimizer, {}).items()
        }

    @property
    def against_blocks(self) -> str:
        """Why the batches of this run cannot be solved in blocks, in words; empty where they can.

        Blocks need residuals that are linear in the weights, and a step that is linear in the residuals.
        """
        needs = {
            "`optimizer='sgd'`": self.optimizer == "sgd",
            "`loss='mse'`": self.loss == "mse",
            "`activation='linear'`": self.activation == "linear",
            "no `hidden` layers": not self.hidden,
            "a constant `schedule`": not self.schedule.changes,
            "no activity penalty": self.activity_l1 == self.activity_l2 == 0,
            "`loss_space='normalized'`": self.normalize == "none" or self.loss_space == "normalized",
            "`dtype='float32'` or float64": not self.half,
            "`rounding='nearest'`": self.rounding == "nearest",
        }
        missing = [need for need, met in needs.items() if not met]
        return f"blocks of batches need {' and '.join(missing)}" if missing else ""


@dataclasses.dataclass(frozen=True)
class DiagnosisSettings(Settings):
    """Settings of a run that is diagnosed: all rows are training rows unless told otherwise."""

    validation_split: float = limited(0.0, _LEFT_OUT)
    """Share of the rows, taken from the end, that is left out of the diagnosis."""


STACKED = tuple(field.name for field in dataclasses.fields(Settings) if field.metadata.get("stacked"))
"""Settings in which runs that are trained side by side may differ: traced, or of the start alone."""


def _rounds(settings: Settings) -> bool:
    least = {"nearest": ("float32", "float64"), "stochastic": ("float32",), "master": ()}
    return settings.half or settings.dtype in least[settings.rounding]


_CONFLICTS: tuple[tuple[str, Callable[[Settings], bool], str], ...] = (
    (
        "hidden_activation",
        lambda given: bool(given.hidden) or given.hidden_activation == "linear",
        "there is no hidden layer; give `hidden=(32,)`",
    ),
    ("hidden_l2", lambda given: bool(given.hidden or not given.hidden_l2), "there is no hidden layer"),
    (
        "rounding",
        _rounds,
        "{0.dtype} has none; stochastic needs `dtype='bfloat16'`, float16 or float32, master needs bfloat16 or float16",
    ),
    (
        "loss_scale",
        lambda given: given.loss_scale == 1 or given.dtype == "float16",
        "{0.dtype} holds gradients without; it is for `dtype='float16'`",
    ),
    (
        "loss",
        lambda given: not given.classifies or (given.activation, given.loss_space) == ("linear", "normalized"),
        "its outputs are logits; leave `activation='linear'` and `loss_space='normalized'`",
    ),
    (
        "momentum",
        lambda given: given.momentum == 0 or given.optimizer in ("sgd", "rmsprop"),
        "{0.optimizer} has no momentum setting; use it with sgd or rmsprop",
    ),
    (
        "nesterov",
        lambda given: not given.nesterov or (given.optimizer == "sgd" and given.momentum > 0),
        "it needs `optimizer='sgd'` and a positive `momentum`",
    ),
    (
        "solver",
        lambda given: given.solver != "blocks" or not given.against_blocks,
        "{0.against_blocks}; use auto or steps",
    ),
)
"""What settings cannot be together: the one to name, whether it can be, and what to do where it cannot."""
