"""Settings in plain words and numbers, as files, tables and the command line have them."""

import dataclasses
from typing import Any

from idjax.settings import Settings, short
from idjax.types import Value

_WAYS = {
    "nearest": "",
    "stochastic": ", updates rounded stochastically",
    "master": ", updates added to a float32 copy of the weights",
}


def plain(settings: Settings) -> dict[str, Value]:
    """The settings as JSON and Parquet hold them: schedule, widths and penalties in the words of the command line.

    Example:
      >>> from idjax.settings import Schedule
      >>> plain(Settings(hidden=(64, 8), schedule=Schedule(warmup=2.0)))["hidden"]
      '64,8'
    """
    return {
        field.name: plain_value(field.name, getattr(settings, field.name)) for field in dataclasses.fields(settings)
    }


def plain_value(name: str, value: Any) -> Value:
    """The value of one setting as `plain` has it."""
    if name == "hidden":
        return ",".join(map(str, value))
    if name == "hidden_l2":
        return ":".join(map(short, value if isinstance(value, tuple) else (value,))) if value else ""
    return str(value) if name == "schedule" else value


def digits(settings: Settings) -> str:
    """The dtype of the weights in words, with how updates are added to them and what the loss is multiplied by."""
    scaled = f", the loss times {settings.loss_scale:,g}" if settings.loss_scale != 1 else ""
    return f"{settings.dtype}{_WAYS[settings.rounding]}{scaled}"
