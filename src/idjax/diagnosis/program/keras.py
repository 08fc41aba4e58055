"""Keras 3 models on its JAX backend as a loss and its parameters."""

import sys
from collections.abc import Callable
from typing import Any

from idjax.types import IdjaxError


def from_keras(model: Any, loss: Any = None) -> tuple[Callable[[Any, Any, Any], Any], dict[str, Any]]:
    """The loss of a Keras model in training, and its parameters by their paths, for `diagnose_loss`.

    Args:
      model: built, that is called once or made with an Input; Keras has to run on JAX (KERAS_BACKEND=jax).
      loss: as for model.compile; what it was compiled with if not given.

    Returns:
      loss(params, x, y), with what the layers add to it, and params.

    Raises:
      IdjaxError: for another backend, a model that is not built, or no loss.

    Example:
      >>> from_keras(object())
      Traceback (most recent call last):
      idjax.types.IdjaxError: the model is of type object: give a keras.Model, with KERAS_BACKEND=jax
    """
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Model) or keras.backend.backend() != "jax":
        raise IdjaxError(f"the model is of type {type(model).__name__}: give a keras.Model, with KERAS_BACKEND=jax")
    if not model.built:
        raise IdjaxError(f"{model.name} is not built: call it once, or begin it with keras.Input")
    if (loss := loss or getattr(model, "loss", None)) is None:
        raise IdjaxError(f"{model.name} has no loss: give one, as from_keras(model, 'mse')")
    function = keras.losses.get(loss) if isinstance(loss, str) else loss
    names = [variable.path for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]

    def program(params: dict[str, Any], x: Any, y: Any) -> Any:
        values = [params[name] for name in names]
        outputs, _, added = model.stateless_call(values, fixed, x, training=True, return_losses=True)
        return keras.ops.mean(function(y, outputs)) + sum(added)

    return program, {variable.path: variable.value for variable in model.trainable_variables}
