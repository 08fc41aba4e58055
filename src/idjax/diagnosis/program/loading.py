"""Models and programs named on the command line as package.module:factory."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idjax.types import IdjaxError

REQUIRED = ("model", "params", "batch", "loss")
OPTIONAL = ("kwargs", "rngs")
PROGRAM_OPTIONS = ("optimizer", "learning_rate", "has_aux", "batches")


def load_factory(name: str) -> dict[str, Any]:
    """Calls the factory, found from the current folder as well, and names what it returned.

    Args:
      name: package.module:factory; the factory takes nothing and returns (model, params, batch, loss), or a mapping of
        these and of kwargs and rngs, as `diagnose_model` takes them.

    Raises:
      IdjaxError: where there is no such module or factory, it fails, or returns something else.
    """
    made = _made(name, "--model")
    given = dict(zip(REQUIRED, made, strict=True)) if isinstance(made, tuple) and len(made) == len(REQUIRED) else made
    if not isinstance(given, Mapping) or not set(REQUIRED) <= given.keys() <= {*REQUIRED, *OPTIONAL}:
        raise IdjaxError(
            f"--model {name}: the factory returned a {type(made).__name__}; return (model, params, batch, loss), or a "
            f"mapping of these and {' and '.join(OPTIONAL)}"
        )
    return dict(given)


def load_program(name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Calls a factory of a program, which returns (loss, params, *args), or a mapping with args and options.

    Returns:
      Positional and named arguments of `diagnose_loss`.

    Raises:
      IdjaxError: where there is no such module or factory, it fails, or returns something else.
    """
    made = _made(name, "--program")
    if isinstance(made, tuple) and len(made) >= 2 and callable(made[0]):
        return made, {}
    if isinstance(made, Mapping) and {"loss", "params"} <= made.keys() <= {"loss", "params", "args", *PROGRAM_OPTIONS}:
        options = {option: made[option] for option in PROGRAM_OPTIONS if option in made}
        return (made["loss"], made["params"], *made.get("args", ())), options
    raise IdjaxError(
        f"--program {name}: the factory returned a {type(made).__name__}; return (loss, params, *args), or a mapping "
        f"of loss, params, args, {' and '.join(PROGRAM_OPTIONS)}"
    )


def _made(name: str, flag: str) -> Any:
    """Whatever the factory of this name returns."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise IdjaxError(f"{flag} {name}: give package.module:factory")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
        if not callable(factory := getattr(module, attribute, None)):
            raise IdjaxError(f"{flag} {name}: {module_name} has no function {attribute}; name one without arguments")
        made = factory()
    except IdjaxError:
        raise
    except ModuleNotFoundError as error:
        file = module_name.removesuffix(".py").replace("/", ".")
        remedy = f"give {file}:{attribute}" if file != module_name else "run from the folder that holds it"
        raise IdjaxError(f"{flag} {name}: there is no module {error.name}; {remedy}") from error
    except Exception as error:  # anyone's code: whatever it raises is told in one line
        raise IdjaxError(f"{flag} {name}: the factory failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(here)
    return made
