"""Long work as a bar on a terminal and as a line now and then in a log, both with the time left."""

import contextlib
import threading
import time
from collections.abc import Iterator

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from idjax.data.dataset import printable
from idjax.types import OnProgress, Progress, silent

SECONDS_BEFORE_BAR = 0.5
"""Work that is done sooner shows no bar."""
SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def progress_bar(quiet: bool = False) -> Iterator[OnProgress]:
    """A progress callback that draws on standard error; a new total, or less done than before, begins other work."""
    console = Console(stderr=True, markup=False, highlight=False)
    if quiet:
        yield silent
    elif not console.is_terminal:
        yield _Lines(console)
    else:
        with _Bar(console) as bar:
            yield bar


class _Bar:
    """A bar that a timer shows, for the first event may be the last for a long time."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        self._bar = rich.progress.Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._task, self._last = self._bar.add_task("", total=None), Progress(0, -1, "")
        self._timer = threading.Timer(SECONDS_BEFORE_BAR, self._bar.start)

    def __enter__(self) -> "_Bar":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._bar.stop()

    def __call__(self, event: Progress) -> None:
        if _is_other_work(event, self._last):
            self._bar.reset(self._task)
        end = event.total if event.total > 1 else None
        self._bar.update(self._task, completed=event.done, total=end, description=printable(event.what))
        self._last = event


class _Lines:
    """A line now and then."""

    def __init__(self, console: Console) -> None:
        self._console, self._said = console, time.perf_counter()
        self._begun, self._first = 0.0, 0
        self._last = Progress(0, -1, "")

    def __call__(self, event: Progress) -> None:
        now = time.perf_counter()
        if _is_other_work(event, self._last):
            self._begun, self._first = now, event.done
        self._last = event
        if now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said, line = now, f"idjax: {printable(event.what)}"
        if event.total > 1:
            line += f", {event.done / event.total:.0%}"
            if event.done > self._first:
                left = (now - self._begun) * (event.total - event.done) / (event.done - self._first)
                line += f", {left:.0f} s left"
        self._console.print(line, soft_wrap=True)


def _is_other_work(event: Progress, last: Progress) -> bool:
    return event.total != last.total or event.done < last.done
