"""Layers that must be treated together, and the axes along which their units lie in each tensor.

A gate and the value it multiplies are read by one column; a channel is carried on by the norm behind it. Layers
whose units are read by the same entries form one *component*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UsageError
from ..symbolic.gradients import unravelled
from .wiring import Read, Taint, Unit, Wiring

Axis = tuple[str, int]


@dataclass(frozen=True)
class Component:
    """``layers`` with their treated units; positions of these units along axes of tensors, by role."""

    layers: Mapping[str, tuple[int, ...]]
    incoming: Mapping[Axis, tuple[int, ...]]
    own: Mapping[Axis, tuple[int, ...]]
    outgoing: Mapping[Axis, tuple[int, ...]]
    elementwise: frozenset[Axis] = frozenset()
    """Of what is incoming or own: gains and shifts, entry by entry."""
    tied: frozenset[Axis] = frozenset()
    """Axes along which one tensor both makes and reads the units: embeddings that are the output layer too."""

    @property
    def units(self) -> list[Unit]:
        """All treated units."""
        return [(layer, u) for layer, units in self.layers.items() for u in units]


def not_followed(wiring: Wiring, units: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Layer → why nobody can tell what reads these units of it (a router's rows)."""
    out = {}
    for layer, chosen in units.items():
        try:
            wiring.taint((layer, u) for u in chosen)
        except UsageError as error:
            out[layer] = str(error)
    return out


def siblings(wiring: Wiring, layer: str) -> list[str]:
    """Layers that share one ``hidden_size`` with ``layer``: all layers and directions of a recurrent module."""
    place = wiring.places[layer]
    if place.source != "hidden":
        return [layer]
    return [
        name
        for name, other in wiring.places.items()
        if other.module == place.module and other.source == "hidden"
    ]


def components(
    wiring: Wiring, units: Mapping[str, Sequence[int]]
) -> list[dict[str, tuple[int, ...]]]:
    """The layers of ``units``, grouped so that no entry reads units of two groups."""
    groups: list[tuple[dict[str, tuple[int, ...]], dict[str, Tensor]]] = []
    for layer, chosen in units.items():
        taint = wiring.taint((layer, u) for u in chosen)
        mine: dict[str, tuple[int, ...]] = {layer: tuple(chosen)}
        masks = dict(taint.reads)
        for (name, axis), at in _positions(wiring, layer, chosen, taint).items():
            masks[f"{name} along {axis}"] = at  # what one tensor makes and reads along one axis
        for name, mask in (*_apart(taint), *wiring.incoming(layer, chosen)):
            masks[f"{name} own"] = _either(masks.get(f"{name} own"), mask)
        place = wiring.places[layer]
        if place.source == "hidden":  # one hidden_size serves all layers and directions
            masks[f"{place.module} hidden"] = torch.ones(1, dtype=torch.bool)
        rest = []
        for layers, seen in groups:
            if any(bool((masks[n] & seen[n]).any()) for n in masks.keys() & seen.keys()):
                mine = {**layers, **mine}
                masks = {n: _either(masks.get(n), seen.get(n)) for n in masks.keys() | seen.keys()}
            else:
                rest.append((layers, seen))
        groups = [*rest, (mine, masks)]
    return [layers for layers, _ in groups]


def located(
    wiring: Wiring, layers: Mapping[str, Sequence[int]], *, tied: bool = False
) -> Component:
    """Where the units of these layers lie; raises ``UsageError`` with the reason where that is no axis.

    Tensors that both make and read the units are refused, too, unless ``tied``.
    """
    chosen = [(layer, u) for layer, units in layers.items() for u in units]
    others = [
        (layer, u)
        for layer, units in layers.items()
        for u in range(wiring.places[layer].width)
        if u not in set(units)
    ]
    taint = wiring.taint(chosen)
    incoming: dict[Axis, set[int]] = {}
    for layer, units in layers.items():
        place = wiring.places[layer]
        if place.span > 1:
            raise UsageError("units numbered over several axes cannot be treated")
        for name, axis in place.slices:
            found = wiring.positions(place, name, axis, units)
            incoming.setdefault((name, axis), set()).update(found)
    kept = wiring.taint(others) if others else Taint({}, {})
    own: dict[Axis, set[int]] = {}
    elementwise: set[Axis] = set()
    for name, mask in taint.owns.items():
        alone = mask & ~kept.owns.get(name, torch.zeros_like(mask))
        if bool(alone.any()):
            axis, positions = along(name, alone)
            elementwise.add((name, axis))
            if not set(positions) <= incoming.get((name, axis), set()):
                own.setdefault((name, axis), set()).update(positions)
    outgoing: dict[Axis, set[int]] = {}
    for name, mask in taint.reads.items():
        if others and bool(mask.all()):
            raise UsageError(
                f"every entry of {name} reads them: they are mixed with other units first"
            )
        axis, positions = along(name, mask)
        outgoing.setdefault((name, axis), set()).update(positions)
    both = outgoing.keys() & (incoming.keys() | own.keys())
    for key in list(both):
        made = incoming.get(key, set()) | own.get(key, set())
        grouped = key[0] in wiring.grouped
        if not (outgoing[key] <= made if grouped else outgoing[key] == made):
            raise UsageError(
                f"{key[0]} makes what would go at positions {sorted(made)} of its axis {key[1]}, and reads what would "
                f"go at positions {sorted(outgoing[key])} of it: these must be the same (tied weights, or whole groups "
                "of a grouped convolution)"
            )
        if grouped:  # whole groups: nothing that stays reads what goes
            del outgoing[key]
            both.remove(key)
    if both and not tied:
        raise UsageError(
            f"{next(iter(both))[0]} both makes and reads these units along one axis (tied weights): its entries "
            "cannot be added up for one role and kept for the other"
        )
    sides = [
        {key: tuple(sorted(at)) for key, at in side.items()} for side in (incoming, own, outgoing)
    ]
    return Component(
        {layer: tuple(units) for layer, units in layers.items()},
        sides[0],
        sides[1],
        sides[2],
        frozenset(elementwise),
        frozenset(both),
    )


