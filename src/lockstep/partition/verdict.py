"""A trace (and, for balanced locks, a second one) → layers, locked groups, frozen entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..symbolic.places import Place
from ..symbolic.subject import Subject
from ..symbolic.training import Trace
from ..types import Classes, Frozen, Group, Layer
from .classes import layer_of, mirrored, shared, singletons
from .frozen import frozen_entries, unread, unread_units
from .modules import Names, equal_for_ever


@dataclass(frozen=True)
class Verdict:
    """What one course of symbolic training decides."""

    layers: dict[str, Layer]
    locked: tuple[Group, ...]
    frozen: tuple[Frozen, ...]
    unread: dict[str, tuple[int, int]]


def verdict(
    subject: Subject,
    places: Sequence[Place],
    trace: Trace,
    names: Names,
    stricter: Trace | None = None,
) -> Verdict:
    """``stricter`` is the trace under any update, against which classes of an additive one are graded."""
    layers = _layers(places, trace)
    fine = _layers(places, stricter) if stricter is not None else layers
    tied = layers.items() if trace.ties else ()
    locked = [g for name, layer in tied for g in _groups(layer, fine[name], trace)]
    if trace.labels:
        groups = equal_for_ever(subject.modules, names, trace.labels, trace.moves)
        locked += [Group("module", paths, tuple(range(len(paths)))) for paths in groups]
    return Verdict(layers, tuple(locked), frozen_entries(trace), unread(trace))


def _layers(places: Sequence[Place], trace: Trace) -> dict[str, Layer]:
    alone = _alone(places, trace)
    out: dict[str, Layer] = {}
    for name in _ordered(trace):
        if not trace.ties:
            width = trace.forward[0][name].shape[-1]
            each = singletons(width)
            missed = tuple(sorted(alone.get(name, ())))
            out[name] = Layer(name, width, each, ((0, "forward", each),), missed)
            continue
        forward = [step[name] for step in trace.forward]
        backward = [step.get(name) for step in trace.backward]
        out[name] = layer_of(name, forward, backward, alone.get(name, set()))
    return out


def _ordered(trace: Trace) -> list[str]:
    """Model order; heads right behind the value projection of their module, or at the end."""
    return [n for n in trace.first.units if all(n in step for step in trace.forward)]


def _alone(places: Sequence[Place], trace: Trace) -> dict[str, set[int]]:
    """Layer → units none of whose parameters was read; layers that have such units only."""
    out: dict[str, set[int]] = {}
    for place in places:
        if not place.slices or place.source in ("hidden", "projection"):
            continue
        missed = (unread_units(trace.seen.get(name), axis) for name, axis in place.slices)
        if units := set(range(place.width)).intersection(*missed):
            out[place.name] = units
    return out


def _groups(layer: Layer, fine: Layer, trace: Trace) -> list[Group]:
    twins = set(shared(fine.classes, fine.width))
    out = [Group("twin", layer.name, c) for c in sorted(twins)]
    wider = shared(layer.classes, layer.width)
    out += [Group("balanced", layer.name, c) for c in wider if c not in twins]
    for one, other in mirrored(trace.forward[-1][layer.name]):
        units = tuple(sorted(one + other))
        out.append(Group("mirror", layer.name, units, tuple(1 if u in one else -1 for u in units)))
    return out


def locked_classes(layers: Mapping[str, Layer]) -> dict[str, Classes]:
    """Layer → its classes of two and more."""
    found = {n: shared(layer.classes, layer.width) for n, layer in layers.items()}
    return {n: c for n, c in found.items() if c}
