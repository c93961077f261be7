"""The server's side of a worker process: requests in turn, one answer each, a new process if one dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

from lockstep.errors import UsageError

LONGEST_LINE = 2**24


class WorkerLost(Exception):
    """The process ended before it answered: the tab's experiment is gone and must be opened again."""


class Worker:
    """One process. ``ask`` waits its turn, so at most one request is under way.

    Requests that nobody waits for, ``patient`` ones, line up among themselves first: however many tabs train, a
    click waits for two of them at most.
    """

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.turn, self.line = asyncio.Lock(), asyncio.Lock()
        self.tabs: set[str] = set()

    async def ask(
        self, tab: str, call: str, *, patient: bool = False, given_up: bool = False, **how: Any
    ) -> Any:
        """The answer; raises :class:`~lockstep.errors.UsageError` where the library refuses.

        Cancelled in the line it is never sent. Cancelled later its answer is awaited and dropped, or, with
        ``given_up``, its process ended: for what takes longer than a new process.
        """
        line = json.dumps({"tab": tab, "call": call, "with": how}) + "\n"
        async with contextlib.AsyncExitStack() as held:
            if patient:
                await held.enter_async_context(self.line)
            await held.enter_async_context(self.turn)
            exchange = asyncio.create_task(self.exchange(line.encode(), held.pop_all()))
        # Shielded: a tab that goes in the middle must not leave its answer to the next one who asks.
        try:
            answer = json.loads(await asyncio.shield(exchange))
        except asyncio.CancelledError:
            if given_up:
                await self.stop()
                await asyncio.wait([exchange])
                exchange.exception()  # it is known
            raise
        if "lost" in answer:
            raise WorkerLost("a worker process of the lab ended, and this tab's run with it")
        if "refused" in answer:
            raise UsageError(answer["refused"])
        return answer["is"]

    async def exchange(self, line: bytes, turn: contextlib.AsyncExitStack) -> bytes:
        """One line out, one line back; then the next one's turn."""
        async with turn:
            process = await self.running()
            assert process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(line)
                await process.stdin.drain()
                raw = await process.stdout.readline()
            except ConnectionError:
                raw = b""
            if not raw:
                await self.stop()
                raise WorkerLost("a worker process of the lab ended")
            return raw

    async def running(self) -> asyncio.subprocess.Process:
        """The process, started if there is none."""
        if self.process is None or self.process.returncode is not None:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "lockstep.lab.desk",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LONGEST_LINE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        return self.process

    async def stop(self) -> None:
        """Ends the process."""
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        if process is not None:
            await process.wait()


class Workers:
    """As many processes as there are cores to spare; a tab stays with the one that has fewest.

    ``aside`` is one more, started when it is first asked, for what takes seconds.
    """

    def __init__(self, count: int | None = None) -> None:
        self.all = [Worker() for _ in range(count or max(1, min(4, (os.cpu_count() or 2) - 1)))]
        self.aside = Worker()

    def for_tab(self, tab: str) -> Worker:
        """The worker that serves the tab from now on."""
        worker = min(self.all, key=lambda w: len(w.tabs))
        worker.tabs.add(tab)
        return worker

    async def start(self) -> None:
        """Starts every process before it is asked for anything."""
        await asyncio.gather(*(worker.running() for worker in self.all))

    async def stop(self) -> None:
        """Ends every process."""
        await asyncio.gather(*(worker.stop() for worker in (*self.all, self.aside)))
