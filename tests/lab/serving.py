"""``lockstep lab`` in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Served:
    """A running server: where, its process, and what it wrote."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """The server, from its first answer to its end."""
    port, log = free_port(), folder / "log"
    command = [sys.executable, "-m", "lockstep", "lab", "--no-open", "--port", str(port)]
    with log.open("wb") as out:
        running = Served(port, subprocess.Popen(command, stdout=out, stderr=out), log)
        try:
            await_answer(running)
            yield running
        finally:
            running.process.terminate()
            running.process.wait(30)


def await_answer(running: Served) -> None:
    """Waits until the server answers."""
    end = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(running.url, timeout=10).close()
            return
        except (urllib.error.URLError, ConnectionError):
            assert running.process.poll() is None, running.log.read_text("utf-8")
            assert time.monotonic() < end, "the lab did not answer"
            time.sleep(0.2)
