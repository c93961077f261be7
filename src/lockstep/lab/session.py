"""One tab on the server: its state, what is selected, and the loop that trains while it plays.

The browser says when it has drawn a frame; the next is asked of the worker only then, so frames never
queue up. What the page shows is told to a ``View``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from lockstep.errors import UsageError
from lockstep.lab import network as nets
from lockstep.lab.state import MOST_STEPS, Selection, State, frozen, read
from lockstep.lab.worker import WorkerLost, Workers

PACE = 1 / 45  # seconds from one frame to the next, at best
PORTION = 0.02  # seconds of training in one request, shared by the tabs of a worker
LEAST = 0.002  # but so many at least
REST = 0.3  # of the time that a frame took, if that is more: busy machines are left room for clicks
# Seconds, and frames, between two: where frames are slow to come, what they carry must not slow them further.
MAP_PACE = 0.1, 4  # maps
CHAIN_PACE = 0.3, 15  # looks at the chains while it trains
ADDRESS_PACE = 1.0  # seconds between two notes of the step in the address
AHEAD = 2  # frames under way to the browser
UNSEEN = 2.0  # seconds after which a frame counts as lost


class View(Protocol):
    """What a session tells the page."""

    def opened(self, state: State, structure: dict[str, Any]) -> None: ...
    def framed(self, frame: dict[str, Any]) -> None: ...
    def selected(self, selection: Selection) -> None: ...
    def explained(self, why: dict[str, Any] | None) -> None: ...
    def certified(self, badges: dict[str, Any]) -> None: ...
    def foretold(self, text: str) -> None: ...
    def said(self, message: str) -> None: ...
    def addressed(self, state: State, *, new: bool) -> None: ...
    def played(self, playing: bool) -> None: ...


class Every:
    """Says when something is due again: after so many seconds and so many times that it was asked."""

    def __init__(self, seconds: float, times: int) -> None:
        self.seconds, self.times = seconds, times
        self.last, self.asked = 0.0, times

    def due(self, now: float) -> bool:
        """Whether it is due; if so, it starts anew."""
        self.asked += 1
        if self.asked < self.times or now - self.last < self.seconds:
            return False
        self.last, self.asked = now, 0
        return True


@dataclass
class Session:
    """A tab. Every method that changes something waits for the one before it."""

    tab: str
    workers: Workers
    view: View
    state: State = field(default_factory=State)
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self) -> None:
        self.worker = self.workers.for_tab(self.tab)
        self.structure: dict[str, Any] = {}
        self.runs = 0
        self.goal = 0  # the step to which it trains without being told to play
        self.playing = False
        self.acting = asyncio.Lock()  # one action of the learner after the other
        self.turn = asyncio.Lock()  # and of these and the loop one at the experiment
        self.wake = asyncio.Event()
        self.drawn = asyncio.Event()
        self.under_way = 0
        self.coming: asyncio.Task[None] | None = None
        self.task = asyncio.create_task(self.loop())

    # ---- what the learner does ----

    async def open(self, state: State, selection: Selection | None = None, *, new: bool) -> None:
        """Shows another state; ``new`` makes it an entry of the browser's history."""
        async with self.acting:
            await self.begin(state, selection, new=new)

    async def begin(self, state: State, selection: Selection | None = None, *, new: bool) -> None:
        """What :meth:`open` does in its turn."""
        await self.ready(state, selection)
        self.view.addressed(self.state, new=new)
        self.wake.set()

    async def change(self, **fields: Any) -> None:
        """Other settings, from the same start. A field may be a function of the state at its turn."""
        async with self.acting:
            fields = {k: v(self.state) if callable(v) else v for k, v in fields.items()}
            if all(getattr(self.state, k) == frozen(v) for k, v in fields.items()):
                return
            values = {**self.state.written(), **fields, "steps": 0}
            with self.refusals():
                if "weights" not in fields:
                    values.pop("weights", None)
                    bare = read(values)
                    kept = nets.carried(self.state, bare) if "seed" not in fields else None
                    values |= {"weights": list(kept)} if kept else {}
                await self.begin(read(values), new=True)

    async def edit(self, what: str, **how: Any) -> None:
        """A change of weights: it begins a new run from the weights of now."""
        async with self.acting:
            with self.refusals():
                await self.pause()
                if how.get("at", 0) >= self.state.entries:
                    raise UsageError("there is no such weight in this network")
                values = await self.ask("edit", what=what, **how)
                await self.begin(read(values), new=True)

    async def step(self, updates: int = 1) -> None:
        """So many updates, then rest."""
        reached = max(
            self.state.steps, self.goal
        )  # a second click counts from where the first leads
        self.rest(goal=min(reached + updates, MOST_STEPS))
        self.wake.set()

    async def play(self) -> None:
        """Trains until paused."""
        self.playing = True
        self.view.played(True)
        self.wake.set()

    async def pause(self) -> None:
        """Rests."""
        self.rest()

    def rest(self, goal: int = 0) -> None:
        """Neither plays nor has anything to make up for, up to ``goal``."""
        self.playing, self.goal = False, goal
        self.view.played(False)

    async def restart(self) -> None:
        """Back to the same start."""
        await self.pause()
        await self.open(self.state.start, new=False)

    async def select(self, selection: Selection) -> None:
        """Other weights, units or another sample."""
        before, self.selection = self.selection, self.fitting(selection)
        if (before.level, before.units) != (self.selection.level, self.selection.units):
            self.forget()
        self.view.selected(self.selection)
        self.view.addressed(self.state, new=False)
        await self.look()

    def foretell(self) -> None:
        """How long until the chosen units are apart: asked aside, for it takes seconds."""
        self.forget()
        self.coming = asyncio.create_task(self.forecast())

    def forget(self) -> None:
        """Nobody waits for the forecast any more."""
        if self.coming is not None:
            self.coming.cancel()

    async def forecast(self) -> None:
        """Of the start and the units of now."""
        self.view.foretold("Forecast: following a small difference between the units …")
        try:
            text = await self.workers.aside.ask(
                self.tab,
                "ahead",
                given_up=True,
                state=self.state.start.written(),
                level=self.selection.level,
                units=list(self.selection.units),
            )
        except (UsageError, WorkerLost) as error:
            text = f"No forecast: {error}."
        self.view.foretold(text)

    async def close(self) -> None:
        """The tab has gone: nothing of it stays."""
        self.task.cancel()
        self.forget()
        self.worker.tabs.discard(self.tab)
        if self.structure:
            with contextlib.suppress(WorkerLost):
                await self.worker.ask(self.tab, "close")

    def frame_drawn(self) -> None:
        """The browser has shown a frame."""
        self.under_way = max(0, self.under_way - 1)
        self.drawn.set()

    # ---- how it goes ----

    async def ready(self, state: State, selection: Selection | None) -> None:
        """A fresh experiment; its state's updates are made up for by the loop.

        Without a selection that of before stays, entry by entry: in a wider network w5 may be called w7.
        """
        async with self.turn:
            self.rest(goal=state.steps)
            places = {e["name"]: place(e) for e in self.entries}
            self.structure = await self.worker.ask(self.tab, "open", state=state.start.written())
            self.runs += 1
            self.structure["run"] = self.runs
            self.forget()
            self.state = state.start
            if selection is None:
                names = {place(e): e["name"] for e in self.entries}
                chosen = (places[name] for name in self.selection.weights)
                weights = tuple(names[at] for at in chosen if at in names)
                selection = replace(self.selection, weights=weights)
            self.selection = self.fitting(selection)
            self.view.opened(state, self.structure)
            self.view.selected(self.selection)
            self.view.framed(await self.advanced(0, maps=True))
        await self.look()

    async def ask(self, call: str, **how: Any) -> Any:
        """A request about the experiment; a lost one is opened again and brought to its step."""
        try:
            return await self.worker.ask(self.tab, call, **how)
        except WorkerLost:
            await self.worker.ask(self.tab, "open", state=self.state.start.written())
            frame: dict[str, Any] = {"step": 0}
            while frame["step"] < self.state.steps:
                frame = await self.worker.ask(
                    self.tab,
                    "advance",
                    updates=self.state.steps - frame["step"],
                    seconds=self.portion,
                    layer=self.layer,
                    maps=False,
                )
            return await self.worker.ask(self.tab, call, **how)

    async def advanced(self, updates: int, *, maps: bool) -> dict[str, Any]:
        """The frame after some updates."""
        frame: dict[str, Any] = await self.ask(
            "advance",
            patient=bool(updates),
            updates=updates,
            seconds=self.portion,
            layer=self.layer,
            maps=maps,
        )
        self.state = replace(self.state, steps=frame["step"])
        if "stopped" in frame:
            self.rest()
            self.view.said(frame["stopped"])
        return frame

    async def look(self) -> None:
        """The chains and the badge of what is selected."""
        with self.refusals():
            if self.selection.weights:
                self.view.explained(await self.chains())
            else:
                self.view.explained(None)
            self.view.certified(
                await self.ask(
                    "badges",
                    level=self.selection.level,
                    units=list(self.selection.units),
                    symbols=self.symbols,
                )
            )

    async def chains(self, *, patient: bool = False) -> Any:
        """What ``explain`` or ``compare`` says now."""
        weights, sample = list(self.selection.weights), self.selection.sample
        return await self.ask("why", patient=patient, weights=weights, sample=sample)

    async def loop(self) -> None:
        """Trains while it plays or has not reached its goal, frame by frame."""
        while True:
            self.wake.clear()
            if not (self.playing or self.state.steps < self.goal):
                await self.wake.wait()
            with self.refusals():
                await self.run()

    async def run(self) -> None:
        """From play to rest."""
        maps, chains, address = Every(*MAP_PACE), Every(*CHAIN_PACE), Every(ADDRESS_PACE, 1)
        before, due = time.monotonic(), 0.0
        while self.playing or self.state.steps < self.goal:
            now = time.monotonic()
            behind = self.goal - self.state.steps
            speed = self.selection.speed
            due = due + (now - before) * speed if self.playing else behind
            before = now
            updates = MOST_STEPS if self.playing and not speed else int(due)
            if updates:
                async with self.turn:
                    if not (self.playing or self.state.steps < self.goal):
                        break
                    reached = self.state.steps
                    frame = await self.advanced(updates, maps=maps.due(now))
                    self.under_way += 1
                    self.view.framed(frame)
                due = min(max(0.0, due - (self.state.steps - reached)), speed * PACE)
                if self.selection.weights and chains.due(now):
                    self.view.explained(await self.chains(patient=True))
                if address.due(now):
                    self.view.addressed(self.state, new=False)
            await self.room()
            took = time.monotonic() - now
            await asyncio.sleep(max(PACE - took, REST * took))
        async with self.turn:
            self.view.framed(await self.advanced(0, maps=True))
        self.view.addressed(self.state, new=False)
        await self.look()

    async def room(self) -> None:
        """Waits until the browser has drawn enough of what is under way."""
        while self.under_way >= AHEAD:
            self.drawn.clear()
            try:
                await asyncio.wait_for(self.drawn.wait(), UNSEEN)
            except asyncio.TimeoutError:
                self.under_way = 0

    @contextlib.contextmanager
    def refusals(self) -> Any:
        """What the library refuses is said on the page."""
        try:
            yield
        except (UsageError, WorkerLost) as error:
            self.rest()
            self.view.said(str(error))

    @property
    def portion(self) -> float:
        """Seconds of training in one request: the more tabs a worker has, the shorter."""
        return max(LEAST, PORTION / max(1, len(self.worker.tabs)))

    # ---- names ----

    @property
    def layer(self) -> str:
        """Path of the layer whose distances are shown."""
        return nets.layers(self.state)[self.selection.level - 1]

    @property
    def symbols(self) -> dict[str, str]:
        """PyTorch's name of an entry → the page's."""
        return {e["path"]: e["name"] for e in self.entries}

    def paths(self, names: Collection[str]) -> list[str]:
        """The page's names of entries → PyTorch's."""
        known = {e["name"]: e["path"] for e in self.entries}
        return [known[name] for name in names]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """Weights and biases."""
        return [*self.structure.get("weights", ()), *self.structure.get("biases", ())]

    def fitting(self, wanted: Selection) -> Selection:
        """What of a selection exists in this network."""
        return wanted.fitting(self.state, {e["name"] for e in self.entries})


def place(entry: dict[str, Any]) -> tuple[int, ...]:
    """The unit that an entry belongs to, and the one that it comes from if it is no bias."""
    return (*entry["unit"], *entry.get("from", ()))
