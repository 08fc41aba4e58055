"""Settings in code to copy: the command line, Flax with optax, and Keras."""

import dataclasses
import shlex

from idjax.diagnosis.data.recipes import flax_code, keras_code
from idjax.results.plain import plain_value
from idjax.settings import Settings
from idjax.types import Moments


def command_line(source: str, target: str | None, settings: Settings) -> str:
    """The `idjax train` that trains these settings.

    Example:
      >>> command_line("my rows.csv", "price", Settings(learning_rate=0.3, validation_split=0.0))
      "idjax train 'my rows.csv' --target price --learning-rate 0.3 --validation-split 0.0"
    """
    words = ["idjax", "train", source, *(["--target", target] if target else [])]
    for field in dataclasses.fields(Settings):
        value = getattr(settings, field.name)
        if value != field.default:
            flag = "--" + field.name.replace("_", "-")
            words += [flag] if value is True else [flag, str(plain_value(field.name, value))]
    return shlex.join(words)


def programs(source: str, target: str | None, settings: Settings, moments: Moments) -> dict[str, str]:
    """Code of these settings by what it is for; a line that says so where there is no recipe."""
    shape = (moments.inputs, moments.outputs, moments.autoencoder)
    none = f"# No recipe for {settings.optimizer} yet: the command line trains it.\n"
    return {
        "Command line": command_line(source, target, settings),
        "Flax and optax": flax_code(settings, *shape) or none,
        "Keras": keras_code(settings, *shape) or none,
    }
