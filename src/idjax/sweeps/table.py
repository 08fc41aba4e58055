"""Outcomes of points ↔ Parquet: a column for each axis, numbers, and curves as lists; the same bytes each time."""

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from idjax.data.errors import import_extra, reading_errors
from idjax.results import store
from idjax.results.outcomes import SweepPoint

CURVES = tuple(f"{who}_{what}" for what in ("train", "validation", "explained") for who in ("predicted", "trained"))
_KEY = b"idjax"


def to_parquet(points: Sequence[SweepPoint], about: Mapping[str, Any]) -> bytes:
    """The points as one Parquet file, with what is told about them in its metadata; no time or date goes in."""
    arrow, parquet = import_extra("pyarrow", "results"), import_extra("pyarrow.parquet", "results")
    rows = [_row(point) for point in points]
    table = arrow.table({name: [row[name] for row in rows] for name in rows[0]} if rows else {})
    table = table.replace_schema_metadata({_KEY: store.to_json(about).encode()})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(content: bytes, source: str) -> tuple[list[SweepPoint], dict[str, Any]]:
    """The points and what was told about them.

    Raises:
      IdjaxError: if the file, called `source`, is damaged or no results of a sweep.
    """
    parquet = import_extra("pyarrow.parquet", source)
    with reading_errors(source, "it is damaged or no results of a sweep; delete it and run the sweep again"):
        table = parquet.read_table(io.BytesIO(content))
        about = json.loads(table.schema.metadata[_KEY])
        return [_point(row, about["fields"]) for row in table.to_pylist()], about


def _row(point: SweepPoint) -> dict[str, Any]:
    numbers = dataclasses.asdict(point)
    del numbers["at"]
    # A swept number of epochs is a result's column already.
    return {"index": numbers.pop("index"), **point.at, **numbers}


def _point(row: dict[str, Any], fields: Sequence[str]) -> SweepPoint:
    known = {field.name for field in dataclasses.fields(SweepPoint)}
    numbers = {name: value for name, value in row.items() if name in known}
    curves = {name: np.array(row[name], np.float64) for name in CURVES}
    return SweepPoint(**{**numbers, **curves, "at": {field: row[field] for field in fields}})
