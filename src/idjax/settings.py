"""Everything that a run depends on, as frozen dataclasses: the same for `predict` and for `train`. No JAX inside."""

import dataclasses
import math
from typing import Literal, NamedTuple

from idjax.types import IdjaxError

Optimizer = Literal["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "adamax", "nadam"]
Loss = Literal["mse", "mae", "huber", "log-cosh"]
Activation = Literal["linear", "relu", "tanh", "sigmoid", "gelu"]
Normalize = Literal["none", "center", "feature", "sample", "pca", "zca"]
LossSpace = Literal["original", "normalized"]
Dtype = Literal["float32", "float64", "bfloat16"]
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


class Schedule(NamedTuple):
    """How the learning rate changes: linearly up over some epochs, then held, or decayed by `kind`.

    kind is constant, cosine (to 0 at the end of the run) or exponential (times `factor` an epoch).
    """

    kind: str = "constant"
    warmup: float = 0.0
    factor: float = 1.0


def parse_schedule(text: str) -> Schedule:
    """A schedule from its words: constant, cosine, exponential=0.9, warmup=2, or warmup=2+cosine.

    Raises:
      IdjaxError: if the words are none of these.
    """
    schedule = Schedule()
    for part in text.split("+"):
        name, _, number = part.strip().partition("=")
        try:
            value = float(number) if number else None
        except ValueError:
            value = math.nan
        if name in ("constant", "cosine") and value is None:
            schedule = schedule._replace(kind=name)
        elif name == "exponential" and 0 < (0.9 if value is None else value) <= 1:
            schedule = schedule._replace(kind=name, factor=0.9 if value is None else value)
        elif name == "warmup" and value is not None and 0 < value < math.inf:
            schedule = schedule._replace(warmup=value)
        else:
            raise IdjaxError(
                f"--schedule is {text}: give constant, cosine, exponential=0.9 (factor an epoch), warmup=2 (epochs), "
                "or a warm-up with one of the others, as warmup=2+cosine"
            )
    return schedule


def parse_widths(text: str) -> tuple[int, ...]:
    """Widths of hidden layers from their words, "64,8,64"; none for an empty text.

    Raises:
      IdjaxError: if they are not whole numbers from 1 on.
    """
    if not isinstance(text, str):
        raise IdjaxError(f'hidden is {text!r}: give the widths as text, such as "32" or "64,8,64"')
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise IdjaxError(f"--hidden is {text}: give whole numbers of units, such as 32 or 64,8,64")
    return tuple(int(part) for part in parts)


@dataclasses.dataclass(frozen=True)
class Settings:
    """One Dense layer or a few, how they start and how they are trained.

    Example:
      >>> Settings(optimizer="adam").step_size, Settings(epochs=3).batch_size
      (0.001, 32)
    """

    start: str = "glorot"
    """Where training starts: glorot, lecun (Flax's own), identity, or a FILE with a kernel and a bias (.npz, .npy or
    .msgpack)."""
    hidden: str = ""
    """Widths of hidden layers before the output layer, such as 32 or 64,8,64; none if not given."""
    hidden_activation: Activation = "linear"
    """Activation of the hidden layers."""
    hidden_l2: str = ""
    """L2 penalty on the weights into and out of each hidden unit: 0.01, or 0.01:0.05 from the first to the last."""
    loss: Loss = "mse"
    """What is minimised: the mean over rows and outputs."""
    activation: Activation = "linear"
    """Activation of the output layer."""
    activity_l1: float = 0.0
    """L1 penalty on the layer's output: sum of |output| times this, over the batch size."""
    activity_l2: float = 0.0
    """L2 penalty on the layer's output: sum of output² times this, over the batch size."""
    optimizer: Optimizer = "sgd"
    """Optimizer, with Keras's update rule and defaults."""
    learning_rate: float | None = None
    """Step size; Keras's default if not given (0.01 for sgd, 0.001 for the others)."""
    momentum: float = 0.0
    """Momentum of sgd or rmsprop."""
    nesterov: bool = False
    """Nesterov momentum, with sgd only."""
    beta_1: float | None = None
    """Decay of the mean of the gradients in adam and its relatives; Keras's 0.9 if not given."""
    beta_2: float | None = None
    """Decay of the mean of their squares, rmsprop's and adadelta's rho included; Keras's default if not given."""
    epsilon: float | None = None
    """What is added to the root of that mean, where Keras adds it; Keras's 1e-7 if not given."""
    weight_decay: float | None = None
    """Decoupled weight decay of adamw; Keras's 0.004 if not given."""
    schedule: str = "constant"
    """Learning rate over time: constant, cosine, exponential=FACTOR an epoch, warmup=EPOCHS, or warmup=2+cosine."""
    batch_size: int = 32
    """Rows in an update."""
    epochs: int = 20
    """Passes over the training rows."""
    validation_split: float = 0.3
    """Share of the rows, taken from the end, that is kept for validation."""
    normalize: Normalize = "none"
    """What the model does to inputs, and undoes at its output: center or standardise each feature, standardise each
    sample, or whiten along the principal axes (pca) or turned back from them (zca)."""
    loss_space: LossSpace = "normalized"
    """Units of the loss when the model normalises."""
    learned_at: float = 0.99
    """Explained variance that counts as learned."""
    dtype: Dtype = "float32"
    """Floating point type of the weights; with bfloat16 weights, rows and arithmetic are float32."""
    rounding: Rounding = "nearest"
    """How updates are added to the weights: to nearest, stochastic, or to a float32 master copy of bfloat16 ones."""
    moments: MomentsOf = "gaussian"
    """What a prediction for minibatches knows of the rows beyond mean and covariance: that they are gaussian, or the
    data's own fourth moments (sgd on small data)."""
    seed: int = 0
    """Seed of the start and of the order of the batches."""
    solver: Solver = "auto"
    """How training computes sgd's updates: batch by batch in steps, or in blocks of consecutive batches, each solved at
    once, which is the same run to 1e-5 in float32. auto takes blocks where they apply and are faster."""

    @property
    def step_size(self) -> float:
        """The learning rate, or Keras's default for the optimizer."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.01 if self.optimizer == "sgd" else 0.001

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of each hidden layer; () for one Dense layer."""
        return parse_widths(self.hidden)

    @property
    def unit_penalties(self) -> tuple[tuple[float, ...], ...]:
        """The L2 penalty of each unit of each hidden layer; () if there is none."""
        if not self.hidden_l2:
            return ()
        try:
            first, last = (float(part) for part in (self.hidden_l2.split(":") * 2)[:2])
        except ValueError:
            first = last = math.nan
        if not (0 <= first < math.inf and 0 <= last < math.inf) or self.hidden_l2.count(":") > 1:
            raise IdjaxError(f"--hidden-l2 is {self.hidden_l2}: give a number from 0 on, or two, as 0.01:0.05")
        return tuple(
            tuple(first + (last - first) * unit / max(units - 1, 1) for unit in range(units)) for units in self.widths
        )

    @property
    def linear(self) -> bool:
        """Whether the outputs are an affine map of the inputs."""
        return self.activation == "linear" and (not self.widths or self.hidden_activation == "linear")

    @property
    def data_dtype(self) -> Literal["float32", "float64"]:
        """Floating point type of the rows: bfloat16 weights see float32 rows."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def numbers(self) -> dict[str, float]:
        """The optimizer's beta_1, beta_2, epsilon and weight_decay, as far as it has them."""
        return {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, default in KERAS_NUMBERS.get(self.optimizer, {}).items()
        }


@dataclasses.dataclass(frozen=True)
class DiagnosisSettings(Settings):
    """Settings of a run that is diagnosed: all rows are training rows unless told otherwise."""

    validation_split: float = 0.0
    """Share of the rows, taken from the end, that is left out of the diagnosis."""


def check(settings: Settings) -> Settings:
    """Returns the settings if they make sense.

    Raises:
      IdjaxError: with the flag's name and what it takes.
    """
    if not isinstance(settings, Settings):
        raise IdjaxError(f"settings are a {type(settings).__name__}: give idjax.Settings(learning_rate=0.01, ...)")

    def require(condition: bool, flag: str, what: str) -> None:
        if not condition:
            value = getattr(settings, flag.removeprefix("--").replace("-", "_"))
            raise IdjaxError(f"{flag} is {value}: {what}")

    rate = settings.step_size
    require(math.isfinite(rate) and rate > 0, "--learning-rate", "give a positive number, such as 0.01")
    require(0 <= settings.momentum < 1, "--momentum", "give a number from 0 up to, not including, 1")
    for name in ("beta_1", "beta_2", "epsilon", "weight_decay"):
        value, flag = getattr(settings, name), f"--{name.replace('_', '-')}"
        if value is None:
            continue
        takers = [optimizer for optimizer, numbers in KERAS_NUMBERS.items() if name in numbers]
        require(settings.optimizer in takers, flag, f"{settings.optimizer} has none; use it with {', '.join(takers)}")
        if name.startswith("beta"):
            require(0 <= value < 1, flag, "give a number from 0 up to, not including, 1")
        elif name == "epsilon":
            require(math.isfinite(value) and value > 0, flag, "give a positive number, such as 1e-7")
        else:
            require(math.isfinite(value) and value >= 0, flag, "give zero or a positive number")
    parse_schedule(settings.schedule)
    require(
        bool(parse_widths(settings.hidden)) or settings.hidden_activation == "linear",
        "--hidden-activation",
        "there is no hidden layer; give --hidden 32",
    )
    require(not settings.hidden_l2 or bool(settings.unit_penalties), "--hidden-l2", "there is no hidden layer")
    require(
        settings.rounding == "nearest"
        or (settings.rounding == "stochastic" and settings.dtype != "float64")
        or settings.dtype == "bfloat16",
        "--rounding",
        f"{settings.dtype} has none; stochastic needs --dtype bfloat16 or float32, master needs bfloat16",
    )
    for flag in ("--activity-l1", "--activity-l2"):
        value = getattr(settings, flag[2:].replace("-", "_"))
        require(math.isfinite(value) and value >= 0, flag, "give zero or a positive number")
    require(settings.batch_size >= 1, "--batch-size", "give a whole number of rows, at least 1")
    require(settings.epochs >= 1, "--epochs", "give a whole number, at least 1")
    require(settings.epochs <= 1_000_000, "--epochs", "give at most a million")
    require(
        0 <= settings.validation_split < 1,
        "--validation-split",
        "give a share from 0 up to, not including, 1",
    )
    require(0 < settings.learned_at < 1, "--learned-at", "give a number between 0 and 1, such as 0.99")
    require(0 <= settings.seed < 2**32, "--seed", "give a whole number from 0 to 4294967295")
    require(
        settings.momentum == 0 or settings.optimizer in ("sgd", "rmsprop"),
        "--momentum",
        f"{settings.optimizer} has no momentum setting; use it with sgd or rmsprop",
    )
    require(
        not settings.nesterov or (settings.optimizer == "sgd" and settings.momentum > 0),
        "--nesterov",
        "it needs --optimizer sgd and a positive --momentum",
    )
    against = against_blocks(settings)
    require(settings.solver != "blocks" or not against, "--solver", f"{against}; use auto or steps")
    return settings


def against_blocks(settings: Settings) -> str:
    """Why the batches of a run cannot be solved in blocks, in words; empty where they can.

    Blocks need residuals that are linear in the weights, and a step that is linear in the residuals.
    """
    needs = {
        "--optimizer sgd": settings.optimizer == "sgd",
        "--loss mse": settings.loss == "mse",
        "--activation linear": settings.activation == "linear",
        "no --hidden layers": not settings.widths,
        "a constant --schedule": parse_schedule(settings.schedule) == Schedule(),
        "no activity penalty": settings.activity_l1 == settings.activity_l2 == 0,
        "--loss-space normalized": settings.normalize == "none" or settings.loss_space == "normalized",
        "--dtype float32 or float64": settings.dtype != "bfloat16",
        "--rounding nearest": settings.rounding == "nearest",
    }
    missing = [need for need, met in needs.items() if not met]
    return f"blocks of batches need {' and '.join(missing)}" if missing else ""
