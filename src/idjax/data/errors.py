"""Errors of reading, as one line that names the file; imports of the libraries that only some files need."""

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from typing import Any

from idjax.types import IdjaxError


@contextlib.contextmanager
def reading_errors(source: str, remedy: str) -> Iterator[None]:
    """Turns whatever NumPy, zipfile, csv, pyarrow or h5py may raise or warn of on a bad file into one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except IdjaxError:
        raise
    except MemoryError as error:
        raise IdjaxError(f"{source}: it does not fit in memory; give fewer rows") from error
    except PermissionError as error:
        raise IdjaxError(f"{source}: you have no permission to read it; change that with chmod u+r") from error
    except Exception as error:
        raise IdjaxError(f"{source}: {remedy}") from error


def import_extra(module: str, source: str, extra: str = "files", role: str = "reads it") -> Any:
    """The module, which comes with an extra and does what its role says; IdjaxError where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise IdjaxError(f"{source}: {package} is missing, which {role}; pip install idjax[{extra}]") from error
