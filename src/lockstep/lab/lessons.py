"""The lessons: starts with commentary, a question and its answer, in the order in which they teach. Data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from lockstep.lab.state import State, read


@dataclass(frozen=True)
class Lesson:
    """``steps`` is how far "show me" trains, ``verdict`` the kind of badge that the start gets.

    ``ahead`` asks for the forecast of when the units are apart.
    """

    id: str
    title: str
    commentary: str
    question: str
    answer: str
    state: State
    weights: tuple[str, ...]
    steps: int
    verdict: str
    ahead: bool


@cache
def lessons() -> Mapping[str, Lesson]:
    """Lessons by id, in their order.

    >>> next(iter(lessons()))
    'random'
    """
    listed = json.loads(files("lockstep.lab").joinpath("lessons.json").read_text("utf-8"))
    made = [
        Lesson(
            id=entry["id"],
            title=entry["title"],
            commentary=entry["commentary"],
            question=entry["question"],
            answer=entry["answer"],
            state=read({**entry["state"], "lesson": entry["id"]}),
            weights=tuple(entry["weights"]),
            steps=entry["show"]["steps"],
            verdict=entry["show"]["verdict"],
            ahead=entry["show"].get("ahead", False),
        )
        for entry in listed
    ]
    return MappingProxyType({lesson.id: lesson for lesson in made})
