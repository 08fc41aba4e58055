"""How the learning rate changes over a run, as a frozen dataclass with words of its own. No JAX inside."""

import dataclasses
from typing import Literal

from idjax.types import NOT_NEGATIVE, Limit, check_fields, limited


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
