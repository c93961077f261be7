"""``merge``: the quotient of a network by its classes of equal units.

For a class C of m units one stays: its incoming weights as they are, the weights that read the class summed. The
function is the same, and under SGD so is the training (Joudaki et al., arXiv 2510.00304: equitable partitions are
invariant): a gradient with respect to the merged unit's incoming weights is the sum over the m copies, so it counts
1/m; the summed outgoing weight moves by m times what one copy's moves, so its gradient counts m. An entry between
two merged classes counts ``m(read) / m(written)``. These factors are the plan's ``rates``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..pipeline import audit
from ..types import Audit
from .carrying import COUNTED, PLAIN, TIED, Way, counting, ways
from .components import (
    Axis,
    Component,
    components,
    located,
    not_followed,
    siblings,
    values_along,
)
from .edits import Attribute, Map, Rewrite, Role, carry_out
from .fitting import fitted, require_module
from .lossy import nearly
from .modules import without_copies
from .plan import Plan, Refusal, auditor
from .trajectory import follows, moved
from .wiring import Read, Wiring, doubled, duplicate

EQUAL = 1e-9
SHARED = "one hidden_size serves all layers and directions of a recurrent module: as many go as in its other layers"


@dataclass(frozen=True)
class Classes:
    """Of one layer: unit that goes → (unit that stays, sign)."""

    layer: str
    gone: Mapping[int, tuple[int, int]]

    def size(self, unit: int) -> int:
        """Members of the class that ``unit`` stays for."""
        return 1 + sum(stays == unit for stays, _ in self.gone.values())


@torch.inference_mode(False)
def merge(
    model: nn.Module,
    inputs: Any,
    *,
    layers: Sequence[str] | None = None,
    within: float | None = None,
    loss: Callable[..., Any] | None = None,
    targets: Any = None,
    optimizer: Any = None,
    update: Any = None,
    seed: int = 0,
) -> Plan:
    """A plan that replaces every class of certified equal units by one unit. Nothing is changed yet.

    ``inputs`` and the options are those of :func:`lockstep.audit`, whose classes are merged; ``layers`` restricts
    them. :meth:`Receipt.follow` makes an optimizer train the small network as it would have trained the large one;
    for SGD that is what the plan's ``rates`` say (parameter → factors, in its new shape).

    Units that are merely close, or equal now and certified to separate, are refused unless asked for: ``within``
    merges those that others explain, on these ``inputs``, to that fraction of their layer's root mean square (0:
    exactly). That is lossy; the plan's ``bound`` says by how much the layers that read them change at most.

    Shapes: ``inputs`` (N, …), N four or more; the rates of a weight broadcast to its new shape.

    Source: ``docs/treat.md``; that equal units may be merged: Prabhakar, arXiv 2110.03726; the rates are derived in
    ``src/lockstep/treat/merging.py``.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    >>> for p in net.parameters():
    ...     _ = nn.init.constant_(p, 0.5)
    >>> receipt = merge(net, torch.zeros(4, 2)).apply()
    >>> net[0], net[2].weight.data
    (Linear(in_features=2, out_features=1, bias=True), tensor([[1.]]))

    Raises :class:`~lockstep.errors.UsageError` and :class:`~lockstep.errors.UndecidedError` as ``audit`` does.
    What cannot be merged is in ``refused``, with the reason.
    """
    options = {
        "loss": loss, "targets": targets, "optimizer": optimizer, "update": update, "seed": seed,
    }  # fmt: skip
    require_module(model)
    if within is not None and not 0 <= within < 1:
        raise UsageError(f"within={within}: give a fraction of the layer's size, from 0 to below 1")
    report = audit(model, inputs, **options)
    wanted = certified(report, layers)
    wiring = Wiring(model, inputs)
    # Heads have no parameters of their own: their rows in q, k and v are in the list themselves.
    wanted = {name: found for name, found in wanted.items() if name in wiring.places}
    start = Plan(
        "merge",
        model,
        inputs,
        report.digest,
        before=report,
        again=auditor(inputs, options),
    )
    if within is not None:
        return nearly(start, wiring, within, layers)
    plan = _joined(start, wiring, wanted)
    if layers is None:
        plan = without_copies(plan, report)
    close = [
        Refusal(
            name, (), f"equal now, not locked: {why}. merge(…, within=0) merges them all the same"
        )
        for name, why in report.because.items()
        if (layers is None or name in layers) and _is_read(wiring, name)
    ]
    return replace(plan, refused=(*plan.refused, *close))


def _is_read(wiring: Wiring, layer: str) -> bool:
    """Whether any weight reads units of the layer; outputs of the model cannot be merged at all."""
    place = wiring.places.get(layer)
    if place is None:
        return False
    try:
        return bool(wiring.taint((layer, u) for u in range(place.width)).reads)
    except UsageError:
        return False


def certified(report: Audit, layers: Sequence[str] | None) -> dict[str, Classes]:
    """The classes of an audit, mirror pairs included, with the first unit of each staying."""
    if layers is not None:
        unknown = [name for name in layers if name not in report.layers]
        if unknown:
            raise UsageError(
                f"no layer {', '.join(map(repr, unknown))}; the layers are {', '.join(report.layers)}"
            )
    out: dict[str, Classes] = {}
    for name, layer in report.layers.items():
        if layers is not None and name not in layers:
            continue
        gone = {u: (members[0], 1) for members in layer.classes for u in members[1:]}
        for group in report.locked:
            if group.kind == "mirror" and group.where == name:
                first, sign = group.units[0], group.signs[0]
                for u, s in zip(group.units[1:], group.signs[1:], strict=True):
                    if first not in gone and u != first:
                        gone[u] = (first, s * sign)
        if gone:
            out[name] = Classes(name, gone)
    return out


def _joined(start: Plan, wiring: Wiring, wanted: dict[str, Classes]) -> Plan:
    """Each component alone on a copy; those that keep the function, together."""
    model = start.model
    refused: list[Refusal] = []
    good: list[list[Rewrite]] = []
    names: list[str] = []
    reads = moved_reads(wiring, model, start.inputs)
    wanted = _even(wiring, wanted, refused)
    strange = not_followed(wiring, {n: sorted(c.gone) for n, c in wanted.items()})
    refused += [Refusal(n, tuple(wanted[n].gone), reason) for n, reason in strange.items()]
    wanted = {n: c for n, c in wanted.items() if n not in strange}
    groups = components(wiring, {n: sorted(c.gone) for n, c in wanted.items()})
    sizes: tuple[Attribute, ...] = ()
    said: list[str] = []
    for group in groups:
        try:
            rewrites, way = _carried(start, wiring, group, wanted, reads)
        except UsageError as error:
            refused += [Refusal(name, units, str(error)) for name, units in group.items()]
        else:
            good.append(rewrites)
            sizes += way.sizes
            said += [f"{', '.join(group)}: {way.said}"] if way.said else []
            names += list(group)
    together = [r for rewrites in good for r in rewrites]
    plan = replace(start, refused=tuple(refused))
    if not together:
        return plan
    try:
        plan = replace(fitted(start, together, sizes), refused=tuple(refused))
    except UsageError as error:
        units = [Refusal(n, tuple(wanted[n].gone), str(error)) for n in names]
        return replace(plan, refused=(*refused, *units))
    what = tuple(
        f"{n}: {wiring.places[n].width - len(wanted[n].gone)} of {wiring.places[n].width} units stay"
        for n in names
    )
    counts = counts_of(wiring, together)
    plan = replace(plan, what=what, counts=counts, uneven=uneven(wiring, together))
    return replace(plan, notes=(*plan.notes, *said, trained(plan, counts)))


def _carried(
    start: Plan,
    wiring: Wiring,
    group: Mapping[str, Sequence[int]],
    wanted: Mapping[str, Classes],
    reads: list[Read],
) -> tuple[list[Rewrite], Way]:
    """The first way in which a component's quotient computes and trains the same; the first reason if none does."""
    component = located(wiring, group, tied=True)
    reasons = []
    for way in ways(wiring, start.model, component):
        try:
            rewrites = quotient(wiring, component, wanted, reads, way)
            plan = fitted(start, rewrites, way.sizes)
            trained(plan, counts_of(wiring, rewrites))
            return rewrites, way
        except UsageError as error:
            reasons.append(str(error))
    tied = ", ".join(sorted(name for name, _ in component.tied))
    if tied:
        raise UsageError(TIED.format(tied, reasons[-1]))
    norms = counting(start.model, component)
    kept = "not be kept" in reasons[0] and norms
    raise UsageError(COUNTED.format(reasons[0], norms) if kept else reasons[0])


