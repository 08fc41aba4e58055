"""Parameters that several commands have: settings as flags, their values as text, and errors in words of flags."""

import ast
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter, Token

from idjax.results.curve import Curve
from idjax.results.diagnosis import Diagnosis
from idjax.results.plain import plain_value
from idjax.settings import DiagnosisSettings, Schedule, Settings
from idjax.types import IdjaxError

Data = Annotated[
    str,
    Parameter(
        help="A built-in set (narrow-normal, unit-uniform, unit-uniform-5), a file (.npy, .npz, .csv, .tsv, .parquet, "
        ".feather, .arrow, .h5), or a folder of .parquet files."
    ),
]
Target = Annotated[
    str | None,
    Parameter(
        help="What to learn, if it is not the data: a file with as many rows, or column names separated by commas."
    ),
]
Json = Annotated[bool, Parameter(help="Print one JSON object on standard output, and nothing else there.")]

Told = TypeVar("Told", Curve, Diagnosis)


def parse_schedule(text: str) -> Schedule:
    """A schedule from its words: constant, cosine, exponential=0.9, warmup=2, or warmup=2+cosine.

    Raises:
      IdjaxError: if the words are none of these.
    """
    given: dict[str, Any] = {}
    try:
        for part in text.split("+"):
            name, _, number = part.strip().partition("=")
            if name == "warmup":
                given["warmup"] = float(number)
            elif name == "exponential":
                given |= {"kind": name, "factor": float(number or 0.9)}
            elif name in ("constant", "cosine") and not number:
                given["kind"] = name
            else:
                raise ValueError(part)
        return Schedule(**given)
    except ValueError:  # an IdjaxError is one
        raise IdjaxError(
            f"--schedule is {text}: give constant, cosine, exponential=0.9 (factor an epoch), warmup=2 (epochs), "
            "or a warm-up with one of the others, as warmup=2+cosine"
        ) from None


def parse_widths(text: str) -> tuple[int, ...]:
    """Widths of hidden layers from their words, "64,8,64"; none for an empty text.

    Raises:
      IdjaxError: if they are not whole numbers from 1 on.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise IdjaxError(f"--hidden is {text}: give whole numbers of units, such as 32 or 64,8,64")
    return tuple(int(part) for part in parts)


def parse_penalty(text: str) -> float | tuple[float, float]:
    """A penalty on all hidden units, "0.01", or that of the first and the last of a layer, "0.01:0.05".

    Raises:
      IdjaxError: if it is neither.
    """
    first, colon, last = text.partition(":")
    try:
        penalty = (float(first), float(last)) if colon else float(text or 0)
        Settings(hidden=(1,), hidden_l2=penalty)
    except ValueError:  # an IdjaxError is one
        raise IdjaxError(f"--hidden-l2 is {text}: give a number from 0 on, or two, as 0.01:0.05") from None
    return penalty


def _text(parse: Callable[[str], Any], metavar: str, what: str, **options: Any) -> Parameter:
    def convert(_type: Any, tokens: Sequence[Token]) -> Any:
        return parse(tokens[0].value)

    return Parameter(
        converter=convert, n_tokens=1, accepts_keys=False, negative=(), metavar=metavar, help=what, **options
    )


_HIDDEN = "Widths of hidden layers before the output layer, such as 32 or 64,8,64; none if not given."
_HIDDEN_L2 = "L2 penalty on the weights into and out of a hidden unit: 0.01, or 0.01:0.05 from the first to the last."
_SCHEDULE = "Learning rate over time: constant, cosine, exponential=FACTOR an epoch, warmup=EPOCHS, or warmup=2+cosine."


@dataclasses.dataclass(frozen=True)
class _Texts:
    """The settings that the command line takes as text."""

    hidden: Annotated[tuple[int, ...], _text(parse_widths, "WIDTHS", _HIDDEN, show_default=False)] = ()
    hidden_l2: Annotated[
        float | tuple[float, float], _text(parse_penalty, "NUMBER", _HIDDEN_L2, show_default=False)
    ] = 0.0
    schedule: Annotated[Schedule, _text(parse_schedule, "WORDS", _SCHEDULE, show_default=str)] = Schedule()


@dataclasses.dataclass(frozen=True)
class _TrainingTexts(_Texts, Settings):
    pass


@dataclasses.dataclass(frozen=True)
class _DiagnosisTexts(_Texts, DiagnosisSettings):
    pass


TrainingFlags = Annotated[_TrainingTexts, Parameter(name="*")]
DiagnosisFlags = Annotated[_DiagnosisTexts, Parameter(name="*")]
DEFAULTS, DIAGNOSIS_DEFAULTS = _TrainingTexts(), _DiagnosisTexts()

_NAMES = "|".join([*(field.name for field in dataclasses.fields(Settings)), "labels"])


def in_flags(message: str) -> str:
    """An error about a setting in the words of the command line: names, and code in backquotes, as flags.

    Example:
      >>> in_flags("hidden_activation is relu: there is no hidden layer; give `hidden=(32,)`")
      '--hidden-activation is relu: there is no hidden layer; give --hidden 32'
    """
    return _translated(message) if re.match(rf"({_NAMES}) is ", message) else message


def told_in_flags(told: Told) -> Told:
    """A curve or a diagnosis with its notes in the words of the command line."""
    return dataclasses.replace(told, notes=tuple(map(_translated, told.notes)))


def _translated(text: str) -> str:
    def flag(found: re.Match[str]) -> str:
        name, value = found.groups()
        text = f" {plain_value(name, ast.literal_eval(value))}" if value and value != "True" else ""
        return f"--{name.replace('_', '-')}{text}"

    named = re.sub(rf"^({_NAMES})()(?= is )", flag, text)
    return re.sub(rf"`({_NAMES})(?:=([^`]*))?`", flag, named)
