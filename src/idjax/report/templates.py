"""The environment of every page: what is put into a template is escaped, and figures are embedded."""

import base64
from collections.abc import Mapping

import jinja2

from idjax.report import formatting


def templates(pictures: Mapping[str, bytes]) -> jinja2.Environment:
    """Templates of this package, with the words and the figures that they may use."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("idjax", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=formatting.number,
        decimals=formatting.decimals,
        percent=formatting.percent,
        explained=formatting.explained,
        sentence=formatting.sentence,
        stopped=formatting.stopped,
        settings_parts=formatting.settings_parts,
        normalizer=formatting.NORMALIZERS.__getitem__,
        embedded=lambda name: "data:image/png;base64," + base64.b64encode(pictures[name]).decode(),
    )
    return environment
