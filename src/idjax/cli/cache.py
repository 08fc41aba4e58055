"""Compiled programs on disk: what one command compiles, the next ones load."""

import os
import sys
import tempfile
import warnings
from pathlib import Path

MOST_BYTES = 2**29
"""Size of the folder from which on the programs that were not used for longest are deleted."""


def keep_compiled() -> None:
    """Has JAX, which is not imported yet, keep what it compiles in the user's cache folder.

    IDJAX_CACHE names another folder, or turns this off by 0 or off; what the environment says of JAX's own cache comes
    first. Nothing is kept where the folder cannot be written.
    """
    asked = os.environ.get("IDJAX_CACHE", "")
    if asked.lower() in ("0", "off") or "JAX_COMPILATION_CACHE_DIR" in os.environ or "jax" in sys.modules:
        return
    import platformdirs

    folder = Path(asked or platformdirs.user_cache_path("idjax") / "compiled")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(MOST_BYTES))
    # Most programs compile in a hundredth of a second, and there are dozens.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # A damaged program is compiled anew, and a full disk keeps none: neither is news to a person.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
