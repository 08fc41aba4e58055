"""Products of one thread each, where threads of BLAS would wait for each other longer than they work."""

import contextlib
import functools
import sys
import threading

from threadpoolctl import ThreadpoolController

NARROW = 256
"""Columns up to which theory has one thread: at 84, two cost 18 CPU seconds rather than 3 on a busy machine."""


class OneThread:
    """A context in which BLAS has one thread, whichever thread calls it: the first enters, the last restores."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._limit = _libraries("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limit.restore_original_limits()


ONE_THREAD = OneThread()


def one_thread_if_narrow(columns: int) -> contextlib.AbstractContextManager[None]:
    """ONE_THREAD where matrices have so few columns that two would rather wait for each other; else nothing.

    Example:
      >>> import numpy as np
      >>> with one_thread_if_narrow(3):
      ...     float(np.ones(3) @ np.ones(3))
      3.0
    """
    return ONE_THREAD if columns <= NARROW else contextlib.nullcontext()


@functools.cache
def _libraries(_with_scipy: bool) -> ThreadpoolController:
    """The libraries that are loaded; SciPy brings a BLAS of its own."""
    return ThreadpoolController()
