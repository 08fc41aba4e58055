"""The environment of every page: what is put into a template is escaped and shows itself, and figures are embedded."""

import base64
import inspect
import math
from collections.abc import Mapping

import jinja2
import markupsafe

from idjax.data.dataset import printable
from idjax.report import formatting, prescriptions, probe, program_proof


def templates(pictures: Mapping[str, bytes] | None = None) -> jinja2.Environment:
    """Templates of the whole package, with the figures that they may use; functions that make words are filters."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("idjax", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Names of data and layers are in messages and tables: whatever is put in shows itself and does nothing else.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.tests["finite"] = math.isfinite
    for module in (formatting, prescriptions, probe, program_proof):
        environment.filters.update(inspect.getmembers(module, inspect.isfunction))
    environment.filters.update(
        program=markupsafe.escape,
        normalizer=formatting.NORMALIZERS.__getitem__,
        embedded=lambda name: "data:image/png;base64," + base64.b64encode((pictures or {})[name]).decode(),
    )
    environment.globals.update(probe_header=probe.HEADER, proof_header=program_proof.HEADER)
    return environment
