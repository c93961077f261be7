"""A tab's session with a real worker and no browser: what it tells the page, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from lockstep.lab.lessons import lessons
from lockstep.lab.session import AHEAD, Session
from lockstep.lab.settings import deeper, resized
from lockstep.lab.state import Selection, State
from lockstep.lab.worker import Worker, WorkerLost, Workers


@dataclass
class Page:
    """Remembers what it was told; draws at once unless told to sleep."""

    session: Session | None = None
    frames: list[dict[str, Any]] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)
    addresses: list[tuple[State, bool]] = field(default_factory=list)
    asleep: bool = False

    def opened(self, state: State, structure: dict[str, Any]) -> None:
        self.told["structure"] = structure

    def framed(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)
        if self.session and not self.asleep:
            self.session.frame_drawn()

    def selected(self, selection: Selection) -> None:
        self.told["selection"] = selection

    def explained(self, why: dict[str, Any] | None) -> None:
        self.told["why"] = why

    def certified(self, badges: dict[str, Any]) -> None:
        self.told["badge"] = badges["text"]

    def foretold(self, text: str) -> None:
        self.told["foretold"] = text

    def said(self, message: str) -> None:
        self.told["said"] = message

    def addressed(self, state: State, *, new: bool) -> None:
        self.addresses.append((state, new))

    def played(self, playing: bool) -> None:
        self.told["playing"] = playing


Story = Callable[[Session, Page, Workers], Awaitable[None]]
Run = Callable[[Story], None]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def workers(loop: asyncio.AbstractEventLoop) -> Iterator[Workers]:
    """One worker process for all stories: starting one takes seconds."""
    made = Workers(1)
    yield made
    loop.run_until_complete(made.stop())


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop, workers: Workers) -> Run:
    """Runs a story of one tab, and closes the tab."""

    async def told(story: Story) -> None:
        page = Page()
        session = page.session = Session("tab", workers, page)
        try:
            await asyncio.wait_for(story(session, page, workers), 300)
        finally:
            await session.close()

    return lambda story: loop.run_until_complete(told(story))


async def until(holds: Callable[[], Any]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


def test_from_opening_to_an_edit_and_back(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        lesson = lessons()["outgoing-equal"]
        await session.open(lesson.state, Selection(weights=lesson.weights), new=False)
        assert page.told["badge"] == "locked for ever"
        assert "certifies that they stay equal" in page.told["why"]["verdict"]
        await session.step(100)
        await until(lambda: page.addresses[-1][0].steps == 100)
        assert page.frames[-1]["step"] == 100 and page.frames[-1]["distances"] == {"0,1": 0.0}
        await session.edit("weight", at=7, value=0.75)
        assert page.told["badge"] == "will separate, because w5 ≠ w6"
        assert page.addresses[-1][1] and page.frames[-1]["step"] == 0
        await session.edit("twins", level=1, units=[0, 1], incoming=True, outgoing=True)
        assert page.told["badge"] == "locked for ever"
        await session.change(hidden=[3])
        assert page.told["selection"].units == (0, 1) and session.state.hidden == (3,)
        await session.restart()
        assert page.frames[-1]["step"] == 0

    run(story)


def test_a_state_with_steps_is_made_up_for(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(State(), new=False)
        await session.step(60)
        await until(lambda: page.addresses[-1][0].steps == 60)
        weights = await session.ask("weights")
        await session.open(replace(State(), steps=60), new=False)
        await until(lambda: page.addresses[-1][0].steps == 60)
        assert await session.ask("weights") == weights

    run(story)


def test_what_is_selected_is_noted_in_the_address(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(State(), new=False)
        before = len(page.addresses)
        await session.select(Selection(weights=("w1", "w77"), units=(1,), sample=4))
        assert session.selection == Selection(weights=("w1",), units=(1,), sample=4)
        assert len(page.addresses) > before and page.addresses[-1] == (State(), False)

    run(story)


def test_a_forecast_is_told_and_that_of_another_start_is_not(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(lessons()["dropout"].state, new=False)
        session.foretell()
        assert session.coming is not None
        await session.coming
        assert page.told["foretold"].startswith("No forecast: dropout")
        session.foretell()
        await asyncio.sleep(0)
        page.told["foretold"] = ""
        await session.select(Selection(units=(1,)))
        await asyncio.wait([session.coming])
        assert session.coming.cancelled() and page.told["foretold"] == ""

    run(story)


def test_two_edits_at_once_are_both_done(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(State(), new=False)
        await asyncio.gather(
            session.edit("weight", at=0, value=0.25),
            session.edit("weight", at=1, value=0.75),
            session.change(lr=0.5),
        )
        assert session.state.weights is not None and session.state.weights[:2] == (0.25, 0.75)
        assert session.state.lr == 0.5

    run(story)


def test_chosen_weights_stay_chosen_whatever_they_are_called(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(State(), Selection(weights=("w6", "w3"), units=(1,)), new=False)
        for hidden, names in [
            ([3], ("w8", "w3")),  # w6 reads unit 2: now w8
            ([3, 2], ("w8", "w3")),
            ([8, 8], ("W[2][0,1]", "W[1][1,0]")),
            ([2], ("w6", "w3")),
            ([1], ()),  # both belonged to unit 2
        ]:
            await session.change(hidden=hidden)
            assert session.selection.weights == names
        assert session.selection.units == () and page.told["why"] is None

    run(story)


def test_quick_clicks_all_count(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(State(hidden=(2, 2)), new=False)
        await asyncio.gather(
            *(session.change(hidden=resized(0, 1)) for _ in range(3)),
            *(session.change(hidden=resized(1, -1)) for _ in range(3)),
            session.change(hidden=deeper),
            session.change(hidden=deeper),
        )
        assert session.state.hidden == (5, 1, 2, 2)
        for _ in range(3):
            await session.step(1)
        await until(lambda: page.addresses[-1][0].steps == 3)
        await session.change(hidden=[5, 1, 2, 2])  # nothing else: the run goes on
        assert session.state.steps == 3
        weights = await session.ask("weights")
        await asyncio.gather(*(session.edit("nudge", at=2, by=0.1) for _ in range(2)))
        assert session.state.weights is not None
        assert session.state.weights[2] == pytest.approx(weights[2] + 0.2, abs=1e-5)

    run(story)


def test_a_click_overtakes_the_tabs_that_train(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(State(), new=False)
        worker, order = workers.all[0], list[str]()

        async def ask(name: str, patient: bool) -> None:
            await worker.ask("tab", "weights", patient=patient)
            order.append(name)

        training = [asyncio.create_task(ask(f"frame {n}", True)) for n in range(6)]
        await asyncio.sleep(0)
        await ask("click", False)
        await asyncio.gather(*training)
        assert order.index("click") <= 2 and len(order) == 7

    run(story)


def test_frames_wait_for_the_browser(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(State(), new=False)
        page.asleep = True
        before = len(page.frames)
        await session.play()
        await until(lambda: len(page.frames) == before + AHEAD)
        await asyncio.sleep(0.5)
        assert len(page.frames) == before + AHEAD
        page.asleep = False
        session.frame_drawn()
        await until(lambda: len(page.frames) > before + AHEAD + 3)
        await session.pause()
        assert page.told["playing"] is False

    run(story)


@pytest.mark.parametrize(
    "action, phrase",
    [
        (lambda s: s.change(lr=-1), "lr: -1 is less than the minimum"),
        (lambda s: s.change(hidden=[99]), "hidden.0: 99 is greater"),
        (lambda s: s.edit("weight", at=99, value=1.0), "no such weight"),
        (lambda s: s.edit("weight", at=0, value=1e30), "lie between -1,000,000 and 1,000,000"),
        (lambda s: s.edit("nudge", at=0, by=float("nan")), "lie between -1,000,000 and 1,000,000"),
        (lambda s: s.change(batch=300), "batch: 300 is more than the 200 samples"),
        (
            lambda s: s.edit("twins", level=1, units=[0], incoming=True, outgoing=True),
            "at least two",
        ),
    ],
)
def test_a_refused_action_is_said_and_changes_nothing(run: Run, action: Any, phrase: str) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(State(), new=False)
        await action(session)
        assert session.state == State() and phrase.replace("\\", "") in page.told["said"]

    run(story)


@pytest.mark.parametrize("loss, optimizer", [("mse", "sgd"), ("mse", "momentum"), ("bce", "sgd")])
def test_a_run_that_diverges_says_so_and_the_tab_stays_of_use(
    run: Run, loss: str, optimizer: str
) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        data = {"data": "gaussians", "noise": 2.0}
        state = State(activation="linear", loss=loss, optimizer=optimizer, lr=100.0, **data)
        start = replace(state, weights=(1e6,) * state.entries) if loss == "bce" else state
        await session.open(start, Selection(weights=("w1", "w3")), new=False)
        session.selection = replace(session.selection, speed=0)
        await session.step(400)
        if loss == "mse":
            await until(lambda: page.told.get("said") and len(page.told.get("why", {})) == 5)
            assert "Training diverged" in page.told["said"] and page.told["playing"] is False
            assert page.told["why"]["verdict"].startswith("No chain: ")
            await session.edit("weight", at=0, value=0.5)
            assert "go back to the same start" in page.told["said"]
        await session.select(Selection(units=(1,)))
        assert page.told["badge"] == "choose two units of one layer"
        await session.change(lr=0.01)
        await session.step(5)
        await until(lambda: page.addresses[-1][0].steps == 5)

    run(story)


def test_a_worker_that_dies_is_replaced_and_the_run_restored(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(State(), new=False)
        await session.step(40)
        await until(lambda: page.addresses[-1][0].steps == 40)
        weights = await session.ask("weights")
        process = workers.all[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        assert await session.ask("weights") == weights

    run(story)


def test_a_tab_that_goes_leaves_nothing(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(State(), new=False)
        await session.play()
        await session.close()
        assert workers.all[0].tabs == set()
        with pytest.raises(WorkerLost, match="this tab's run with it"):
            await workers.all[0].ask("tab", "weights")

    run(story)


def test_a_request_given_up_leaves_no_answer_to_the_next(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        await session.open(State(), new=False)
        given_up = asyncio.create_task(
            session.ask("advance", updates=200, seconds=5, layer="0", maps=False)
        )
        await asyncio.sleep(0.05)
        given_up.cancel()
        assert len(await session.ask("weights")) == 9

    run(story)


def test_a_forecast_that_nobody_waits_for_keeps_nobody_waiting(run: Run) -> None:
    async def story(session: Session, page: Page, workers: Workers) -> None:
        lesson = lessons()["near-twins"]
        await session.open(lesson.state, Selection(units=(0, 1)), new=False)
        other = Session("other", workers, Page())
        await other.open(lessons()["dropout"].state, new=False)
        session.foretell()
        await until(lambda: workers.aside.turn.locked() and workers.aside.process)
        other.foretell()
        process = workers.aside.process
        await session.change(lr=0.5)
        assert session.coming is not None and other.coming is not None and process is not None
        await asyncio.wait([session.coming])
        assert process.returncode is not None  # eight seconds of work, not done
        await other.coming
        assert other.view.told["foretold"].startswith("No forecast: dropout")  # type: ignore[attr-defined]
        await other.close()

    run(story)


def test_tabs_are_spread_over_workers() -> None:
    async def told() -> list[Worker]:
        workers = Workers(2)
        return [workers.for_tab(f"tab{n}") for n in range(4)]

    chosen = asyncio.run(told())
    assert [chosen.count(worker) for worker in set(chosen)] == [2, 2]
