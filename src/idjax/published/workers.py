"""Independent tasks on the cores of the machine, in threads of one process, which share compiled programs."""

import concurrent.futures
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from idjax.types import OnProgress, Progress, silent

PARTS = 1000
"""Into how many parts the work of all tasks is divided for progress."""


class Task(NamedTuple):
    """Work by name, which says how far it is and returns a result, and its cost relative to that of other tasks."""

    name: str
    work: Callable[[OnProgress], Any]
    cost: float


OnResult = Callable[[str, Any], None]
"""Callback for a task's name and result, called as soon as the result is there."""


class _StoppedError(Exception):
    """Raised in a task, by its progress, once its result is not wanted any more."""


def run_tasks(tasks: Sequence[Task], progress: OnProgress = silent, on_result: OnResult = lambda *_: None) -> list[Any]:
    """Results of the tasks, in their order; the first begins first, then the costliest.

    Where the caller's thread is interrupted or a task fails, the others end at their next event; nobody waits for them.
    """
    shared = _SharedProgress(tasks, progress)
    results: list[Any] = [None] * len(tasks)
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    try:
        waiting = {}
        for index in sorted(range(len(tasks)), key=lambda index: -tasks[index].cost if index else -float("inf")):
            waiting[pool.submit(tasks[index].work, shared.of(index))] = index
        for future in concurrent.futures.as_completed(waiting):
            index = waiting[future]
            results[index] = future.result()
            on_result(tasks[index].name, results[index])
            shared.of(index)(Progress(PARTS, PARTS, tasks[index].name))
    except BaseException:
        shared.stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return results


class _SharedProgress:
    """Progress of many tasks told as that of one; whichever spoke last is named."""

    def __init__(self, tasks: Sequence[Task], progress: OnProgress) -> None:
        self.stopped = threading.Event()
        self._costs, self._progress = [task.cost / sum(task.cost for task in tasks) for task in tasks], progress
        self._done = [0.0] * len(tasks)
        self._lock = threading.Lock()

    def of(self, index: int) -> OnProgress:
        """Callback for the progress of one task."""

        def hear(event: Progress) -> None:
            if self.stopped.is_set():
                raise _StoppedError
            with self._lock:
                share = event.done / event.total if event.total > 1 else 0.0
                self._done[index] = max(self._done[index], self._costs[index] * share)
                self._progress(Progress(int(PARTS * sum(self._done)), PARTS, event.what))

        return hear
