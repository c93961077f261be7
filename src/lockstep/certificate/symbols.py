"""Third defence: is the claim still true over primes and symbols that it has not seen?

"Equal" and "zero" are verified over three other fields. "Different" and "not zero" need no luck: one
field that shows a difference proves it. So the claim is refuted in both directions: ties that do not
hold, and ties that it hides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lockstep.certificate.consistent import forward_twins
from lockstep.certificate.modules import invented_copies, module_refutations, parting
from lockstep.certificate.question import TIES, Question, few
from lockstep.certificate.retraining import Course, Retraining
from lockstep.types import Classes, Direction, Frozen, Layer


def refutations(question: Question, subject: Any, fields: list[Any]) -> list[str]:
    """Every statement of the claim that another symbolic training contradicts."""
    from lockstep.symbolic.passes import Example

    claim = question.claim
    example = Example(question.inputs, question.targets, question.loss, claim.assumptions.data)
    plan = question.plan(subject.parameters)
    training = Retraining(subject, example, plan, fields)
    course = (None if question.claims_ties else training.glance()) or training.run()
    alone = _unread_units(subject, course)
    found = [
        *_layers(question, course, alone),
        *_frozen(question, course),
        *module_refutations(question, subject, course),
        *invented_copies(question, subject),
        *_unread(question, course),
        *_forward_twins(question, course, parting(subject, course)),
    ]
    if any(group.kind in TIES for group in claim.locked) and plan.update == "additive":
        strict = Retraining(subject, example, dataclasses.replace(plan, update="any"), fields)
        found += _grades(question, strict.run())
    if tuple(course.noisy) != claim.assumptions.noise:
        found.append(
            f"assumptions/noise: the model draws noise in {few(course.noisy) or 'no module'}, the "
            f"certificate lists {few(claim.assumptions.noise) or 'none'}"
        )
    elif course.noisy:
        quiet = Retraining(subject, example, plan, fields, quiet=True)
        found += _saved(question, quiet.run(), alone)
    if claim.evidence.degree < course.degree:
        found.append(f"evidence/degree: says {claim.evidence.degree}, a pass has {course.degree}")
    return found


def partition(prints: Tensor, alone: set[int] = frozenset()) -> Classes:  # type: ignore[assignment]
    """Units with equal fingerprints in every lane; units of ``alone`` by themselves."""
    together: dict[tuple[int, ...], list[int]] = {}
    for unit, column in enumerate(prints.t().tolist()):
        key = (unit,) if unit in alone else (*column, -1)
        together.setdefault(key, []).append(unit)
    return tuple(sorted(map(tuple, together.values())))


def _layers(question: Question, course: Course, alone: dict[str, set[int]]) -> Iterator[str]:
    claim, seen = question.claim, course.units[-1]
    steps = [name for name in seen if all(name in units for units in course.units)]
    for name in steps:
        if name not in claim.layers:
            yield f"layers/{name}: exists, and is missing from the certificate"
    for name, layer in claim.layers.items():
        if name not in steps or seen[name].shape[1] != layer.width:
            yield f"layers/{name}: this model shows no such layer of {layer.width} units"
            continue
        unread = alone.get(name, set())
        if set(layer.unread) != unread:
            yield (
                f"layers/{name}/unread: says that the example never reaches units {few(layer.unread) or 'none'}; "
                f"it never reaches {few(sorted(unread)) or 'none'}"
            )
        yield from _classes(layer, course, unread)
        yield from _mirrors(question, layer, seen[name])
        yield from _history(layer, course, unread)


def _classes(layer: Layer, course: Course, alone: set[int]) -> Iterator[str]:
    found = partition(course.units[-1][layer.name], alone)
    label = {unit: members for members in found for unit in members}
    for members in layer.classes:
        parts = {label.get(unit) for unit in members}
        if len(parts) > 1:
            yield (
                f"layers/{layer.name}: units {few(members)} are claimed to stay equal, but differ "
                f"(symbolic step {_first(layer.name, members, course)})"
            )
    claimed = {unit: members for members in layer.classes for unit in members}
    for members in found:
        if len({claimed.get(unit) for unit in members}) > 1:
            yield f"layers/{layer.name}: hides a lock: units {few(members)} can never differentiate"


def _first(name: str, members: tuple[int, ...], course: Course) -> int:
    apart = (
        step
        for step, units in enumerate(course.units)
        if len(torch.unique(units[name][:, list(members)], dim=1).t()) > 1
    )
    return next(apart)


def _mirrors(question: Question, layer: Layer, prints: Tensor) -> Iterator[str]:
    columns = [tuple(column) for column in prints.t().tolist()]
    groups = [g for g in question.claim.locked if g.kind == "mirror" and g.where == layer.name]
    sided: dict[int, set[int]] = {}
    for group in groups:
        sides = dict(zip(group.units, group.signs, strict=False))
        signed = {
            tuple(sign * v for v in columns[unit])
            for unit, sign in sides.items()
            if unit < layer.width
        }
        if len(signed) > 1 or not any(map(any, signed)):
            yield f"locked/{group}: these units are not each other's negative"
        for unit in sides:
            sided.setdefault(unit, set()).update(group.units)
    first = {column: unit for unit, column in reversed(list(enumerate(columns)))}
    for column, unit in first.items():
        other = first.get(tuple(-v for v in column))
        if other is not None and unit < other and other not in sided.get(unit, ()):
            yield f"layers/{layer.name}: hides a mirror lock: units {unit} and {other} stay opposite"


def _history(layer: Layer, course: Course, alone: set[int]) -> Iterator[str]:
    """The steps at which units parted, which ``reason()`` reports: refinements, the start included."""
    retold: list[tuple[int, Direction, Classes]] = []
    joint = torch.zeros(0, layer.width, dtype=torch.int64)
    for step, units in enumerate(course.units):
        moves = course.gradients[step].get(layer.name) if step < len(course.gradients) else None
        seen: list[tuple[int, Direction, Tensor | None]] = [
            (step, "forward", units[layer.name]),
            (step + 1, "backward", moves),
        ]
        for when, direction, prints in seen:
            if prints is None:
                continue
            classes = partition(torch.cat([joint, prints]), alone)
            joint = _labels(classes, layer.width)
            if not retold or classes != retold[-1][2]:
                retold.append((when, direction, classes))
    same = [(s, d) for s, d, _ in layer.history] == [(s, d) for s, d, _ in retold]
    if same:
        for (when, direction, told_), (_, _, seen_) in zip(layer.history, retold, strict=True):
            if told_ != seen_:
                yield (
                    f"layers/{layer.name}/history: at {when} {direction} it ties "
                    f"{_ties(told_)}; equal there are {_ties(seen_)}"
                )
    else:
        told = few(f"{step} {direction}" for step, direction, _ in layer.history) or "none"
        part = few(f"{step} {direction}" for step, direction, _ in retold)
        yield f"layers/{layer.name}/history: it tells of steps {told}; units part at {part}"


def _ties(classes: Classes) -> str:
    return few(f"({few(c)})" for c in classes if len(c) > 1) or "none"


def _labels(classes: Classes, width: int) -> Tensor:
    """(1, U): the number of each unit's class."""
    labels = torch.zeros(1, width, dtype=torch.int64)
    for number, members in enumerate(classes):
        labels[0, list(members)] = number
    return labels


