"""Float64 for all that predicts: NumPy's numbers go in and come out, and JAX's are as precise in between."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import numpy as np

P = ParamSpec("P")
T = TypeVar("T")


def in_float64(function: Callable[P, T]) -> Callable[P, T]:
    """The function with JAX's numbers in float64; a loss that overflows is an answer too."""

    @functools.wraps(function)
    def precise(*args: P.args, **kwargs: P.kwargs) -> T:
        with jax.enable_x64(True), np.errstate(over="ignore", invalid="ignore"):
            return function(*args, **kwargs)

    return precise
