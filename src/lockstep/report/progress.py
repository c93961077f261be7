"""Progress on stderr, and only for what takes longer than a second."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LINE_SECONDS = 5.0


class Shown:
    """A context manager that is called with ``(text, done, total)``, as ``audit(progress=...)`` does.

    Nothing is printed in the first second. On a terminal a bar follows; elsewhere (a log file) a line
    every few seconds.
    """

    def __init__(self, console: Console, delay: float = 1.0) -> None:
        self.console = console
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=None)
        self.text, self.visible, self.printed = "starting", False, 0.0
        self.lock = threading.Lock()
        # A timer, because the first stage may be one long call into the user's code.
        self.timer = threading.Timer(delay, self._show)
        self.timer.daemon = True

    def __enter__(self) -> Shown:
        self.timer.start()
        return self

    def __call__(self, text: str, done: int, total: int | None) -> None:
        with self.lock:
            news, self.text = text != self.text, text
            self.bar.update(self.task, description=text, completed=done, total=total)
            due = time.monotonic() - self.printed > LINE_SECONDS
            if news and due and self.visible and not self.console.is_terminal:
                self._line()

    def _show(self) -> None:
        with self.lock:
            self.visible = True
            if self.console.is_terminal:
                self.bar.start()
            else:
                self._line()

    def _line(self) -> None:
        self.printed = time.monotonic()
        self.console.print(f"lockstep: {self.text} ...", markup=False, highlight=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.timer.cancel()
        with self.lock:
            if self.visible and self.console.is_terminal:
                self.bar.stop()
            self.visible = False
