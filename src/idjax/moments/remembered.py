"""Answers to the last few arrays, which commands and normalisers ask for again."""

import functools
import hashlib
import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np

REMEMBERED = 2
"""Answers that are held."""

Answer = TypeVar("Answer", bound=tuple)


def remembered(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """The function of arrays, some of which may be None, that knows its last answers by a digest of the numbers.

    Arrays in an answer cannot be written to.
    """
    known: dict[bytes, Answer] = {}
    lock = threading.Lock()  # predictions run side by side

    @functools.wraps(function)
    def once(*arrays: np.ndarray | None) -> Answer:
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays:
            digest.update(f"{getattr(array, 'shape', None)} {getattr(array, 'dtype', None)}".encode())
            digest.update(b"" if array is None else np.ascontiguousarray(array).data)
        key = digest.digest()
        with lock:
            if key in known:
                return known[key]
        found = function(*arrays)
        for part in found:
            if isinstance(part, np.ndarray):
                part.flags.writeable = False
        with lock:
            while len(known) >= REMEMBERED:
                del known[next(iter(known))]
            known[key] = found
        return found

    return once
