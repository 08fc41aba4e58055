"""Progress of long work: lines now and then where there is no terminal, with the time left, and nothing if quiet."""

import time

import pytest

from idjax.report import progress
from idjax.types import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def test_a_line_every_ten_seconds_with_the_time_left(clock, capfd):
    with progress.progress_bar() as hear:
        for done in range(0, 100, 10):
            hear(Progress(done, 100, "reading rows"))
            clock(4.0)
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        "idjax: reading rows, 30%, 28 s left",
        "idjax: reading rows, 60%, 16 s left",
        "idjax: reading rows, 90%, 4 s left",
    ]


def test_the_time_left_is_that_of_the_work_at_hand(clock, capfd):
    with progress.progress_bar() as hear:
        hear(Progress(0, 10, "first"))
        clock(60.0)
        hear(Progress(0, 4, "second"))
        clock(20.0)
        hear(Progress(2, 4, "second"))
        clock(20.0)
        hear(Progress(0, 1, "no end is known"))
    assert capfd.readouterr().err.splitlines() == [
        "idjax: second, 0%",
        "idjax: second, 50%, 20 s left",
        "idjax: no end is known",
    ]


def test_nothing_is_said_if_quiet(clock, capfd):
    with progress.progress_bar(quiet=True) as hear:
        hear(Progress(0, 10, "work"))
        clock(60.0)
        hear(Progress(5, 10, "work"))
    assert capfd.readouterr() == ("", "")


def test_names_from_the_data_cannot_steer_the_terminal(clock, capfd):
    with progress.progress_bar() as hear:
        clock(60.0)
        hear(Progress(1, 10, "column \x1b[2J[red]\n"))
    assert capfd.readouterr().err == "idjax: column \\x1b[2J[red]\\n, 10%\n"


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, False), (0.5, True)])
def test_a_bar_on_a_terminal_is_shown_from_half_a_second_of_work_on(monkeypatch, capfd, seconds, shown):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(progress, "SECONDS_BEFORE_BAR", seconds / 10 if shown else 60.0)
    with progress.progress_bar() as hear:
        hear(Progress(3, 10, "reading rows"))
        time.sleep(seconds)
    assert ("reading rows" in capfd.readouterr().err) == shown
