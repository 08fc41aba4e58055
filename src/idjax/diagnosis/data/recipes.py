"""Settings → code that a person can paste: rows, normaliser, layer, optimizer, and the way back to original units."""

import dataclasses
import functools
import shlex
from collections.abc import Mapping
from typing import Any

import jinja2

from idjax.results.plain import plain_value
from idjax.settings import Settings

FACTORS = {"none": "", "center": "", "feature": "* deviation", "sample": "* deviation", "pca": "@ inverse",
           "zca": "@ inverse"}  # fmt: skip
"""What takes a normalised row back to original units, its mean apart."""
OPTAX_NAMES = {"beta_1": "b1", "beta_2": "b2", "epsilon": "eps"}


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


def flax_code(settings: Settings, inputs: int, outputs: int, autoencoder: bool) -> str:
    """A program for Flax and optax that trains the layer with these settings.

    It expects x (rows, inputs), and y (rows, outputs) unless the layer is an autoencoder, and leaves `predict`.

    Returns:
      "" for settings that no prescription has, such as a learning rate that changes.

    Example:
      >>> print(flax_code(Settings(), 3, 3, autoencoder=True).splitlines()[-1])
          return np.asarray(model.apply(params, z))
    """
    numbers = {OPTAX_NAMES[name]: value for name, value in settings.numbers.items()}
    return _program("flax.py.jinja", settings, numbers, inputs, outputs, autoencoder)


def keras_code(settings: Settings, inputs: int, outputs: int, autoencoder: bool) -> str:
    """A program for Keras 3 that trains the layer with these settings; see `flax_code`.

    Returns:
      "" for settings that no prescription has, and for a loss in the units of standardised rows that is no square:
      Keras's weights of rows do not give it.
    """
    if settings.loss != "mse" and autoencoder and (settings.normalize, settings.loss_space) == ("sample", "original"):
        return ""
    return _program("keras.py.jinja", settings, settings.numbers, inputs, outputs, autoencoder)


def _program(
    name: str, settings: Settings, numbers: Mapping[str, float], inputs: int, outputs: int, autoencoder: bool
) -> str:
    usual = settings.activation == "linear" and not settings.schedule.changes
    if not usual or settings.activity_l1 or settings.activity_l2 or settings.optimizer not in ("sgd", "adam"):
        return ""
    momentum = {"momentum": settings.momentum} if settings.momentum else {}
    options = [f"{key}={_float(value)}" for key, value in {**momentum, **numbers}.items()]
    nesterov = ["nesterov=True"] if settings.nesterov else []
    return _templates().get_template(name).render(
        s=settings, inputs=inputs, outputs=outputs, autoencoder=autoencoder, **_way_back(settings, autoencoder),
        rate=", ".join([_float(settings.step_size), *options, *nesterov]),
    )  # fmt: skip


def _way_back(settings: Settings, autoencoder: bool) -> dict[str, Any]:
    """How the layer's answers, and errors where the loss is to be in original units, get back to these.

    Targets of a regression are standardised one by one, whatever is done to the inputs; those of rows that each bring
    their own statistics stay as they are.
    """
    kind = settings.normalize
    if kind == "none" or (kind == "sample" and not autoencoder):
        return {"restore": "", "error": "", "targets": "none"}
    targets = kind if autoencoder or kind == "center" else "feature"
    suffix = "" if autoencoder else "_y"
    factor = FACTORS[targets] and FACTORS[targets] + suffix
    error = factor if settings.loss_space == "original" else ""
    return {"restore": f"{factor} + mean{suffix}".lstrip(), "error": error, "targets": targets}


def _float(value: float) -> str:
    """A few digits, with a point: Keras takes no whole numbers here."""
    return repr(float(f"{value:.6g}"))


@functools.cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("idjax", "diagnosis/data"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
