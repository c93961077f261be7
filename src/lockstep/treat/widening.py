"""``widen``: copies of units, with outgoing weights that add up to what they were (Net2Net, arXiv 1511.05641).

Equal shares make copies that are locked for ever. Unequal shares of one sign separate under SGD, but hardly under
Adam, whose step does not see the size of a gradient: the first gap is of the order of its epsilon. Shares of
*opposite sign* give the copies gradients of opposite sign, and they separate at the first step of either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from ..errors import UsageError
from ..pipeline import audit
from .carrying import COUNTED, PLAIN, TIED, Way, counting, ways
from .components import Axis, Component, closed, located, siblings
from .edits import Map, Rewrite, Role
from .fitting import fitted, require_module
from .plan import Plan, Refusal, auditor
from .wiring import Wiring

EXPERTS = (
    "{!r} is a module of several layers, and widen copies units and heads only. A copy of a whole expert keeps the "
    "function when its router gives both copies together the weight of the one (log 2 less in both biases before a "
    "softmax over all experts; a top-k would choose others): copy it in your own code, then untie it or "
    "recycle(redraw=...)"
)
Split = Literal["opposite", "halves"] | Sequence[float]


@torch.inference_mode(False)
def widen(
    model: nn.Module,
    inputs: Any,
    layer: str,
    *,
    units: Sequence[int] | None = None,
    to: int | None = None,
    split: Split = "opposite",
    loss: Callable[..., Any] | None = None,
    targets: Any = None,
    optimizer: Any = None,
    update: Any = None,
    seed: int = 0,
) -> Plan:
    """A plan that copies ``units`` of ``layer`` (or so many, from unit 0 on, that it is ``to`` wide).

    ``split`` says what each copy gets of the outgoing weights: ``"opposite"`` (2 and -1: separates at once under
    SGD and Adam), ``"halves"`` (equal: locked until untied), or the shares themselves, summing to one; as many
    shares as copies. The function is kept. A copy comes right behind its original. What cannot be told from a unit
    (its gate, the rest of its attention head) is copied along. Moments of an optimizer are copied, those of
    incoming weights in the copies' shares.

    Shapes: ``inputs`` (N, …), N four or more; the layer's weight grows along its axis of units.

    Source: Net2Net, arXiv 1511.05641; unequal shares: LEMON, arXiv 2310.07999.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    >>> receipt = widen(net, torch.randn(4, 2), "0", units=[1]).apply()
    >>> net[0].out_features, receipt.function.kept
    (3, True)

    Raises :class:`~lockstep.errors.UsageError` for a layer or units that do not exist, shares that do not sum to
    one, and what ``audit`` raises.
    """
    require_module(model)
    shares = shares_of(split)
    options = {
        "loss": loss, "targets": targets, "optimizer": optimizer, "update": update, "seed": seed,
    }  # fmt: skip
    wiring = Wiring(model, inputs)
    chosen = chosen_units(wiring, layer, units, to, len(shares))
    report = audit(model, inputs, **options)
    start = Plan(
        "widen",
        model,
        inputs,
        report.digest,
        before=report,
        again=auditor(inputs, options),
    )
    try:
        groups = _groups(wiring, layer, chosen)
        plan, said = _carried(start, wiring, groups, shares)
    except UsageError as error:
        return replace(start, refused=(Refusal(layer, tuple(chosen), str(error)),))
    along = {n: u for group in groups for n, u in group.items() if n != layer}
    what = [f"{layer}: {len(chosen)} units copied, outgoing shares {', '.join(map(str, shares))}"]
    what += [f"{name}: copied along" for name in along]
    note: tuple[str, ...] = (said,) if said else ()
    if len(set(shares)) < len(shares):
        note += ("equal shares: these copies can never separate until they are untied",)
    elif len({share > 0 for share in shares}) == 1:
        note += ("shares of one sign: under Adam the copies separate very slowly",)
    return replace(plan, what=tuple(what), notes=note)


def shares_of(split: Split) -> tuple[float, ...]:
    """The shares of the outgoing weights that a unit and its copies get."""
    named = {"opposite": (2.0, -1.0), "halves": (0.5, 0.5)}
    if isinstance(split, str):
        if split not in named:
            raise UsageError(
                f"split={split!r}: give 'opposite', 'halves', or shares that sum to one"
            )
        return named[split]
    shares = tuple(float(share) for share in split)
    if len(shares) < 2 or abs(sum(shares) - 1) > 1e-12 or 0.0 in shares:
        raise UsageError(
            f"split={list(split)}: give at least two shares, none of them 0, that sum to one (these sum to "
            f"{sum(shares):g}); otherwise the function would change"
        )
    return shares


def chosen_units(
    wiring: Wiring, layer: str, units: Sequence[int] | None, to: int | None, copies: int
) -> list[int]:
    """The units to copy, checked."""
    if layer not in wiring.places and layer in dict(wiring.model.named_modules()):
        raise UsageError(EXPERTS.format(layer))
    if layer not in wiring.places:
        raise UsageError(f"no layer {layer!r} to widen; the layers are {', '.join(wiring.places)}")
    width = wiring.places[layer].width
    if (units is None) == (to is None):
        raise UsageError("say which units to copy (units=[0, 3]) or how wide to become (to=16)")
    if to is not None:
        more = to - width
        if more < 1 or more % (copies - 1) or more // (copies - 1) > width:
            raise UsageError(
                f"to={to}: {layer!r} is {width} wide, and each of its units can get {copies - 1} more: from "
                f"{width + copies - 1} to {width * copies} in steps of {copies - 1}"
            )
        return list(range(more // (copies - 1)))
    assert units is not None
    chosen = sorted({int(u) for u in units})
    if not chosen or not all(0 <= u < width for u in chosen):
        raise UsageError(f"units={list(units)}: {layer!r} has units 0 to {width - 1}")
    return chosen


def _groups(wiring: Wiring, layer: str, units: Sequence[int]) -> list[dict[str, tuple[int, ...]]]:
    """Each unit with what must be copied along; a head that holds several of them once.

    A recurrent module has one ``hidden_size``: the unit of the same number is copied in its other layers.
    """
    groups: list[dict[str, tuple[int, ...]]] = []
    for unit in units:
        if any(unit in group[layer] for group in groups):
            continue
        together: dict[str, tuple[int, ...]] = {}
        for sibling in siblings(wiring, layer):
            for name, found in closed(wiring, sibling, unit).items():
                together[name] = tuple(sorted({*together.get(name, ()), *found}))
        groups.append(together)
    return groups


def _carried(
    start: Plan,
    wiring: Wiring,
    groups: Sequence[Mapping[str, Sequence[int]]],
    shares: Sequence[float],
) -> tuple[Plan, str]:
    """The first way in which the wider network computes the same, and what is to be said of it."""
    found = [located(wiring, group, tied=True) for group in groups]
    more = sum(len(units) for units in groups[0].values()) // len(groups[0]) * (len(shares) - 1)
    reasons = []
    for way in ways(wiring, start.model, found[0], more * len(groups)):
        try:
            rewrites = widened(wiring, groups, found, shares, way)
            return fitted(start, rewrites, way.sizes), way.said
        except UsageError as error:
            reasons.append(str(error))
    tied = ", ".join(sorted(name for name, _ in found[0].tied))
    if tied:
        raise UsageError(TIED.format(tied, reasons[-1]))
    norms = counting(start.model, found[0])
    kept = "not be kept" in reasons[0] and norms
    raise UsageError(COUNTED.format(reasons[0], norms) if kept else reasons[0])


def widened(
    wiring: Wiring,
    groups: Sequence[Mapping[str, Sequence[int]]],
    components: Sequence[Component],
    shares: Sequence[float],
    way: Way = PLAIN,
) -> list[Rewrite]:
    """Runs of a group's positions are repeated right behind themselves, whatever the layout of the axis."""
    sides: dict[tuple[Axis, str], list[set[int]]] = {}
    blocks: dict[Axis, int] = {}
    for group, found in zip(groups, components, strict=True):
        for layer in group:
            place = wiring.places[layer]
            if place.source != "projection":
                blocks |= dict.fromkeys(place.slices, place.width)
        for role in ("incoming", "own", "outgoing"):
            for key, positions in getattr(found, role).items():
                if role != "outgoing" or key not in found.tied:
                    sides.setdefault((key, role), []).append(set(positions))
    return [
        _repeated(wiring, key, role, runs, shares, blocks.get(key, 0), way)  # type: ignore[arg-type]
        for (key, role), runs in sides.items()
    ]


