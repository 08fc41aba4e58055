"""Parquet: one file, or the files of a folder as one after the other, read by batches of some columns."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from idjax.data.arrow import of_batches
from idjax.data.dataset import printable, quote
from idjax.data.errors import import_extra, reading_errors
from idjax.data.source import Request, Source
from idjax.types import IdjaxError

_BUFFER_BYTES = 2**16
"""Bytes of a column that are read at a time; without a buffer pyarrow takes whole row groups into memory."""


def files_in(folder: Path) -> list[Path]:
    """The .parquet files of a folder in the order of their names, hidden ones and those of other tools left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == ".parquet" and not path.name.startswith((".", "_")) and path.is_file()
    )


def parquet_source(request: Request) -> Source:
    """The Parquet files of one schema in a folder, or one file."""
    source, paths = request.name, files_in(request.path) if request.path.is_dir() else [request.path]
    parquet = import_extra("pyarrow.parquet", source)

    def opened(path: Path) -> Any:
        return parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)

    def called(path: Path) -> str:
        return source if len(paths) == 1 else f"{source}: file {quote(path.name)}"

    schema, rows = None, 0
    for path in paths:
        with reading_errors(called(path), request.remedy), opened(path) as file:
            rows += max(0, file.metadata.num_rows)
            if schema is None:
                schema = file.schema_arrow
            elif difference := _difference(schema, file.schema_arrow):
                raise IdjaxError(
                    f"{called(path)} {difference}, unlike {quote(paths[0].name)}; give all files the same columns"
                )

    def batches(names: Sequence[str] | None, block_rows: int) -> Iterator[Any]:
        for path in paths:
            with opened(path) as file:
                yield from file.iter_batches(block_rows, columns=names)

    return of_batches(schema, batches, source, rows, request.remedy)


def _difference(first: Any, other: Any) -> str:
    """The difference of two schemas in words; none if they are alike."""
    if len(first) != len(other):
        return f"has {len(other)} columns rather than {len(first)}"
    for a, b in zip(first, other, strict=True):
        if a.name != b.name:
            return f"has a column {quote(b.name)} rather than {quote(a.name)}"
        if a.type != b.type:
            return f"holds {printable(str(b.type))[:40]} rather than {printable(str(a.type))[:40]} in {quote(a.name)}"
    return ""
