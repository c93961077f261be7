"""Groups of tied units → the spaces of their differences, found by symbolic training.

**Statement.** Let M be the set of parameters on which entries of one colour are equal (opposite, zero): symbolic
training says that every gradient on M is constant on these classes, for any data and loss. So M is invariant under
every elementwise optimizer; and since the Hessian is symmetric and maps directions along M to directions along M,
it maps the orthogonal complement of M to itself as well. A difference across M stays across M, to first order.

**The space of one group.** Give each unit of the group own random incoming weights (*release* it) and run the
symbolic training again: the classes that fall apart are the entries through which these units can differ. With
several groups V of one group holds all differences among its units, those that differ by unit of another group
too (*joint modes* of duplicates in adjacent layers): released are all groups on the finer side, all but this one
on the coarser. Groups that cannot be released one without the other (a convolution's channels and those of the
norm behind it, a head and its rows) are one *cluster* with one space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..field.mixing import mix, stable_key
from ..symbolic.optimizer import Plan
from ..symbolic.passes import Example
from ..symbolic.places import Place
from ..symbolic.subject import Subject
from ..symbolic.training import Training
from ..types import Frozen, Group
from .classes import Layout, Partition, Space
from .units import Slices, slices_of

LANES = 2
MOST = 16  # clusters with a space of their own

Colours = dict[str, Tensor]


@dataclass(frozen=True)
class Course:
    """Symbolic training of ``subject`` from any start: ``run(values)`` → colours at the fixed pattern."""

    subject: Subject
    example: Example
    plan: Plan
    seed: int = 0

    def run(self, values: Mapping[str, Tensor]) -> tuple[Colours, dict[str, Tensor]]:
        """Colours of the trainable entries, and flat indices of those that never get a gradient."""
        places: list[Place] = list(self.subject.places)
        original = self.subject.parameters
        start = {
            name: value.detach().clone().requires_grad_(original[name].requires_grad)
            for name, value in values.items()
        }
        training = Training(
            replace(self.subject, parameters=start),
            self.example,
            places,
            self.plan,
            seed=self.seed,
            lanes=LANES,
        )
        trace = training.run(suspicious=True)
        return training.colours, {name: trace.frozen(name) for name in trace.still}


@dataclass(frozen=True)
class Cluster:
    """Groups that only differ together, their space, and why there is none (empty: there is one)."""

    groups: tuple[Group, ...]
    space: Space | None
    because: str = ""


@dataclass(frozen=True)
class Spaces:
    """``tied`` is the partition whose constant vectors are M; ``clusters`` the spaces across it."""

    layout: Layout
    tied: Partition
    clusters: tuple[Cluster, ...]


def spaces(
    course: Course,
    values: Mapping[str, Tensor],
    groups: Sequence[Group],
    layout: Layout,
    found: tuple[Colours, dict[str, Tensor]] | None = None,
) -> Spaces:
    """The space of each group at the point ``values`` (name → tensor), where all of them are tied.

    ``found`` is what ``course.run(values)`` gives, if that is known already.
    """
    base, _ = found or course.run(values)
    slices = {group: slices_of(course.subject, group) for group in groups}
    known = [group for group in groups if any(own for own in slices[group])]
    clusters, released = _clusters(course, values, base, known, slices)
    _attach(clusters, [group for group in groups if group not in known])
    tied = partition(layout, base)
    if not clusters:
        return Spaces(layout, tied, _without_space(groups))

    def looser(those: list[list[Group]]) -> tuple[Colours, dict[str, Tensor]]:
        return course.run(loose(values, base, [g for c in those for g in c if slices[g]], slices))

    if len(clusters) > MOST:
        clusters = [[g for c in clusters for g in c]]
        released = {}
    whole = len(clusters) == 1 and released.get(0)
    fine, frozen = whole or looser(clusters)
    still = _flat(layout, frozen)
    out = []
    for number, cluster in enumerate(clusters):
        others = [c for m, c in enumerate(clusters) if m != number]
        coarse = looser(others)[0] if others else base
        space = Space(partition(layout, coarse), partition(layout, fine), still)
        out.append(_cluster(cluster, space))
    lost = [group for group in groups if not any(group in c for c in clusters)]
    return Spaces(layout, tied, (*out, *_without_space(lost)))


def frozen_space(layout: Layout, frozen: Sequence[Frozen]) -> Space:
    """The space of entries that rest at zero: every vector on them (how fast they wake, if pushed)."""
    taken = torch.zeros(layout.size, dtype=torch.bool)
    for one in frozen:
        part = layout.split(taken)[one.parameter]
        if one.count == one.total:
            part.fill_(True)
        for index in one.indices:
            part[index] = True
    coarse = torch.arange(1, layout.size + 1).masked_fill(taken, 0)
    return Space(Partition(coarse), Partition(torch.arange(1, layout.size + 1)))


def partition(layout: Layout, colours: Mapping[str, Tensor]) -> Partition:
    """Colours of all entries → classes; entries without a colour do not train and stand alone."""
    first = 1
    parts = []
    for name, shape in layout.shapes.items():
        given = colours.get(name)
        parts.append(torch.arange(first, first + shape.numel()) if given is None else given)
        first += shape.numel()
    return Partition(torch.cat([part.reshape(-1) for part in parts]))


def loose(
    values: Mapping[str, Tensor],
    base: Colours,
    groups: Sequence[Group],
    slices: dict[Group, Slices],
) -> dict[str, Tensor]:
    """``values`` with own random incoming weights for every unit of ``groups``.

    A weight is drawn from its colour and its unit, so that whatever else is tied stays tied.
    """
    out = {name: tensor.detach().clone() for name, tensor in values.items()}
    for group in groups:
        for rank, own in enumerate(slices[group]):
            for name, index in own:
                if name not in base:
                    continue
                colour = base[name].reshape(-1)[index]
                tag = stable_key("released", str(group.where), rank) & 0x7FFFFFFF
                drawn = mix(colour.abs(), tag) >> 44
                sign = torch.where(colour < 0, -1, 1)
                odd = (
                    (drawn | 1)
                    if out[name].dtype in (torch.float32, torch.float64)
                    else drawn >> 12 | 1
                )
                unit = sign * odd / 2**10
                out[name].view(-1)[index] = unit.to(out[name].dtype)
    return out


def is_tied(colours: Mapping[str, Tensor], own: Slices) -> bool:
    """Whether the entries of all units have equal colours, up to sign."""
    for other in own[1:]:
        for (name, first), (same, second) in zip(own[0], other, strict=True):
            if name in colours and same in colours:
                a, b = colours[name].reshape(-1)[first], colours[same].reshape(-1)[second]
                if bool((a.abs() != b.abs()).any()):
                    return False
    return True


def _clusters(
    course: Course,
    values: Mapping[str, Tensor],
    base: Colours,
    groups: Sequence[Group],
    slices: dict[Group, Slices],
) -> tuple[list[list[Group]], dict[int, tuple[Colours, dict[str, Tensor]]]]:
    """Groups that fall apart together, and what is released where a cluster has one group only."""
    clusters: list[list[Group]] = []
    released: dict[int, tuple[Colours, dict[str, Tensor]]] = {}
    waiting = list(groups)
    while waiting:
        one = waiting.pop(0)
        if len(clusters) >= MOST:  # too many to ask each: the rest is one space
            clusters.append([one, *waiting])
            break
        found = course.run(loose(values, base, [one], slices))
        broken = [g for g in groups if g is not one and not is_tied(found[0], slices[g])]
        joined = [c for c in clusters if any(g in c for g in broken)]
        merged = [g for c in joined for g in c] + [one]
        merged += [g for g in broken if g not in merged]
        clusters = [c for c in clusters if c not in joined] + [merged]
        waiting = [g for g in waiting if g not in merged]
        released = {0: found} if clusters == [[one]] else {}
    return clusters, released


def _attach(clusters: list[list[Group]], groups: Sequence[Group]) -> None:
    """Groups without entries of their own (heads of a user's attention) go with units of their module."""
    for group in groups:
        path = str(group.where).partition("[")[0]
        for cluster in clusters:
            near = [str(g.where) for g in cluster]
            if any(
                not path or name == path or name.startswith((path + ".", path + "["))
                for name in near
            ):
                cluster.insert(0, group)
                break


def _cluster(groups: Sequence[Group], space: Space) -> Cluster:
    if space.dimension == 0:
        return Cluster(tuple(groups), None, "no trainable entry of theirs can differ")
    return Cluster(tuple(groups), space)


def _without_space(groups: Sequence[Group]) -> tuple[Cluster, ...]:
    because = "no parameters that belong to these units were found, so there is nothing to displace"
    return tuple(Cluster((group,), None, because) for group in groups)


def _flat(layout: Layout, frozen: Mapping[str, Tensor]) -> Tensor:
    starts = layout.starts
    parts = [starts[name] + index for name, index in frozen.items() if name in starts]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)