def closed(wiring: Wiring, layer: str, unit: int) -> dict[str, tuple[int, ...]]:
    """The unit and all that cannot be told from it by what reads them: its gate, the rest of its head.

    Layers and units are found by halving: which half of a layer reaches the same entries?
    """
    group: dict[str, set[int]] = {layer: {unit}}
    done: dict[str, Tensor] = {}
    while True:
        reads = wiring.taint((n, u) for n, units in group.items() for u in units).reads
        if done.keys() == reads.keys() and all(torch.equal(done[n], reads[n]) for n in reads):
            return {n: tuple(sorted(units)) for n, units in group.items()}
        done = reads
        made = {key for place in wiring.places.values() for key in place.slices}
        tied = {key for key in _along_axes(reads) if key in made}
        for name, place in wiring.places.items():
            if any(n == other and a != axis for n, a in place.slices for other, axis in tied):
                continue  # rows of the output layer, which the embedding's dimensions are read by
            found = set(_reaching(wiring, name, range(place.width), reads))
            if found:
                group.setdefault(name, set()).update(found)


def _reaching(
    wiring: Wiring, layer: str, units: Sequence[int], entries: Mapping[str, Tensor]
) -> list[int]:
    """Which of ``units`` are read by any of ``entries``."""
    reads = wiring.taint((layer, u) for u in units).reads
    if not any(bool((reads[n] & entries[n]).any()) for n in reads.keys() & entries.keys()):
        return []
    if len(units) == 1:
        return list(units)
    half = len(units) // 2
    return [
        *_reaching(wiring, layer, units[:half], entries),
        *_reaching(wiring, layer, units[half:], entries),
    ]


def along(name: str, mask: Tensor) -> tuple[int, list[int]]:
    """The axis along which ``mask`` selects whole slices, and the positions."""
    for axis in reversed(range(mask.dim())):
        rows = mask.movedim(axis, 0).reshape(mask.shape[axis], -1)
        whole = bool((rows.all(1) | ~rows.any(1)).all())
        if whole and (mask.shape[axis] > 1 or mask.dim() == 1):
            return axis, rows.all(1).nonzero().flatten().tolist()
    raise UsageError(
        f"{name} reads these units with entries that form no slice of it (a grouped convolution, or a packed "
        "weight): its shape cannot follow"
    )


def values_along(reads: Iterable[Read], wiring: Wiring, key: Axis) -> Tensor:
    """(positions, samples): what each position of an axis reads, over all products with the tensor."""
    name, axis = key
    first, shape = wiring.first[name], wiring.shapes[name]
    parts: list[Tensor] = []
    for read in reads:
        entry = read.entries[:, 0] - first
        inside = (entry >= 0) & (entry < shape.numel())
        if not bool(inside.any()):
            continue
        at = unravelled(entry.clamp(0, shape.numel() - 1), shape)[axis]
        at, values = at[inside], read.values[inside]
        if len(at) > shape[axis] and len(at) % shape[axis] == 0:
            # Of a grouped convolution one position reads a channel of each group.
            parts.append(values[at.argsort(stable=True)].reshape(shape[axis], -1))
            continue
        found = torch.zeros(shape[axis], values.shape[1], dtype=torch.double)
        found[at] = values
        parts.append(found)
    if not parts:
        return torch.zeros(shape[axis], 0, dtype=torch.double)
    return torch.cat(parts, 1)


def _positions(
    wiring: Wiring, layer: str, units: Sequence[int], taint: Taint
) -> dict[Axis, Tensor]:
    """Positions along axes of tensors that make these units, or read them."""
    place = wiring.places[layer]
    found: dict[Axis, Tensor] = {}
    for name, axis in place.slices if place.span == 1 else ():
        at = torch.zeros(wiring.shapes[name][axis], dtype=torch.bool)
        at[wiring.positions(place, name, axis, units)] = True
        found[name, axis] = at
    for key, at in _along_axes(taint.reads).items():
        found[key] = at | found.get(key, torch.zeros_like(at))
    return found


def _along_axes(masks: Mapping[str, Tensor]) -> dict[Axis, Tensor]:
    """Masks that select whole slices, as positions along their axes; others are refused when they are located."""
    found: dict[Axis, Tensor] = {}
    for name, mask in masks.items():
        try:
            axis, positions = along(name, mask)
        except UsageError:
            continue
        at = torch.zeros(mask.shape[axis], dtype=torch.bool)
        at[positions] = True
        found[name, axis] = at
    return found


def _apart(taint: Taint) -> list[tuple[str, Tensor]]:
    return [(name, mask) for name, mask in taint.owns.items() if mask.numel() > 1]


def _either(a: Tensor | None, b: Tensor | None) -> Tensor:
    if a is None or b is None:
        found = b if a is None else a
        assert found is not None
        return found
    return a | b