def _frozen(question: Question, course: Course) -> Iterator[str]:
    claimed = {frozen.parameter: frozen for frozen in question.claim.frozen}
    for name in course.still:
        own = [tuple(index) for index in course.frozen(name).tolist()]
        given = claimed.get(name, Frozen(name, 0, 0))
        if moving := sorted(set(given.indices) - set(own)):
            yield f"frozen/{name}: {few(moving)} do move: their gradient is not zero"
        if len(own) > given.count or set(own[: Frozen.SHOWN]) - set(given.indices):
            hidden = sorted(set(own[: Frozen.SHOWN]) - set(given.indices))
            yield f"frozen/{name}: hides frozen entries: {few(hidden) or len(own) - given.count}"
        elif not moving and len(own) < given.count:
            yield f"frozen/{name}: {given.count} entries are claimed frozen, {len(own)} are"
    for name in sorted(set(claimed) - set(course.still)):
        yield f"frozen/{name}: no optimizer moves it, or it does not exist"


def _unread(question: Question, course: Course) -> Iterator[str]:
    own = {name for name, read in course.read.items() if not bool(read.all())}
    claimed = {finding.where for finding in question.claim.findings if finding.code == "LS009"}
    if (
        own != claimed and not course.chose
    ):  # what a top k picks is another thing over other symbols
        yield (
            f"findings: LS009 names {few(sorted(claimed)) or 'nothing'}; the example leaves "
            f"{few(sorted(own)) or 'nothing'} unread"
        )


