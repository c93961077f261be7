"""Locked modules, verified: whole parameters of modules that stay equal in every field.

A bare parameter that is a layer of its own counts as a module, under its own name.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lockstep.certificate.question import Question, few

if TYPE_CHECKING:
    from lockstep.certificate.retraining import Course

Members = dict[str, tuple[str, ...]]
Keys = dict[object, list[str]]


def members(subject: Any) -> Members:
    """Path → names of all parameters below it."""
    names = {id(p): name for name, p in subject.parameters.items()}
    return {
        path: own
        for path, module in subject.modules.items()
        if path and (own := tuple(names[id(p)] for p in module.parameters() if id(p) in names))
    }


def lockable(subject: Any) -> Members:
    """:func:`members`, and bare parameters as modules of their own."""
    alone = (place.name for place in subject.places if place.source == "parameter")
    return members(subject) | {name: (name,) for name in alone if name in subject.parameters}


def gradients_agree(subject: Any, gradients: Mapping[str, Any]) -> bool:
    """Whether two modules of one class hold the same values and got the same gradients in one pass."""
    own = lockable(subject)
    for paths in _copies(subject, own):
        points = {name: gradients[name].residues() for path in paths for name in own[path]}
        keys = {own[path]: tuple(map(_label, map(points.get, own[path]))) for path in paths}
        if len(set(keys.values())) < len(keys):
            return True
    return False


def parting(subject: Any, course: Course) -> set[str]:
    """The first of each group of copies that compute one function now, side by side, and will separate.

    Copies hold the same values, not all of them constant; of locked ones, one stands for all.
    """
    own = members(subject)
    ends = _alike(subject, own, course.points) if course.points else {}
    label = {path: number for number, paths in enumerate(ends.values()) for path in paths}
    groups = [
        paths
        for paths in _copies(subject, own)
        if any(_varied(subject.parameters[name]) for name in own[paths[0]])
    ]
    outer = [g for g in groups if not any(_all_inside(g, other) for other in groups)]
    found = set()
    for paths in outer:
        alive = [
            p for p in paths if any(bool(course.read[n].any()) for n in own[p] if n in course.read)
        ]
        moving = {p: any(_moves(course, name) for name in own[p]) for p in alive}
        one_each = {label.get(p, p) if moving[p] else p: p for p in reversed(alive)}
        kept = [p for p in alive if p in one_each.values()]
        if len(kept) > 1 and _same_units(kept, course):
            found.add(kept[0])
    return found


def _copies(subject: Any, own: Members) -> list[list[str]]:
    """Paths of modules of one class with the same values, each set of parameters once."""
    values = {name: p.detach().cpu() for name, p in subject.parameters.items()}
    groups = [
        list({own[path]: path for path in reversed(paths)}.values())[::-1]
        for paths in _alike(subject, own, [values]).values()
    ]
    return [paths for paths in groups if len(paths) > 1]


def invented_copies(question: Question, subject: Any) -> Iterator[str]:
    """LS007 of modules that no other module equals."""
    claimed = [finding.where for finding in question.claim.findings if finding.code == "LS007"]
    if not claimed:
        return
    own = members(subject)
    values = {name: p.detach().cpu() for name, p in subject.parameters.items()}
    groups = _alike(subject, own, [values]).values()
    copied = {path for paths in groups if len({own[p] for p in paths}) > 1 for path in paths}
    for where in claimed:
        if where not in copied:
            yield f"findings: LS007 of {where}: no module of this model starts equal to it"


def _all_inside(group: list[str], other: list[str]) -> bool:
    return group is not other and all(_inside(path, tuple(other)) for path in group)


def _same_units(paths: list[str], course: Course) -> bool:
    """Whether the units below these modules look the same in every field as initialised."""
    units = course.units[0]
    columns = []
    for path in paths:
        inside = (path + ".", path + "/", path + "[")
        below = [units[name] for name in units if name == path or name.startswith(inside)]
        columns.append(below)
    first, *others = columns
    return bool(first) and all(
        len(first) == len(other) and all(map(torch.equal, first, other)) for other in others
    )


def _varied(p: Tensor) -> bool:
    flat = p.reshape(-1)
    return len(flat) > 1 and bool((flat != flat[0]).any())


def _alike(subject: Any, own: Members, points: list[Any]) -> Keys:
    """Paths of modules of one class whose parameters are equal at every one of ``points``."""
    label = {name: tuple(_label(point[name]) for point in points) for name in subject.parameters}
    found: Keys = {}
    for path, names in own.items():
        kind = type(subject.modules.get(path))  # None: a parameter
        found.setdefault((kind, tuple(label[n] for n in names)), []).append(path)
    return found


def _label(t: Tensor | None) -> tuple[object, ...]:
    if t is None:
        return ()
    flat = (t + 0).contiguous()  # adding 0 turns -0.0 into 0.0, which it equals
    size = flat.numel() * flat.element_size()
    # Read in place: NumPy is no dependency, and a copy of a large model is not wanted.
    raw = (ctypes.c_char * size).from_address(flat.data_ptr()) if size else b""
    return tuple(t.shape), t.dtype, hashlib.sha256(raw).digest()


def module_refutations(question: Question, subject: Any, course: Course) -> Iterator[str]:
    """Claimed twins that come apart, and twins that are not claimed."""
    own = lockable(subject)
    groups = [g.where for g in question.claim.locked if not isinstance(g.where, str)]
    # Equal ends exist only where there was a course to the end; a glance sees everything apart.
    alike = _alike(subject, own, course.points) if course.points else {}
    twins = [
        paths
        for paths in alike.values()
        if len(paths) > 1 and any(_moves(course, name) for name in own[paths[0]])
    ]
    yield from _claimed(groups, own, twins)
    reported: list[tuple[str, ...]] = []
    for paths in twins:
        distinct = tuple({own[path]: path for path in reversed(paths)}.values())[::-1]
        known = [*groups, *reported]
        if len(distinct) > 1 and not any(all(_inside(p, g) for p in distinct) for g in known):
            reported.append(distinct)
            yield f"locked: hides twin modules: {few(distinct)} stay equal for ever"


def _claimed(
    groups: list[tuple[str, ...]], own: Mapping[str, Any], twins: list[list[str]]
) -> Iterator[str]:
    for paths in groups:
        if strangers := [path for path in paths if path not in own]:
            yield f"locked/module: another model: it has no module {few(strangers)} with parameters"
            continue
        for path in paths[1:]:
            if own[path] == own[paths[0]]:
                yield f"locked/module: {paths[0]} and {path} share their parameters: one module"
            elif not any(path in group and paths[0] in group for group in twins):
                yield f"locked/module: {paths[0]} and {path} are claimed to stay equal, but differ"


def _moves(course: Course, name: str) -> bool:
    return name in course.still and not bool(course.still[name].all())


def _inside(path: str, group: tuple[str, ...]) -> bool:
    return any(path == member or path.startswith(member + ".") for member in group)
