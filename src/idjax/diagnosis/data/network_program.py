"""The program findings of the network that idjax builds from settings: dead units, an activation that cannot reach."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from idjax.diagnosis.data.context import Context
from idjax.moments.normalize import fit
from idjax.nn.model import precision, to_params
from idjax.nn.starts import start_layers
from idjax.nn.step import hyper_for, loss_of, plan_for
from idjax.results.diagnosis import Finding
from idjax.settings import Settings
from idjax.types import OnProgress, Rows

MOST_ROWS = 2000
"""Rows that the program is run on."""


def network_loss(context: Context, settings: Settings) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The loss of the network that these settings make of the rows, of (params, x, y), and its start."""
    raw, hyper = context.moments.raw, hyper_for(settings)
    plan = plan_for(settings, autoencoder=context.autoencoder, outputs=raw.outputs, rows=context.rows)
    fitted = jax.tree.map(lambda part: jnp.asarray(part, settings.data_dtype), fit(settings.normalize, raw))
    layers = start_layers(settings.start, (raw.inputs, *settings.hidden, raw.outputs), settings.seed)

    def loss(params: dict[str, Any], x: Any, y: Any) -> Any:
        return loss_of(plan, hyper, fitted, params, Rows(x, None if context.autoencoder else y))

    return loss, to_params(layers, settings.dtype)


def program_findings(context: Context, progress: OnProgress) -> tuple[Finding, ...]:
    """The causes that `diagnose_loss` finds in the loss of the network; not what the data or followed runs tell."""
    from idjax.diagnosis.program.diagnose_loss import diagnose_loss

    settings, rows = context.settings, context.sample.thinned(MOST_ROWS)
    loss, params = network_loss(context, settings)
    with precision(settings.dtype):
        arrays = (jnp.asarray(part, settings.data_dtype) for part in (rows.x, rows.target))
        found = diagnose_loss(
            loss, params, *arrays, optimizer=settings.optimizer, learning_rate=settings.step_size, progress=progress
        )
    told = ("step-too-small", "step-too-large", *(() if settings.hidden else ("layer-",)))
    return tuple(each for each in found.causes if not each.code.startswith(told))
