"""The page: controls, the network, its curves and the panels, wired to one tab's session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from nicegui import ui

from lockstep.errors import UsageError
from lockstep.lab import export
from lockstep.lab.address import as_json, decoded, encoded, from_json, natural
from lockstep.lab.components import Address, Curves, Files, Graph, Plane
from lockstep.lab.controls import button, choice, html, shown
from lockstep.lab.hearing import EDIT, FILE, FLAG, INDEX, PLACE, TEXT, hear
from lockstep.lab.lessons import lessons
from lockstep.lab.panels import LessonPanel, TiePanel, WhyPanel
from lockstep.lab.session import Session
from lockstep.lab.settings import Settings
from lockstep.lab.state import Selection, State
from lockstep.lab.worker import Workers

SPEEDS = {"5": "5", "30": "30", "150": "150", "600": "600", "0": "no limit"}

OTHER_SCHEME = "() => emit(!document.body.classList.contains('body--dark'))"


def wanted(search: str) -> tuple[State, Selection, str]:
    """What an address asks for, and what to say if it asks for nothing that exists."""
    fields = parse_qs(search.removeprefix("?"), keep_blank_values=True, max_num_fields=20)
    try:
        if "s" in fields:
            return *decoded(fields["s"][0]), ""
        name = fields.get("lesson", [next(iter(lessons()))])[0]
        if name not in lessons():
            raise UsageError(f"there is no lesson of that name; there are {', '.join(lessons())}")
        state = lessons()[name].state
        return state, natural(state), ""
    except (UsageError, ValueError) as error:
        return State(), natural(State()), f"The default network is shown: {error}."


class Page:
    """What one tab sees. Told by its session what has changed."""

    def __init__(self, tab: str, workers: Workers, search: str) -> None:
        self.search = search
        self.session: Session | None = None
        self.tab, self.workers = tab, workers
        self.structure: dict[str, Any] = {}
        self.chosen: dict[str, Any] = {}
        self.dark = ui.dark_mode(None)
        with html("main", classes="lab"):
            self.header()
            self.message = html("p", classes="message", role="alert")
            with html("div", classes="columns"):
                with html("div", classes="left"):
                    self.lesson = LessonPanel(self.choose_lesson, self.show_me)
                    self.settings = Settings(self.change)
                with html("div", classes="middle"):
                    self.transport()
                    self.network()
                with html("div", classes="right"):
                    self.ties = TiePanel(
                        self.toggle_unit,
                        self.choose_level,
                        self.tie,
                        self.set_dropout,
                        lambda: self.live.foretell(),
                    )
                    self.why = WhyPanel(self.choose_weight, self.choose_sample)
        self.foreword()

    # ---- what there is ----

    def header(self) -> None:
        """Title, light or dark, exports."""
        with html("header"):
            html("h1", "Lockstep lab")
            html("span", "why units differentiate, or never do", classes="sub")
            with html("details", classes="exports"):
                html("summary", "Save and load")
                with html("div", classes="row"):
                    button("Copy link", self.copy_link)
                    button("JSON", self.save_json, data_do="json")
                    button("Python", self.save_script, data_do="python")
                    button("Network SVG", self.save_svg)
                    button("Network PNG", self.save_png)
                    button("Curves SVG", self.save_curves_svg)
                    button("Curves PNG", self.save_curves_png)
                    button("Load JSON", self.ask_file, data_do="load")
            self.files = Files()
            hear(self.files, "loaded", FILE, self.load)
            scheme = html("button", "Light / dark", type="button")
            hear(scheme, "click", FLAG, self.set_dark, sent=OTHER_SCHEME)

    def transport(self) -> None:
        """Play, step, back to the start, new start."""
        with html("div", classes="row transport", role="group", aria_label="Training"):
            self.play = button("Play", self.play_or_pause, data_do="play", classes="primary")
            button("Step", self.step_one, data_do="step")
            button("100 steps", self.step_hundred, data_do="hundred")
            button("Same start", self.restart, data_do="restart")
            button("New start", self.new_start, data_do="new-start")
            self.speed = choice("Updates/s", SPEEDS, "150", self.set_speed)

    def network(self) -> None:
        """Graph, plane, curves and the address."""
        self.graph = Graph()
        hear(self.graph, "weight", TEXT, self.toggle_weight)
        hear(self.graph, "unit", PLACE, self.toggle_unit_at)
        hear(self.graph, "edit", EDIT, self.edit_weight)
        hear(self.graph, "drawn", {}, self.drawn)
        with html("div", classes="row below"):
            self.plane, self.curves = Plane(), Curves()
        hear(self.plane, "sample", INDEX, lambda index: self.choose_sample(index + 1))
        self.address = Address()
        hear(self.address, "moved", TEXT, self.moved)

    def foreword(self) -> None:
        """The words of the lesson and the settings, before a worker has looked at them."""
        state, _, problem = wanted(self.search)
        self.lesson.show(lessons().get(state.lesson))
        self.settings.show(state)
        self.said(problem)

    # ---- what the session tells ----

    def opened(self, state: State, structure: dict[str, Any]) -> None:
        """Another network."""
        self.structure = structure
        lesson = lessons().get(state.lesson)
        if lesson is not self.lesson.lesson or lesson is None:
            self.lesson.show(lesson)
        self.settings.show(state)
        self.ties.structure(state.hidden)
        self.foretold("")
        shown(self.ties.dropout, checked=bool(state.dropout))
        self.why.entries([e["name"] for e in (*structure["weights"], *structure["biases"])])
        for made in (self.graph, self.plane, self.curves):
            shown(made, structure=structure)
        shown(self.graph, groups=[])
        self.said("")

    def framed(self, frame: dict[str, Any]) -> None:
        """The numbers of now. Past NiceGUI's elements: a change of one renders the whole page anew."""
        self.graph.run_method("frame", frame)

    def selected(self, selection: Selection) -> None:
        """Other weights, units or another sample."""
        chosen = {"level": selection.level, "units": list(selection.units)}
        shown(self.graph, weights=list(selection.weights), **chosen)
        shown(self.curves, **chosen)
        shown(self.plane, sample=-1 if selection.sample is None else selection.sample)
        shown(self.speed, value=str(selection.speed))
        self.why.select(selection)
        self.ties.select(selection, self.structure["units"][selection.level])
        if chosen != self.chosen:
            self.chosen = chosen
            self.foretold("")

    def explained(self, why: Mapping[str, Any] | None) -> None:
        """The chains of now; past NiceGUI's elements too, for they change while it trains."""
        self.why.show(why)
        self.graph.run_method("light", why["chains"] if why else [])

    def certified(self, badges: dict[str, Any]) -> None:
        """What is certain about the chosen units."""
        self.ties.show(badges)
        shown(self.graph, groups=badges["groups"])
        shown(self.curves, locked=badges["kind"] == "locked")

    def foretold(self, text: str) -> None:
        """How long until the chosen units are apart."""
        self.ties.ahead.set_text(text)

    def said(self, message: str) -> None:
        """Something went wrong, or nothing did."""
        self.message.set_text(message)

    def addressed(self, state: State, *, new: bool) -> None:
        """The state belongs into the address."""
        text = encoded(state, self.live.selection)
        self.address.run_method("note", f"?s={text}", new)

    def played(self, playing: bool) -> None:
        """It trains, or rests."""
        self.play.set_text("Pause" if playing else "Play")

    # ---- what the learner does ----

    @property
    def live(self) -> Session:
        """The session; there is one as soon as the browser has connected."""
        if self.session is None:
            raise UsageError("this page has not connected yet")
        return self.session

    async def connected(self) -> None:
        """The browser is there: now it is worth a worker's while."""
        if self.session is None:
            self.session = Session(self.tab, self.workers, self)
            await self.visit(self.search, new=False)

    async def visit(self, search: str, *, new: bool) -> None:
        """Shows what an address asks for."""
        state, selection, problem = wanted(search)
        await self.show(state, selection, new=new)
        if problem:
            self.said(problem)

    async def show(self, state: State, selection: Selection, *, new: bool) -> None:
        """Opens what came from outside; says so where a selected weight is none of this network's."""
        await self.live.open(state, selection, new=new)
        if lost := [w for w in selection.weights if w not in self.live.selection.weights]:
            self.said(f"There is no weight {' and no '.join(lost)} in this network.")
        lesson = lessons().get(state.lesson)
        if lesson is not None and lesson.ahead and state.start == lesson.state:
            self.live.foretell()

    async def closed(self) -> None:
        """The tab has gone."""
        if self.session is not None:
            await self.session.close()

    async def moved(self, search: str) -> None:
        """Back or forward."""
        await self.visit(str(search), new=False)

    def drawn(self, _: Any) -> None:
        """A frame is on the screen."""
        if self.session is not None:
            self.session.frame_drawn()

    async def choose_lesson(self, name: str) -> None:
        """Another lesson, or none."""
        if name in lessons():
            self.lesson.show(lessons()[name])  # at once: a second click on "Next" leads on
            state = lessons()[name].state
            selection = replace(natural(state), speed=self.live.selection.speed)
            await self.show(state, selection, new=True)
        else:
            await self.live.change(lesson="")

    async def show_me(self) -> None:
        """Trains from the start as far as the lesson says, and answers the question."""
        lesson = self.lesson.lesson
        if lesson is not None:
            state = replace(lesson.state, steps=lesson.steps)
            await self.show(state, self.live.selection, new=True)
            self.lesson.answer.set_text(lesson.answer)

    async def play_or_pause(self) -> None:
        """Trains, or rests."""
        await (self.live.pause() if self.live.playing else self.live.play())

    async def step_one(self) -> None:
        """One update."""
        await self.live.step(1)

    async def step_hundred(self) -> None:
        """A hundred."""
        await self.live.step(100)

    async def restart(self) -> None:
        """The same start again."""
        await self.live.restart()

    async def new_start(self) -> None:
        """Another random start."""
        await self.live.change(seed=lambda now: (now.seed + 1) % 1_000_000, lesson="")

    async def set_speed(self, value: str) -> None:
        """Updates a second."""
        if value in SPEEDS:
            await self.live.select(replace(self.live.selection, speed=int(value)))

    async def change(self, **fields: Any) -> None:
        """Another setting."""
        before = self.live.state
        await self.live.change(**fields)
        if self.live.state.start == before.start:
            self.settings.show(before)  # refused: the form goes back

    async def set_dropout(self, on: bool) -> None:
        """The switch beside the badge."""
        await self.change(dropout=0.2 if on else 0.0)

    async def toggle_weight(self, name: Any) -> None:
        """A click on a weight: chosen, or no longer; the third takes the place of the second."""
        now = self.live.selection.weights
        weights = tuple(w for w in now if w != name) if name in now else (*now[:1], str(name))
        await self.live.select(replace(self.live.selection, weights=weights))

    async def choose_weight(self, place: int, name: str) -> None:
        """A weight from the lists."""
        now = [*self.live.selection.weights, "", ""][:2]
        now[place] = str(name)
        await self.live.select(replace(self.live.selection, weights=tuple(w for w in now if w)))

    async def choose_sample(self, number: Any) -> None:
        """One sample (from 1), or all (0)."""
        sample = int(number) - 1
        await self.live.select(replace(self.live.selection, sample=sample if sample >= 0 else None))

    async def choose_level(self, level: Any) -> None:
        """Another hidden layer."""
        await self.live.select(replace(self.live.selection, level=int(level), units=()))

    async def toggle_unit(self, unit: int) -> None:
        """A unit of the layer, chosen or no longer."""
        now = self.live.selection.units
        units = tuple(u for u in now if u != unit) if unit in now else (*now, unit)
        await self.live.select(replace(self.live.selection, units=tuple(sorted(units))))

    async def toggle_unit_at(self, place: Any) -> None:
        """A click on a unit of any layer."""
        if place["level"] != self.live.selection.level:
            self.live.selection = replace(
                self.live.selection, level=int(place["level"]), units=(int(place["unit"]),)
            )
            await self.live.select(self.live.selection)
        else:
            await self.toggle_unit(int(place["unit"]))

    async def edit_weight(self, change: Any) -> None:
        """A number typed at a weight, or a key that changes it by so much."""
        await self.live.edit("nudge" if "by" in change else "weight", **change)

    async def tie(self, what: str, how: dict[str, Any]) -> None:
        """Units made twins, mirrors, or different."""
        now = self.live.selection
        if len(now.units) < 2:
            self.said("Choose two or more units of one layer first.")
            return
        await self.live.edit(what, level=now.level, units=list(now.units), **how)

    def set_dark(self, on: bool) -> None:
        """Dark or light, whatever the system wishes."""
        self.dark.set_value(on)

    # ---- what the learner takes away ----

    def copy_link(self) -> None:
        """The address."""
        self.files.run_method("link")

    def save_json(self) -> None:
        """The state."""
        text = as_json(self.live.state, self.live.selection)
        self.files.run_method("save", "lockstep-lab.json", text, "application/json")

    def ask_file(self) -> None:
        """A saved run is to be chosen."""
        self.files.run_method("ask")

    async def load(self, file: Any) -> None:
        """A saved run; what is none leaves everything as it is."""
        try:
            state, selection = from_json(file["text"])
        except UsageError as error:
            self.said(f"{file['name']} is not loaded: {error}.")
            return
        await self.show(state, selection, new=True)

    def save_script(self) -> None:
        """The run as Python."""
        text = export.as_script(self.live.state, self.live.paths(self.live.selection.weights))
        self.files.run_method("save", "lockstep_lab.py", text, "text/x-python")

    async def save_svg(self) -> None:
        """The network as the library draws it."""
        self.files.run_method("save", "network.svg", await self.picture(), "image/svg+xml")

    async def save_png(self) -> None:
        """The same as pixels."""
        self.files.run_method("png", "network.png", await self.picture())

    async def picture(self) -> str:
        """The network with the first chosen weight's chain."""
        chosen = self.live.selection
        weight = chosen.weights[0] if chosen.weights else None
        found: str = await self.live.ask("svg", weight=weight, sample=chosen.sample or 0)
        return found

    def save_curves_svg(self) -> None:
        """The three curves."""
        self.curves.run_method("save", "svg")

    def save_curves_png(self) -> None:
        """The same as pixels."""
        self.curves.run_method("save", "png")