def _repeated(
    wiring: Wiring,
    key: Axis,
    role: Role,
    groups: Sequence[set[int]],
    shares: Sequence[float],
    block: int,
    way: Way,
) -> Rewrite:
    old = wiring.shapes[key[0]][key[1]]
    owner = {p: n for n, group in enumerate(groups) for p in group}
    take: list[int] = []
    share: list[float] = []
    parts: list[float] = []
    run: list[int] = []
    for p in range(old):
        run.append(p)
        mine = owner.get(p)
        ends = p + 1 == old or owner.get(p + 1) != mine or (block and (p + 1) % block == 0)
        if mine is None or ends:
            for each in shares if mine is not None else (1.0,):
                take += run
                share += [each] * len(run)
                parts += [1.0 if mine is None else 1 / len(shares)] * len(run)
            run = []
    at = torch.tensor(take)
    shared, part = (torch.tensor(column, dtype=torch.double) for column in (share, parts))
    if role == "outgoing":
        root = part**way.read  # of what the copies carry instead of the whole
        return Rewrite(key[0], key[1], role, Map(at, shared * root), Map(at, 1 / root), old)
    factor = shared if way.powers.get(key) == 1.0 else way.factor(key, part)
    return Rewrite(key[0], key[1], role, Map(at, factor), Map(at, shared / factor), old)