def _even(wiring: Wiring, wanted: dict[str, Classes], refused: list[Refusal]) -> dict[str, Classes]:
    """Of layers that share one ``hidden_size`` the same number of units goes; what is more in one layer stays."""
    out = {}
    for name, classes in wanted.items():
        fewest = min(
            (len(wanted[n].gone) if n in wanted else 0 for n in siblings(wiring, name)),
            default=0,
        )
        kept = dict(sorted(classes.gone.items())[:fewest])
        rest = tuple(u for u in classes.gone if u not in kept)
        if rest and fewest:
            refused.append(Refusal(name, rest, SHARED))
        out[name] = Classes(name, kept) if fewest else classes
    return out


def trained(plan: Plan, counts: Mapping[str, tuple[Tensor, Tensor]]) -> str:
    """One sentence about the training of the small model; ``UsageError`` if it would be another."""
    small = duplicate(plan.model)
    carry_out(small, plan.edits, plan.attributes)
    rates = {name: read / written for name, (written, read) in counts.items()}
    return follows(duplicate(plan.model), small, doubled(plan.inputs), rates)


def quotient(
    wiring: Wiring,
    component: Component,
    wanted: Mapping[str, Classes],
    reads: list[Read],
    way: Way = PLAIN,
) -> list[Rewrite]:
    """The rewrites that drop the units of a component and sum what read them, with the factors of ``way``."""
    out: list[Rewrite] = []
    sizes: dict[Axis, dict[int, int]] = {}
    for layer in component.layers:
        place, classes = wiring.places[layer], wanted[layer]
        for name, axis in place.slices:
            for stays in {s for s, _ in classes.gone.values()}:
                for at in wiring.positions(place, name, axis, [stays]):
                    sizes.setdefault((name, axis), {})[at] = classes.size(stays)
        for (name, axis), gone in component.own.items():
            if wiring.shapes[name][axis] == place.width and set(gone) == set(classes.gone):
                for stays in {s for s, _ in classes.gone.values()}:
                    sizes.setdefault((name, axis), {})[stays] = classes.size(stays)
    for role, side in (("incoming", component.incoming), ("own", component.own)):
        for key, gone in side.items():
            out.append(dropped(wiring, key, role, gone, sizes.get(key, {}), way))  # type: ignore[arg-type]
    for key, gone in component.outgoing.items():
        if key not in component.tied:
            out.append(summed(wiring, key, gone, values_along(reads, wiring, key), way))
    return out


