"""The Python files that experiments and sweeps are written in: where they are, and what they define."""

import pathlib
import runpy
import traceback
from typing import Any

from idjax.types import IdjaxError


def configs_folder() -> pathlib.Path:
    """The folder of the published files: inside an installed package, or at the top of a checkout."""
    package = pathlib.Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parents[1] / "configs"


def run_config(path: pathlib.Path, name: str) -> Any:
    """The object that a config file calls `name`, by running the file.

    Raises:
      IdjaxError: if there is no file, if it fails, with the line, or if it defines no such name.
    """
    if not path.is_file():
        raise IdjaxError(f"{path}: there is no such file of Python; check the path")
    try:
        defined = runpy.run_path(str(path))
    except IdjaxError as error:
        raise error if str(error).startswith(str(path)) else IdjaxError(f"{path}: {error}") from error
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        where = f"{path}, line {line}" if line else str(path)
        raise IdjaxError(f"{where}: {type(error).__name__}: {' '.join(str(error).split())}; mend the file") from error
    if name not in defined:
        raise IdjaxError(f"{path}: it defines no {name}; end it with {name} = ...")
    return defined[name]
