"""Models named on the command line as package.module:factory, loaded for `diagnose_model`."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idjax.types import IdjaxError

REQUIRED = ("model", "params", "batch", "loss")
OPTIONAL = ("kwargs", "rngs")


def load_factory(name: str) -> dict[str, Any]:
    """Calls the factory, found from the current folder as well, and names what it returned.

    Args:
      name: package.module:factory; the factory takes nothing and returns (model, params, batch, loss), or a mapping of
        these and of kwargs and rngs, as `diagnose_model` takes them.

    Raises:
      IdjaxError: where there is no such module or factory, it fails, or returns something else.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise IdjaxError(f"--model {name}: give package.module:factory")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
        if not callable(factory := getattr(module, attribute, None)):
            raise IdjaxError(f"--model {name}: {module_name} has no function {attribute}; name one without arguments")
        made = factory()
    except IdjaxError:
        raise
    except ModuleNotFoundError as error:
        file = module_name.removesuffix(".py").replace("/", ".")
        remedy = f"give {file}:{attribute}" if file != module_name else "run from the folder that holds it"
        raise IdjaxError(f"--model {name}: there is no module {error.name}; {remedy}") from error
    except Exception as error:  # anyone's code: whatever it raises is told in one line
        raise IdjaxError(f"--model {name}: the factory failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(here)
    given = dict(zip(REQUIRED, made, strict=True)) if isinstance(made, tuple) and len(made) == len(REQUIRED) else made
    if not isinstance(given, Mapping) or not set(REQUIRED) <= given.keys() <= {*REQUIRED, *OPTIONAL}:
        raise IdjaxError(
            f"--model {name}: the factory returned a {type(made).__name__}; return (model, params, batch, loss), or a "
            f"mapping of these and {' and '.join(OPTIONAL)}"
        )
    return dict(given)
