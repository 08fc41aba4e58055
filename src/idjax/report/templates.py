"""The environment of every page: what is put into a template is escaped and shows itself, and figures are embedded."""

import base64
import math
from collections.abc import Mapping

import jinja2
import markupsafe

from idjax.data.dataset import printable
from idjax.report import formatting, prescriptions


def templates(pictures: Mapping[str, bytes] | None = None) -> jinja2.Environment:
    """Templates of the whole package, with the words and the figures that they may use."""
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
    environment.filters.update(
        number=formatting.number,
        decimals=formatting.decimals,
        percent=formatting.percent,
        explained=formatting.explained,
        sentence=formatting.sentence,
        stopped=formatting.stopped,
        final_loss=formatting.final_loss,
        settings_parts=formatting.settings_parts,
        prescription=prescriptions.prescription_words,
        prescription_rows=prescriptions.prescription_rows,
        no_prescription=prescriptions.none_words,
        predicted=prescriptions.predicted_words,
        followed=formatting.followed_words,
        evidence=formatting.evidence_words,
        cost=formatting.cost_words,
        factor=formatting.factor_words,
        program=markupsafe.escape,
        normalizer=formatting.NORMALIZERS.__getitem__,
        embedded=lambda name: "data:image/png;base64," + base64.b64encode((pictures or {})[name]).decode(),
    )
    return environment
