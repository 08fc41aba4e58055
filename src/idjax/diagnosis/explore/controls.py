"""The controls of the live page: sliders and menus for settings, and the settings that they stand for."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import panel as pn  # pyright: ignore[reportMissingImports]
from bokeh.models import CustomJSTickFormatter  # pyright: ignore[reportMissingImports]

from idjax.diagnosis.explore.words import SHOWN
from idjax.report.formatting import NORMALIZERS, number
from idjax.settings import KERAS_NUMBERS, Settings
from idjax.types import Moments

MANTISSAS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
SLIDERS = ("learning_rate", "batch_size", "momentum", "epochs")
OPTIMIZERS = ("sgd", "adam")
"""Those whose runs are predicted, and whose programs are written."""
MOMENTA = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
EPOCHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 2000, 5000, 10_000)
SPACES = {"normalised": "normalized", "original": "original"}


def choices(given: Settings, moments: Moments) -> dict[str, dict[str, Any]]:
    """The values that each setting can have, by the words of its choices; the value given is always among them.

    Example:
      >>> import numpy as np
      >>> square = Moments.of_pair(100, 1.0, (np.zeros(2), np.eye(2)), None)
      >>> list(choices(Settings(), square)["batch_size"])
      ['1', '2', '4', '8', '16', '32', '64', 'all 100']
    """
    rates = sorted({*(float(f"{m}e{power}") for power in range(-8, 2) for m in MANTISSAS), given.step_size})
    rows = moments.count
    batches = sorted({*(2**k for k in range(rows.bit_length()) if 2**k < rows), rows, given.batch_size})
    starts = ["glorot", "lecun", *(["identity"] if moments.inputs == moments.outputs else [])]
    return {
        "learning_rate": {number(rate): rate for rate in rates},
        "batch_size": {f"all {rows:,}" if batch == rows else f"{batch:,}": batch for batch in batches},
        "optimizer": {name: name for name in dict.fromkeys([*OPTIMIZERS, given.optimizer])},
        "momentum": {number(value): value for value in sorted({*MOMENTA, given.momentum})},
        "normalize": {words: name for name, words in NORMALIZERS.items()},
        "loss_space": SPACES,
        "start": {name: name for name in dict.fromkeys([*starts, given.start])},
        "epochs": {f"{count:,}": count for count in sorted({*EPOCHS, given.epochs})},
    }


def settings_of(given: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings that the controls stand for: those given, with what belongs to another optimizer left out.

    Example:
      >>> settings_of(Settings(momentum=0.9, nesterov=True), {"optimizer": "adam", "momentum": 0.9}).nesterov
      False
    """
    changes = dict(values)
    optimizer = changes.get("optimizer", given.optimizer)
    if optimizer not in ("sgd", "rmsprop"):
        changes["momentum"] = 0.0
    moving = optimizer == "sgd" and changes.get("momentum", given.momentum) > 0
    numbers = KERAS_NUMBERS.get(optimizer, {})
    changes |= {name: None for name in ("beta_1", "beta_2", "epsilon", "weight_decay") if name not in numbers}
    return dataclasses.replace(given, **changes, nesterov=given.nesterov and moving, solver="auto")


class Controls:
    """A widget for each setting, and the settings they stand for."""

    def __init__(self, given: Settings, moments: Moments, look: Mapping[str, Any]):
        self._given, self._choices = given, choices(given, moments)
        self.widgets = {name: _widget(name, options, given, look) for name, options in self._choices.items()}
        for widget in self.widgets.values():
            widget._debounce = 1  # ms, in place of Panel's 50: the page gathers changes itself
        self._adapt()

    @property
    def settings(self) -> Settings:
        """The settings chosen."""
        self._adapt()
        values = {name: list(options.values()) for name, options in self._choices.items()}
        chosen = {
            name: values[name][widget.value] if name in SLIDERS else widget.value
            for name, widget in self.widgets.items()
        }
        return settings_of(self._given, chosen)

    def reset(self) -> None:
        """Back to the settings as given."""
        for name, widget in self.widgets.items():
            widget.value = _value(name, self._choices[name], self._given)

    def _adapt(self) -> None:
        """Greys out what makes no difference."""
        self.widgets["momentum"].disabled = self.widgets["optimizer"].value not in ("sgd", "rmsprop")
        self.widgets["loss_space"].disabled = self.widgets["normalize"].value == "none"


def _widget(name: str, options: dict[str, Any], given: Settings, look: Mapping[str, Any]) -> Any:
    label, value = SHOWN[name].capitalize(), _value(name, options, given)
    shared = {"name": label, "value": value, "sizing_mode": "stretch_width", "css_classes": [f"set-{name}"], **look}
    if name not in SLIDERS:
        return pn.widgets.Select(options=options, **shared)
    # The browser itself words the place of the slider: words that came from here would lag behind a quick hand.
    words = CustomJSTickFormatter(args={"words": list(options)}, code="return words[tick]")
    return pn.widgets.IntSlider(start=0, end=max(len(options) - 1, 1), format=words, **shared)


def _value(name: str, options: dict[str, Any], settings: Settings) -> Any:
    """The place of a slider, or the choice of a menu."""
    value = settings.step_size if name == "learning_rate" else getattr(settings, name)
    return list(options.values()).index(value) if name in SLIDERS else value