def dropped(
    wiring: Wiring,
    key: Axis,
    role: Role,
    gone: Sequence[int],
    sizes: Mapping[int, int],
    way: Way = PLAIN,
) -> Rewrite:
    """Positions that go; each of a class of m has a gradient of its own, and the merged one is their sum."""
    old = wiring.shapes[key[0]][key[1]]
    take = torch.tensor([n for n in range(old) if n not in set(gone)], dtype=torch.long)
    weight = torch.tensor([float(sizes.get(n, 1)) for n in take.tolist()], dtype=torch.double)
    factor = way.factor(key, weight)
    return Rewrite(key[0], key[1], role, Map(take, factor), Map(take, weight / factor), old)


def summed(
    wiring: Wiring, key: Axis, gone: Sequence[int], values: Tensor, way: Way = PLAIN
) -> Rewrite:
    """What reads a unit that goes is added to what reads its equal (or opposite) that stays."""
    old = wiring.shapes[key[0]][key[1]]
    kept = [n for n in range(old) if n not in set(gone)]
    add = []
    for source, (stays, sign) in partners(values, kept, gone, key).items():
        add.append((kept.index(stays), source, float(sign)))
    count = torch.ones(len(kept), dtype=torch.double)
    for at, _, _ in add:
        count[at] += 1
    take = torch.tensor(kept, dtype=torch.long)
    factor = count**way.read
    total = tuple((at, source, sign * float(factor[at])) for at, source, sign in add)
    mean = tuple((at, source, sign / float((count * factor)[at])) for at, source, sign in add)
    return Rewrite(
        key[0], key[1], "outgoing", Map(take, factor, total), Map(take, 1 / (count * factor), mean), old
    )  # fmt: skip


