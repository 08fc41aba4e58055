"""Parameters that several commands have, and where their progress goes."""

import sys
from collections.abc import Callable
from typing import Annotated

from cyclopts import Parameter

Data = Annotated[
    str,
    Parameter(
        help="A built-in set (narrow-normal, unit-uniform, unit-uniform-5), a file (.npy, .npz, .csv, .tsv, .parquet, "
        ".feather, .arrow, .h5), or a folder of .parquet files."
    ),
]
Target = Annotated[
    str | None,
    Parameter(
        help="What to learn, if it is not the data: a file with as many rows, or column names separated by commas."
    ),
]
Json = Annotated[bool, Parameter(help="Print one JSON object on standard output, and nothing else there.")]


def sayer(quiet: bool) -> Callable[[str], None]:
    """Progress goes to standard error, so that standard output holds results alone."""
    return (lambda _: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))
