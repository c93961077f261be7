"""Nearly equal units → exactly tied ones: their mean, in what they read and in what is read of them.

What a unit reads is known (``units``). What is read of it is found by the engine: once two units compute the same,
the weights that read them get the same gradient on any data and for any loss, and had not before. Norms right
behind a layer are tied with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..field.arithmetic import PRIMES, Field
from ..field.mixing import stable_key
from ..symbolic.colours import Step
from ..symbolic.passes import drawn, run_pass
from ..symbolic.subject import Subject
from ..types import Group
from .classes import Layout, Space
from .spaces import Colours, Course, is_tied, loose, partition
from .units import Slices, slices_of

NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
Found = tuple[Colours, dict[str, Tensor]]


def tied_values(
    course: Course, groups: Sequence[Group], layout: Layout
) -> tuple[dict[str, Tensor], Found | None, str]:
    """Parameters (name → tensor) at which all ``groups`` are tied, what a run there finds, and what was moved.

    Raises :class:`UsageError` where the mean of the units is no lock.
    """
    values = {name: p.detach().clone() for name, p in course.subject.parameters.items()}
    slices = {group: slices_of(course.subject, group) for group in groups}
    own = {group: entries for group, entries in slices.items() if all(entries)}
    if not own:
        return values, None, ""
    base = course.run(values)
    if all(is_tied(base[0], entries) for entries in own.values()):
        return values, base, ""
    before = {name: value.clone() for name, value in values.items()}
    for group, entries in own.items():
        average(values, entries, group.signs)
        for behind in norms_behind(course.subject, group):
            average(values, slices_of(course.subject, behind), ())
    apart = gradients(course, loose(values, base[0], list(own), own))
    alike = gradients(course, values)
    readers(values, layout, Space(partition(layout, alike), partition(layout, apart)))
    base = course.run(values)
    wrong = [str(group) for group, entries in own.items() if not is_tied(base[0], entries)]
    if wrong:
        raise UsageError(
            f"groups: {', '.join(wrong)} cannot be tied: with equal incoming weights and the mean of what is read of "
            "them the units still separate (units of a layer that something else tells apart: positions, masks, other "
            "optimizer settings). Tie them yourself and let the audit find the group"
        )
    moved = sum(float((values[n] - before[n]).double().norm()) ** 2 for n in values) ** 0.5
    return (
        values,
        base,
        f"nearly equal units were moved onto their mean first, by {moved:.3g} in all",
    )


def average(values: Mapping[str, Tensor], entries: Slices, signs: Sequence[int]) -> None:
    """Every unit's own entries become their (signed) mean, in place."""
    turns = signs or (1,) * len(entries)
    for columns in zip(*entries, strict=True):
        parts = [
            turn * values[name].view(-1)[index].double()
            for turn, (name, index) in zip(turns, columns, strict=True)
        ]
        mean = torch.stack(parts).mean(0)
        for turn, (name, index) in zip(turns, columns, strict=True):
            values[name].view(-1)[index] = (turn * mean).to(values[name].dtype)


def norms_behind(subject: Subject, group: Group) -> list[Group]:
    """The same units of the norms right behind the group's layer."""
    names = [place.name for place in subject.places]
    if not isinstance(group.where, str) or group.where not in names:
        return []
    here = names.index(group.where)
    out = []
    for place in subject.places[here + 1 :]:
        norm = isinstance(subject.modules.get(place.module), NORMS)
        if not norm or place.width != subject.places[here].width:
            break
        out.append(Group("twin", place.name, group.units))
    return out


def gradients(course: Course, values: Mapping[str, Tensor]) -> Colours:
    """Colours by the gradients of one pass alone: entries with equal gradients share theirs, 0 is no gradient."""
    original = course.subject.parameters
    start = {
        name: value.clone().requires_grad_(original[name].requires_grad)
        for name, value in values.items()
    }
    subject = replace(course.subject, parameters=start)
    fold = Step(
        {name: torch.zeros(values[name].shape, dtype=torch.int64) for name in course.plan.keys},
        course.plan,
    )
    for lane, p in enumerate(PRIMES[:2]):
        f = Field(p, seed=stable_key("gradients", course.seed, lane) & 0x7FFFFFFF, lane=lane)
        seen = run_pass(
            subject,
            course.example,
            list(subject.places),
            drawn({name: f.embed(value.detach()) for name, value in start.items()}),
            f,
            step=0,
            moving=frozenset(course.plan.keys),
        )
        fold.fold(lane, seen.gradients)
    return fold.colours()


def readers(values: Mapping[str, Tensor], layout: Layout, space: Space) -> None:
    """Weights whose gradients became equal move onto their mean, in place."""
    full = layout.join({name: values[name].double() for name in layout.shapes})
    new = full - space.project(full[None])[0]
    # Equal up to rounding is not equal: the last bits are cut off where something moved.
    touched = torch.zeros(layout.size, dtype=torch.bool)
    touched[space.support] = True
    step = 2.0 ** torch.floor(torch.log2(new.abs().clamp(min=1e-30))) * 2.0**-40
    new = torch.where(touched, torch.round(new / step) * step, full)
    for name, part in layout.split(new).items():
        values[name].copy_(part.to(values[name].dtype))
