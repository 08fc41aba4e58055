"""`idjax.explore`: the live page of some rows, in a notebook."""

import importlib.util
from typing import TYPE_CHECKING, Any

from idjax.settings import Settings
from idjax.types import IdjaxError, OnProgress, silent

if TYPE_CHECKING:
    from idjax.diagnosis.explore.serve import Live


def explore(data: Any, settings: Settings | None = None, *, target: Any = None) -> "Live":
    """The live page of these rows: settings under the hand, and at once what they lead to.

    Args:
      data, target: as `idjax.diagnose` takes them.
      settings: to begin with; they stay pinned beside those that are chosen.

    Returns:
      The page, which a notebook shows; `url` is its address, on this machine alone, and `close()` ends it.

    Raises:
      IdjaxError: bad data or settings, or the extra `explore` is missing.

    Example:
      >>> live = explore(np.random.default_rng(0).normal(size=(100, 3)))  # doctest: +SKIP
      >>> live.url  # doctest: +SKIP
      'http://127.0.0.1:40201/Jq…/'
    """
    check_installed()
    from idjax.diagnosis.explore.serve import in_background
    from idjax.diagnosis.explore.study import Study

    return in_background(Study(data, target, settings))


def live_page(data: Any, settings: Settings, target: Any, port: int, progress: OnProgress = silent) -> "Live":
    """The page, not yet served: `serve()` serves it until interrupted."""
    check_installed()
    from idjax.diagnosis.explore.serve import Live
    from idjax.diagnosis.explore.study import Study

    return Live(Study(data, target, settings, progress), port)


def check_installed() -> None:
    """Raises IdjaxError where the libraries of the page are missing."""
    if importlib.util.find_spec("panel") is None:
        raise IdjaxError('explore: panel is missing, which draws the page; pip install "idjax[explore]"')