def partners(
    values: Tensor, kept: Sequence[int], gone: Sequence[int], key: Axis
) -> dict[int, tuple[int, int]]:
    """For each position that goes, the one that stays and reads the same values, or their negatives."""
    if not kept:
        raise UsageError(f"nothing of {key[0]} would be left")
    scale = max(1.0, float(values.abs().max()) if values.numel() else 0.0)
    staying = values[list(kept)]
    out = {}
    for n in gone:
        apart = (staying - values[n]).abs().amax(1) if values.shape[1] else torch.ones(len(kept))
        against = (staying + values[n]).abs().amax(1) if values.shape[1] else torch.ones(len(kept))
        best, other = int(apart.argmin()), int(against.argmin())
        if float(apart[best]) <= EQUAL * scale:
            out[n] = (kept[best], 1)
        elif float(against[other]) <= EQUAL * scale:
            out[n] = (kept[other], -1)
        else:
            raise UsageError(
                f"position {n} of {key[0]} reads one of them, and no position that stays reads the same: the "
                "units are combined with others in between"
            )
    return out


def moved_reads(wiring: Wiring, model: nn.Module, inputs: Any) -> list[Read]:
    """What the weights read, now and after some training: equal for ever, not equal by their numbers."""
    reads = wiring.values()
    later = moved(duplicate(model), doubled(inputs))
    return reads if later is None else reads + Wiring(later, inputs).values()


def counts_of(wiring: Wiring, rewrites: Sequence[Rewrite]) -> dict[str, tuple[Tensor, Tensor]]:
    """Parameter → how many units each of its entries is computed for, and how many it reads."""
    out: dict[str, tuple[Tensor, Tensor]] = {}
    shapes = {name: list(shape) for name, shape in wiring.shapes.items()}
    for r in rewrites:
        shapes[r.name][r.axis] = r.new
    for r in rewrites:
        if r.name not in wiring.trainable:
            continue
        ones = torch.ones(shapes[r.name], dtype=torch.double)
        written, read = out.get(r.name, (ones, ones))
        shape = [1] * len(shapes[r.name])
        shape[r.axis] = -1
        if r.role == "outgoing":
            count = torch.ones(r.new, dtype=torch.double)
            for at, _, _ in r.values.add:
                count[at] += 1
            factor = r.values.scale.double().abs()
            read = read * (count * factor).reshape(shape)
            written = written / factor.reshape(shape)
        else:
            written = written * r.gradients.scale.double().abs().reshape(shape)
            read = read * r.values.scale.double().abs().reshape(shape)
        out[r.name] = written, read
    return out


def uneven(wiring: Wiring, rewrites: Sequence[Rewrite]) -> tuple[str, ...]:
    """Parameters in which entries that are summed differ (a balanced lock, or a class of several kinds)."""
    found: dict[str, None] = {}
    tensors = dict(wiring.model.named_parameters())
    for r in rewrites:
        if r.role != "outgoing" or r.name not in tensors:
            continue
        rows = tensors[r.name].detach().movedim(r.axis, 0)
        for at, source, sign in r.values.add:
            stays = rows[int(r.values.take[at])]
            sign = 1 if sign > 0 else -1
            if float((rows[source] - sign * stays).abs().max()) > EQUAL * float(stays.abs().max()):
                found[r.name] = None
    return tuple(found)
