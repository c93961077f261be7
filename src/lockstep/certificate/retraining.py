"""Symbolic training again, over other primes: the checker's own loop around single passes.

It shares the field, the op rules and the pass with the engine, not the loop that decides when to stop,
nor anything that draws conclusions. A pattern counts as fixed when two successive *generic* points agree;
the values as initialised are no generic point: a balanced net whose weights are all distinct has the
finest pattern from the start, and still separates (tests/attacks).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lockstep.certificate.modules import gradients_agree
from lockstep.errors import UndecidedError

STEPS = 200
LOOKS = 4
Point = dict[str, Tensor]


@dataclass
class Course:
    """``units[t]`` and ``gradients[t]``: layer → (lanes, U) fingerprints after ``t`` updates; ``points``:
    the parameters of each lane at the end; ``still`` and ``read``: parameter → boolean entries."""

    units: list[dict[str, Tensor]] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    still: dict[str, Tensor] = field(default_factory=dict)
    read: dict[str, Tensor] = field(default_factory=dict)
    noisy: dict[str, None] = field(default_factory=dict)
    unseen: frozenset[str] = frozenset()  # gains and biases, known by their entries alone
    chose: bool = False  # did a top k or its kin choose? then symbols decide what is exercised
    degree: int = 1

    def frozen(self, name: str) -> Tensor:
        """(count, dim) indices of entries that were read and never got a gradient."""
        return (self.still[name] & self.read[name]).nonzero()


class Retraining:
    """One subject under one plan, over ``fields``."""

    def __init__(
        self, subject: Any, example: Any, plan: Any, fields: list[Any], quiet: bool = False
    ) -> None:
        self.subject, self.example, self.plan = subject, example, plan
        self.fields, self.quiet, self.where = fields, quiet, list(subject.places)
        self.keeps = False  # a state from call to call

    def glance(self) -> Course | None:
        """One pass over one field, if it already shows everything apart and everything in motion."""
        course = Course()
        units, gradients = self._pass(course, 0, 0, self._embedded(self.fields[0]))
        course.units.append({name: prints[None] for name, prints in units.items()})
        tied = any(len(prints.abs().unique()) < len(prints) for prints in units.values())
        tied = tied or gradients_agree(self.subject, gradients)
        return None if tied or any(len(course.frozen(name)) for name in course.still) else course

    def run(self) -> Course:
        """Up to the fixed pattern."""
        from lockstep.symbolic.colours import Step, initial

        course = Course(points=[self._embedded(f) for f in self.fields])
        colours = initial(self.subject.parameters, self.plan)
        for step in range(STEPS):
            fold, seen = Step(colours, self.plan), []
            for lane in range(len(self.fields)):
                units, gradients = self._pass(course, lane, step, course.points[lane])
                fold.fold(lane, gradients)
                seen.append((units, self._slices(lane, gradients)))
            course.units.append(_stacked([units for units, _ in seen]))
            course.gradients.append(_stacked([moves for _, moves in seen]))
            moved = fold.colours()
            if step and _pattern(moved) == _pattern(colours):
                self._leave_unreached(course)
                return course
            colours = moved
            course.points = [
                self._moved(f, point, colours)
                for f, point in zip(self.fields, course.points, strict=True)
            ]
        raise UndecidedError(f"the pattern had not settled after {STEPS} symbolic steps")

    def _leave_unreached(self, course: Course) -> None:
        """Still entries from which no path leads on this example count as unread (``symbolic/reached.py``)."""
        f, point = self.fields[0], course.points[0]
        dark = {name: course.still[name] & course.read[name] for name in course.still}
        for look in range(1, LOOKS + 1):
            dark = {name: entries for name, entries in dark.items() if bool(entries.any())}
            if not dark:
                return
            choices: list[Tensor] = []
            self._pass(course, 0, len(course.units), point, sample=look, choices=choices)
            generator = torch.Generator().manual_seed(look)
            generic = {name: f.symbols(p.shape, generator) for name, p in point.items()}
            one = self._run(
                0, len(course.units), generic, sample=look, choices=choices, shaken=True
            )
            for name in dark:
                g = one.gradients[name].residues()
                dark[name] &= g is not None and g == 0
        for name, entries in dark.items():
            course.read[name] = course.read[name] & ~(entries & course.still[name])

    def _embedded(self, f: Any) -> Point:
        return {name: f.embed(p) for name, p in self.subject.parameters.items()}

    def _moved(self, f: Any, point: Point, colours: dict[str, Tensor]) -> Point:
        """``H(g, theta)``: drawn from the colours; additive: ``s * theta + H(g)``."""
        from lockstep.field.mixing import stable_key

        new = dict(point)
        for name, colour in colours.items():
            draw = f.draw(colour, stable_key("checked theta", f.seed))
            if self.plan.update == "additive":
                decay = torch.tensor([stable_key("checked decay", self.plan.keys[name])])
                draw = f.add(f.scale(point[name], int(f.draw(decay, f.seed))), draw)
            new[name] = draw
        return new

    def _run(self, lane: int, step: int, point: Point, **settings: Any) -> Any:
        from lockstep.symbolic.memory import WARM_UP
        from lockstep.symbolic.passes import drawn, run_pass

        moving = frozenset(self.plan.keys)
        return run_pass(
            self.subject,
            self.example,
            self.where,
            drawn(point),
            self.fields[lane],
            step=step,
            moving=moving,
            quiet_noise=self.quiet,
            calls=min(step, WARM_UP) if self.keeps else 0,
            **settings,
        )

    def _pass(
        self, course: Course, lane: int, step: int, point: Point, **settings: Any
    ) -> tuple[Point, dict[str, Any]]:
        choices = settings.setdefault("choices", [])
        one = self._run(lane, step, point, **settings)
        self.keeps = self.keeps or bool(one.kept)
        course.degree = max(course.degree, one.degree)
        course.noisy.update(dict.fromkeys(one.noisy))
        course.unseen, course.chose = one.unseen, course.chose or bool(choices)
        for name in self.plan.keys:
            g, seen = one.gradients[name].residues(), one.read[name]
            all_of = torch.ones(self.subject.parameters[name].shape, dtype=torch.bool)
            still = all_of if g is None else g.reshape(all_of.shape) == 0
            read = all_of if seen is None else seen
            course.still[name] = still & course.still.get(name, all_of)
            course.read[name] = read | course.read.get(name, ~all_of)
        return one.units, one.gradients

    def _slices(self, lane: int, gradients: dict[str, Any]) -> dict[str, Tensor]:
        """Layer → fingerprints of the gradients of its units' own parameters."""
        from lockstep.symbolic.records import slices_print

        values = {name: gradients[name].residues() for name in gradients}
        return {
            place.name: slices_print(self.fields[lane], values, place.slices, place.width)
            for place in self.where
            if place.slices and place.source != "projection"
        }


def _stacked(lanes: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    names = [name for name in lanes[0] if all(name in lane for lane in lanes)]
    return {name: torch.stack([lane[name] for lane in lanes]) for name in names}


def _pattern(colours: dict[str, Tensor]) -> tuple[int, int]:
    """Patterns only refine, so two of one course are the same when these two counts are."""
    flat = torch.cat([colour.reshape(-1) for colour in colours.values()] or [torch.zeros(0)])
    return len(flat.abs().unique()), int((flat == 0).sum())
