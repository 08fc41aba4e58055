"""Long work as a bar on a terminal and as a line now and then in a log, both with the time left."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from idjax.report.formatting import visible
from idjax.types import Report, silent

SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Report]:
    """What is told of the work goes to standard error; where the total is not above 1, no end is known."""
    console = Console(stderr=True, markup=False, highlight=False)
    if quiet:
        yield silent
    elif not console.is_terminal:
        yield _Lines(console)
    else:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            yield _Bar(bar)


class _Phases:
    """Tells where other work begins: another total, or less done than before."""

    def __init__(self) -> None:
        self._last = (0, -1)

    def begins(self, done: int, total: int) -> bool:
        last, self._last = self._last, (done, total)
        return total != last[1] or done < last[0]


class _Bar(_Phases):
    def __init__(self, bar: Progress) -> None:
        super().__init__()
        self._bar, self._task = bar, bar.add_task("", total=None)

    def __call__(self, done: int, total: int, what: str) -> None:
        if self.begins(done, total):
            self._bar.reset(self._task)
        end = total if total > 1 else None
        self._bar.update(self._task, completed=done, total=end, description=visible(what))


class _Lines(_Phases):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console, self._said = console, time.perf_counter()
        self._begun = self._first = 0.0

    def __call__(self, done: int, total: int, what: str) -> None:
        now = time.perf_counter()
        if self.begins(done, total):
            self._begun, self._first = now, done
        if now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said, line = now, f"idjax: {visible(what)}"
        if total > 1:
            line += f", {done / total:.0%}"
            if done > self._first:
                line += f", {(now - self._begun) * (total - done) / (done - self._first):.0f} s left"
        self._console.print(line, soft_wrap=True)
