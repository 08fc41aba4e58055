"""Checkpoints of one long training, with orbax: a run that was stopped goes on bit for bit where it was.

A checkpoint holds the weights, the optimizer's state and the record of the epochs; the order of the batches is drawn
again from the seed. Orbax writes each into a folder of its own and renames it when it is whole; the older one is
deleted after that. So there is always a whole one, whenever the process is killed.
"""

import hashlib
import json
import pathlib
import shutil
import signal
import threading
import time
import types
from typing import Any

import jax
import numpy as np

from idjax.data import Dataset
from idjax.results import store
from idjax.settings import Settings
from idjax.training.train import Snapshot
from idjax.types import IdjaxError


class CheckpointFolder:
    """Keeps a training in a folder: every so many seconds, and once more when it is interrupted.

    As a context it takes Ctrl-C and SIGTERM: the training is kept after the compiled call that is under way, and then
    ends by KeyboardInterrupt. Outside of the main thread Python has no signals.
    """

    def __init__(self, folder: pathlib.Path, dataset: Dataset, settings: Settings, seconds: float, resume: bool):
        self._folder, self._seconds, self._resume = folder.absolute(), seconds, resume
        self._told = json.loads(store.to_json({"settings": settings, "data": _fingerprint(dataset)}))
        self._manager: Any = None
        self._last = time.monotonic()
        self._interrupted = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "CheckpointFolder":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: types.TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._manager is not None:
            self._manager.close()

    def begin(self, like: Snapshot) -> Snapshot:
        """Where the run goes on: the last checkpoint if asked to resume and there is one, else `like`, its beginning.

        Raises:
          IdjaxError: if the checkpoint is one of other data or settings, or is damaged.
        """
        if not self._resume:
            shutil.rmtree(self._folder, ignore_errors=True)
            return like
        if not self._folder.is_dir() or (step := self._orbax().latest_step()) is None:
            return like
        from orbax import checkpoint as orbax

        args = orbax.args.Composite(told=orbax.args.JsonRestore(), leaves=orbax.args.StandardRestore(_leaves(like)))
        try:
            told = self._orbax().restore(step, args=orbax.args.Composite(told=orbax.args.JsonRestore())).told
            if told == self._told:
                return _like(like, self._orbax().restore(step, args=args).leaves)
        except Exception as error:
            raise IdjaxError(
                f"{self._folder}: the checkpoint cannot be read; delete it, or leave --resume away"
            ) from error
        raise IdjaxError(
            f"{self._folder}: it keeps a training on other data or settings; give those, or leave --resume away"
        )

    def reached(self, snapshot: Snapshot) -> None:
        """Keeps the run if it is time to; KeyboardInterrupt once it is kept, if it was interrupted."""
        if not self._interrupted and time.monotonic() - self._last < self._seconds:
            return
        from orbax import checkpoint as orbax

        leaves = orbax.args.StandardSave(_leaves(snapshot))
        self._orbax().save(
            snapshot.done, args=orbax.args.Composite(told=orbax.args.JsonSave(self._told), leaves=leaves), force=True
        )
        self._orbax().wait_until_finished()
        self._last = time.monotonic()
        if self._interrupted:
            raise KeyboardInterrupt

    def clear(self) -> None:
        """Deletes the checkpoints: the run is done and its results are written."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _interrupt(self, number: int, _: object) -> None:
        self._interrupted = True
        signal.signal(number, self._handlers[number])  # a second one does not wait

    def _orbax(self) -> Any:
        if self._manager is None:
            from orbax import checkpoint as orbax

            options = orbax.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
            self._manager = orbax.CheckpointManager(self._folder, options=options)
        return self._manager


def _leaves(snapshot: Snapshot) -> dict[str, np.ndarray]:
    """The arrays of a run by their number, in NumPy: its dtypes then do not depend on JAX's."""
    return {f"{number:04d}": np.asarray(_plain(leaf)) for number, leaf in enumerate(jax.tree.leaves(snapshot))}


def _like(snapshot: Snapshot, leaves: dict[str, np.ndarray]) -> Snapshot:
    """The run with these arrays; keys of random numbers are made from their data again."""

    def restored(leaf: Any, value: np.ndarray) -> Any:
        if _is_key(leaf):
            return jax.random.wrap_key_data(jax.numpy.asarray(value), impl=jax.random.key_impl(leaf))
        return int(value) if isinstance(leaf, int) else np.asarray(value)

    values = [leaves[name] for name in sorted(leaves)]
    return jax.tree.unflatten(jax.tree.structure(snapshot), map(restored, jax.tree.leaves(snapshot), values))


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _fingerprint(dataset: Dataset) -> str:
    """A digest of the numbers of the data."""
    digest = hashlib.sha256()
    for part in (dataset.x, dataset.y):
        digest.update(b"none" if part is None else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
