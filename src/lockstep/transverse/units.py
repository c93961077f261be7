"""Which entries of the parameters belong to a unit: its incoming weights and biases, position by position.

What is read *of* a unit is not listed: where it lies nothing in PyTorch says, and the engine finds it (two
units that compute the same have outgoing weights with the same gradient).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..suggest import closest_first
from ..symbolic.places import Place
from ..symbolic.subject import Subject
from ..types import Group

Slices = list[list[tuple[str, Tensor]]]
"""For each unit, ``(parameter, flat indices)``; the k-th index of one unit corresponds to the k-th of another."""


def slices_of(subject: Subject, group: Group) -> Slices:
    """The own entries of each unit (or module) of ``group``; empty lists where none are known."""
    if not isinstance(group.where, str):
        return [_module(subject, group.where[unit]) for unit in group.units]
    place = next((p for p in subject.places if p.name == group.where), None)
    if place is not None:
        return _of_place(subject.parameters, place, group.units)
    if group.where.endswith("[heads]"):
        return _heads(subject, group)
    return [[] for _ in group.units]


def checked(subject: Subject, where: str, units: Sequence[int]) -> Group:
    """``(layer, units)`` as a group of twins, or an error that lists the layers there are."""
    widths = {p.name: p.width for p in subject.places}
    heads = {
        f"{path}[heads]" if path else "[heads]": module.num_heads
        for path, module in subject.modules.items()
        if isinstance(module, nn.MultiheadAttention)
    }
    widths |= heads
    if where not in widths:
        raise UsageError(
            f"groups: there is no layer {where!r}; the model has {closest_first(where, widths, 20)}"
        )
    chosen = tuple(sorted({int(u) for u in units}))
    if len(chosen) < 2 or not all(0 <= u < widths[where] for u in chosen):
        raise UsageError(
            f"groups: units {list(units)} of {where!r} make no group: it has units 0 to "
            f"{widths[where] - 1}, and at least two different ones are needed"
        )
    return Group("twin", where, chosen)


def _of_place(
    parameters: Mapping[str, Tensor], place: Place, units: Sequence[int]
) -> list[list[tuple[str, Tensor]]]:
    out: Slices = [[] for _ in units]
    for name, axis in place.slices:
        shape = parameters[name].shape
        index = torch.arange(shape.numel()).view(shape)
        if place.rows != (0, 0):
            index = index[place.rows[0] : place.rows[1]]
        index = index.flatten(axis, min(axis + place.span, index.dim()) - 1).movedim(axis, 0)
        if index.shape[0] % place.width:
            continue
        blocks = index.shape[0] // place.width  # gates of an RNN are stacked blocks of rows
        rows = index.reshape(blocks, place.width, -1)
        for own, unit in zip(out, units, strict=True):
            own.append((name, rows[:, unit].reshape(-1)))
    return out


def _module(subject: Subject, path: str) -> list[tuple[str, Tensor]]:
    canonical = {id(p): n for n, p in subject.parameters.items()}
    bare = path not in subject.modules  # a parameter that is a layer of its own
    own = [subject.parameters[path]] if bare else subject.modules[path].parameters()
    names = [canonical[id(p)] for p in own if id(p) in canonical]
    return [(name, torch.arange(prod(subject.parameters[name].shape))) for name in names]


def _heads(subject: Subject, group: Group) -> Slices:
    """A head of ``nn.MultiheadAttention`` is a block of rows of each projection."""
    path = str(group.where).removesuffix("[heads]")
    module = subject.modules.get(path)
    if not isinstance(module, nn.MultiheadAttention):
        return [[] for _ in group.units]
    width = module.embed_dim // module.num_heads
    out: Slices = [[] for _ in group.units]
    for place in subject.places:
        if place.module == path and place.source == "projection":
            for own, unit in zip(out, group.units, strict=True):
                rows = range(unit * width, (unit + 1) * width)
                for entries in _of_place(subject.parameters, place, rows):
                    own.extend(entries)
    return out
