"""All healthy programs: nets of every body in every library, and architectures and losses of their own."""

import functools
from collections.abc import Callable
from typing import Any

import optax
from library_programs import LIBRARY_PROGRAMS

from programs.compared import BINARY, CLASSES, SQUARES
from programs.faults import LIBRARIES, classes, numbers, truths
from programs.healthy_flax import HEALTHY_FLAX
from programs.healthy_near import HEALTHY_NEAR
from programs.healthy_other import HEALTHY_OTHER
from programs.healthy_plain import HEALTHY_PLAIN
from programs.shape import BODIES, MadeProgram, Shape
from programs.tokens import WITHIN_THE_TABLE

TASKS = {"numbers": (1, numbers, SQUARES), "classes": (4, classes, CLASSES), "truths": (1, truths, BINARY)}
OPTIMIZERS: tuple[dict[str, Any] | None, ...] = (
    None, {"optimizer": "adam", "learning_rate": 1e-3}, {"optimizer": optax.sgd(0.03, momentum=0.9)},
    {"optimizer": optax.adamw(3e-3)},
)  # fmt: skip
ACTIVATIONS = ("relu", "tanh", "gelu", "silu", "elu")


def _shaped(library: str, body: str, task: str, activation: str, settings: dict[str, Any] | None) -> MadeProgram:
    outputs, rows, compare = TASKS[task]
    shape = Shape(body=body, outputs=outputs, activation=activation, widths=(16, 16) if body == "mlp" else (16,))
    return MadeProgram(*LIBRARIES[library](shape, compare[library], *rows(body)), settings=settings)


def _all() -> dict[str, Callable[[], MadeProgram]]:
    made = {}
    for i, library in enumerate(LIBRARIES):
        for j, body in enumerate(BODIES):
            task, act = list(TASKS)[(i + j) % 3], ACTIVATIONS[(i + 4 * j) % 5]
            settings = OPTIMIZERS[(i // 2 + j) % len(OPTIMIZERS)]
            made[f"{library}, {body}: {task}, {act}"] = functools.partial(_shaped, library, body, task, act, settings)
    return made


def _known(name: str) -> MadeProgram:
    made = LIBRARY_PROGRAMS[name]()
    return MadeProgram(made.loss, made.params, made.args, settings={"has_aux": name == "linen, convolutions"})


HEALTHY: dict[str, Callable[[], MadeProgram]] = {
    **_all(), **HEALTHY_FLAX, **HEALTHY_OTHER, **HEALTHY_PLAIN, **HEALTHY_NEAR, **WITHIN_THE_TABLE,
    **{f"{name} of the libraries": functools.partial(_known, name) for name in LIBRARY_PROGRAMS},
}  # fmt: skip
