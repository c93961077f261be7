from __future__ import annotations

import io
import time

from rich.console import Console

from lockstep.report.progress import Shown


def test_what_takes_less_than_a_second_prints_nothing() -> None:
    console = Console(file=io.StringIO())
    with Shown(console) as progress:
        progress("loading", 0, None)
        progress("step", 1, 3)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_a_log_file_gets_a_line() -> None:
    console = Console(file=io.StringIO())
    with Shown(console, delay=0.0) as progress:
        progress("loading", 0, None)
        wait_until(console.file.getvalue)  # type: ignore[attr-defined]
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text in ("lockstep: starting ...\n", "lockstep: loading ...\n")
    assert "\x1b" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    with Shown(console, delay=0.05) as progress:
        progress("symbolic step [1]", 1, 3)
        wait_until(console.file.getvalue)  # type: ignore[attr-defined]
    assert "symbolic step [1]" in console.file.getvalue()  # type: ignore[attr-defined]
    assert not progress.visible


def wait_until(done: object) -> None:
    end = time.monotonic() + 5
    while not done() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.01)
