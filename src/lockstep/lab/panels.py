"""The panels of words: lesson, why, ties. Each shows what it is told; nothing is worked out here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from lockstep.lab.components import Chains
from lockstep.lab.controls import button, choice, html, listed, number, shown, switch
from lockstep.lab.hearing import Handler
from lockstep.lab.lessons import Lesson, lessons
from lockstep.lab.settings import MOST_UNITS
from lockstep.lab.state import Selection

Click = Callable[[], Awaitable[None]]
NONE = "–"


class LessonPanel:
    """The text of a lesson, its question, and the button that answers it."""

    def __init__(self, choose: Handler, show_me: Click) -> None:
        titles = {
            "": "free play",
            **{lesson.id: f"{n}. {lesson.title}" for n, lesson in enumerate(lessons().values(), 1)},
        }
        with html("section", classes="panel lesson", aria_label="Lesson"):
            with html("div", classes="row"):
                self.choice = choice("Lesson", titles, "", choose)
                self.next = button("Next lesson", lambda: choose(self.after()))
            self.commentary = html("p")
            self.question = html("p", classes="question")
            self.show_me = button("Show me", show_me, data_do="show-me", classes="primary")
            self.answer = html("p", classes="answer", role="status")
        self.lesson: Lesson | None = None

    def after(self) -> str:
        """The lesson that follows."""
        ids = list(lessons())
        return ids[(ids.index(self.lesson.id) + 1) % len(ids)] if self.lesson else ids[0]

    def show(self, lesson: Lesson | None) -> None:
        """Another lesson, or none; its answer is hidden."""
        self.lesson = lesson
        shown(self.choice, value=lesson.id if lesson else "")
        self.commentary.set_text(
            lesson.commentary
            if lesson
            else "Choose a lesson, or build a network, click a weight to see its gradient, a second one to compare."
        )
        self.question.set_text(lesson.question if lesson else "")
        self.answer.set_text("")
        shown(self.show_me, hidden=lesson is None)


class WhyPanel:
    """One chain as a table, or two side by side with the factor that differs lit."""

    def __init__(
        self,
        select: Callable[[int, str], Awaitable[None]],
        sample: Callable[[Any], Awaitable[None]],
    ) -> None:
        self.names: list[str] = []
        with html("section", classes="panel why", aria_label="Why"):
            html("h2", "Why")
            with html("div", classes="row"):
                self.first = choice("gradient of", {}, "", lambda name: select(0, name))
                self.second = choice("compared with", {}, "", lambda name: select(1, name))
                self.sample = number("sample (0: all)", 0, sample, low=0, high=500)
            self.chains = Chains()

    def entries(self, names: list[str]) -> None:
        """The weights there are."""
        if names == self.names:
            return
        self.names = names
        options = {"": NONE, **{name: name for name in names}}
        for made in (self.first, self.second):
            made.clear()
            with made:
                listed(options)

    def select(self, selection: Selection) -> None:
        """What is chosen."""
        first, second = (*selection.weights, "", "")[:2]
        shown(self.first, value=first)
        shown(self.second, value=second)
        shown(self.sample, value=0 if selection.sample is None else selection.sample + 1)

    def show(self, why: Mapping[str, Any] | None) -> None:
        """A chain, two, or nothing."""
        self.chains.run_method("show", why)


class TiePanel:
    """Which units are meant, what the certificate says of them, and the buttons that tie and untie."""

    def __init__(
        self,
        toggle: Callable[[int], Awaitable[None]],
        level: Handler,
        act: Callable[[str, dict[str, Any]], Awaitable[None]],
        dropout: Handler,
        foretell: Callable[[], None],
    ) -> None:
        with html("section", classes="panel ties", aria_label="Tie and untie"):
            html("h2", "Tie and untie")
            self.badge = html("p", classes="badge", role="status", data_badge="")
            self.statement = html("p", classes="statement")
            with html("div", classes="row"):
                self.level = choice("layer", {}, "1", level)
                with html("div", classes="row", role="group", aria_label="Units"):
                    self.units = [button("", partial(toggle, unit)) for unit in range(MOST_UNITS)]
            with html("div", classes="row"):
                both = {"incoming": True, "outgoing": True}
                button("Tie both", lambda: act("twins", both), data_do="tie-both")
                button(
                    "Tie incoming",
                    lambda: act("twins", {**both, "outgoing": False}),
                    data_do="tie-incoming",
                )
                button(
                    "Tie outgoing",
                    lambda: act("twins", {**both, "incoming": False}),
                    data_do="tie-outgoing",
                )
                button("Mirror", lambda: act("mirror", {}), data_do="mirror")
                button("Untie", lambda: act("untie", {}), data_do="untie")
            with html("div", classes="row"):
                button("How long?", foretell, data_do="ahead")
                self.dropout = switch("dropout 0.2", False, dropout)
            self.ahead = html("p", classes="statement ahead", role="status")
            with html("details"):
                html("summary", "Certificate")
                self.certificate = html("div")

    def structure(self, hidden: tuple[int, ...]) -> None:
        """The layers there are."""
        self.level.clear()
        with self.level:
            listed({str(n): f"hidden layer {n}" for n in range(1, len(hidden) + 1)})

    def select(self, selection: Selection, names: list[str]) -> None:
        """The chosen units among those of the layer."""
        shown(self.level, value=str(selection.level))
        for unit, made in enumerate(self.units):
            pressed = unit in selection.units
            made.set_text(names[unit] if unit < len(names) else "")
            shown(made, hidden=unit >= len(names), aria_pressed="true" if pressed else "false")

    def show(self, badges: Mapping[str, Any]) -> None:
        """The badge and the certificate behind it."""
        self.badge.set_text(badges["text"])
        shown(self.badge, data_badge=badges["kind"])
        self.statement.set_text(badges["statement"])
        self.certificate.clear()
        with self.certificate:
            for n, width in enumerate(badges["widths"], 1):
                html("p", f"Hidden layer {n}: effective width {width}.")
            for finding in badges["findings"]:
                html("p", finding)
            html("p", badges["evidence"])