def _forward_twins(question: Question, course: Course, modules: set[str]) -> Iterator[str]:
    """LS006 for every layer whose units are seen to part, and for ``modules``. Equal gains are no forward twins."""
    claimed = {finding.where for finding in question.claim.findings if finding.code == "LS006"}
    layers = set(forward_twins(question.claim)) - course.unseen
    own = layers | modules
    if set(question.claim.because) != layers:
        said = few(sorted(question.claim.because)) or "nothing"
        yield f"because: explains {said}; units part in {few(sorted(layers)) or 'no layer'}"
    if own != claimed:
        yield (
            f"findings: LS006 names {few(sorted(claimed)) or 'nothing'}; units that are equal now and "
            f"will part are in {few(sorted(own)) or 'no layer'}"
        )


def _grades(question: Question, strict: Course) -> Iterator[str]:
    """What is tied under an additive update is a twin only if it is tied under any."""
    for name in question.claim.layers:
        if name not in strict.units[-1]:
            continue
        twins = {c for c in partition(strict.units[-1][name]) if len(c) > 1}
        for group in question.claim.locked:
            if group.where != name or group.kind not in TIES:
                continue
            if (group.units in twins) != (group.kind == "twin"):
                truth = "twin" if group.units in twins else "balanced at most"
                yield f"locked/{group}: the kind is wrong: under any update these units are {truth}"
        listed = {g.units for g in question.claim.locked if g.where == name and g.kind == "twin"}
        for members in sorted(twins - listed):
            yield f"layers/{name}: hides twins: units {few(members)} stay equal under any update"


def _saved(question: Question, quiet: Course, alone: dict[str, set[int]]) -> Iterator[str]:
    """LS008: classes that exist without the noise only."""
    own = {
        name
        for name, layer in question.claim.layers.items()
        if name in quiet.units[-1]
        for members in partition(quiet.units[-1][name], alone.get(name, set()))
        if len(members) > 1 and members not in layer.classes
    }
    claimed = {finding.where for finding in question.claim.findings if finding.code == "LS008"}
    if own != claimed:
        yield (
            f"findings: LS008 names {few(sorted(claimed)) or 'nothing'}; noise alone separates units of "
            f"{few(sorted(own)) or 'no layer'}"
        )


def _unread_units(subject: Any, course: Course) -> dict[str, set[int]]:
    """Units none of whose parameters the example reaches: nothing is said about them."""
    found = {}
    for place in subject.places:
        if place.slices and place.source not in ("hidden", "projection"):
            dark = [_dark(course.read.get(name), axis) for name, axis in place.slices]
            found[place.name] = set.intersection(*dark)
    return found


def _dark(read: Tensor | None, axis: int) -> set[int]:
    if read is None or not read.dim():
        return set()
    lit = read.movedim(axis, 0).reshape(read.shape[axis], -1).any(1)
    return set((~lit).nonzero().view(-1).tolist())
