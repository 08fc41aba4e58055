"""The program findings of the network that idjax builds from settings: dead units, an activation that cannot reach."""

from typing import Any

import jax
import jax.numpy as jnp

from idjax.diagnosis.data.context import Context
from idjax.moments.normalize import fit
from idjax.nn.model import precision, to_params
from idjax.nn.starts import start_layers
from idjax.nn.step import hyper_for, loss_of, plan_for
from idjax.results.diagnosis import Finding
from idjax.types import OnProgress, Rows

MOST_ROWS = 2000
"""Rows that the program is run on."""


def program_findings(context: Context, progress: OnProgress) -> tuple[Finding, ...]:
    """The causes that `diagnose_loss` finds in the loss of the network; not what the data or followed runs tell."""
    from idjax.diagnosis.program.diagnose_loss import diagnose_loss

    settings, raw = context.settings, context.moments.raw
    x, y = context.sample
    every = -(-len(x) // MOST_ROWS)
    plan = plan_for(settings, autoencoder=context.autoencoder, outputs=raw.outputs, rows=context.rows)
    fitted = jax.tree.map(lambda part: jnp.asarray(part, settings.data_dtype), fit(settings.normalize, raw))
    hyper = hyper_for(settings)
    layers = start_layers(settings.start, (raw.inputs, *settings.hidden, raw.outputs), settings.seed)

    def loss(params: dict[str, Any], x: Any, y: Any) -> Any:
        return loss_of(plan, hyper, fitted, params, Rows(x, None if context.autoencoder else y))

    with precision(settings.dtype):
        arrays = (jnp.asarray(part[::every], settings.data_dtype) for part in (x, y))
        found = diagnose_loss(
            loss, to_params(layers, settings.dtype), *arrays, optimizer=settings.optimizer,
            learning_rate=settings.step_size, progress=progress,
        )  # fmt: skip
    told = ("step-too-small", "step-too-large", *(() if settings.hidden else ("layer-",)))
    return tuple(each for each in found.causes if not each.code.startswith(told))
