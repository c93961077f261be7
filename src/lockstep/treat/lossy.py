"""``merge(…, within=…)``: units that are *nearly* what others are, replaced by combinations of those that stay.

Which units stay is chosen greedily, as in a QR factorisation with pivots, on the given inputs: always the unit that
the chosen ones explain worst, until the rest is explained to ``within`` of the layer's root mean square. A unit that
goes is the least-squares combination of those that stay, and so are the weights that read it. The least number of
units is NP-hard to find near a network (Farrugia-Roberts, arXiv 2306.02834); this is a bound from above. What is left
of a unit, times the weights that read it, bounds the change of the layers that read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import UsageError
from .components import Component, located, values_along
from .edits import Map, Rewrite, carry_out
from .fitting import fitted
from .plan import Plan, Refusal
from .wiring import Read, Wiring, duplicate

FLOOR = 1e-9
SAME = 1e-9


@dataclass(frozen=True)
class Choice:
    """Of one layer (and its gates): the units that stay and go, ``mix`` (gone, kept), what is left unexplained."""

    layers: tuple[str, ...]
    kept: list[int]
    gone: list[int]
    mix: Tensor
    left: Tensor


def nearly(start: Plan, wiring: Wiring, within: float, layers: Sequence[str] | None) -> Plan:
    """The plan that keeps, in each layer, the units that explain the others to ``within``."""
    reads = wiring.values()
    rewrites: list[Rewrite] = []
    refused: list[Refusal] = []
    what: list[str] = []
    bound = 0.0
    for names, readers in _layers(wiring, layers):
        try:
            choice = chosen(wiring, names, readers, reads, within)
            if not choice.gone:
                continue
            component = located(wiring, dict.fromkeys(names, choice.gone))
            mine = _rewrites(start, wiring, component, choice, readers)
            _undisturbed(fitted(start, mine, exact=False), wiring, readers, choice, reads)
        except UsageError as error:
            refused.append(Refusal(" and ".join(names), (), str(error)))
            continue
        rewrites += mine
        bound = max(bound, _bound(start, readers, choice))
        stay = f"{len(choice.kept)} of {len(choice.kept) + len(choice.gone)} units stay"
        what.append(f"{' and '.join(names)}: {stay}")
    plan = replace(start, refused=tuple(refused), keeps=False, bound=bound)
    if not rewrites:
        return replace(plan, bound=None)
    note = (
        f"greedy choice: a smaller network within {within:g} may exist; the training is another one"
    )
    plan = fitted(plan, rewrites, exact=False)
    return replace(plan, what=tuple(what), notes=(note,))


def chosen(
    wiring: Wiring,
    names: Sequence[str],
    readers: dict[str, Tensor],
    reads: Sequence[Read],
    within: float,
) -> Choice:
    """Greedy choice of the units of one layer by what is read of them, (units, samples)."""
    width = wiring.places[names[0]].width
    parts = []
    for name, units in readers.items():
        axis, order = positions(name, units, width)
        parts.append(values_along(reads, wiring, (name, axis))[order].flatten(1))
    seen = torch.cat(parts, 1)
    if not seen.shape[1]:
        raise UsageError("nothing is read of these units on these inputs")
    scale = float(seen.square().mean()) ** 0.5
    kept = pivots(seen, max(within, FLOOR) * scale)
    gone = [u for u in range(width) if u not in set(kept)]
    kept.sort()
    if not gone:
        return Choice(tuple(names), kept, gone, torch.zeros(0, len(kept)), torch.zeros(0))
    mix = torch.linalg.lstsq(seen[kept].t(), seen[gone].t(), driver="gelsd").solution.t()
    left = (seen[gone] - mix @ seen[kept]).abs().amax(1)
    return Choice(tuple(names), kept, gone, mix, left)


def pivots(seen: Tensor, least: float) -> list[int]:
    """Rows of ``seen`` in the order chosen, until every row's residual root mean square is at most ``least``.

    >>> pivots(torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.5]]).double(), 0.1)
    [0, 2]
    """
    residual = seen.clone()
    order: list[int] = []
    while len(order) < len(seen):
        sizes = residual.square().mean(1).sqrt()
        sizes[order] = -1.0
        at = int(sizes.argmax())
        if float(sizes[at]) <= least and order:
            break
        order.append(at)
        if float(sizes[at]) > 0:
            along = residual[at] / residual[at].norm()
            residual = residual - (residual @ along)[:, None] * along
    return order


def positions(name: str, units: Tensor, width: int) -> tuple[int, Tensor]:
    """The axis of a reading tensor and, for each unit, its positions along it: (width, positions a unit)."""
    for axis in reversed(range(units.dim())):
        lines = units.movedim(axis, 0).reshape(units.shape[axis], -1)
        if bool((lines == lines[:, :1]).all()) and len(lines) > 1:
            found = [(lines[:, 0] == u).nonzero().flatten() for u in range(width)]
            if len({len(f) for f in found}) == 1 and len(found[0]):
                return axis, torch.stack(found)
    raise UsageError(f"{name} reads these units mixed with others, or not all of them alike")


def _layers(
    wiring: Wiring, layers: Sequence[str] | None
) -> list[tuple[list[str], dict[str, Tensor]]]:
    """Layers with weights that something reads; those read by the same entries (a gate) together."""
    out: list[tuple[list[str], dict[str, Tensor]]] = []
    for name, place in wiring.places.items():
        if layers is not None and name not in layers:
            continue
        if not any(len(wiring.shapes[n]) > 1 for n, _ in place.slices) or place.width < 2:
            continue
        readers = wiring.readers(name)
        if not readers:
            continue
        for names, others in out:
            same = others.keys() == readers.keys()
            if same and all(torch.equal(others[n], readers[n]) for n in others):
                names.append(name)
                break
        else:
            out.append(([name], readers))
    return out


def _rewrites(
    start: Plan, wiring: Wiring, found: Component, choice: Choice, readers: dict[str, Tensor]
) -> list[Rewrite]:
    out = []
    for role in ("incoming", "own"):
        for (name, axis), gone in getattr(found, role).items():
            out.append(_dropped(wiring, name, axis, role, gone))
    width = len(choice.kept) + len(choice.gone)
    for name, units in readers.items():
        axis, order = positions(name, units, width)
        old = wiring.shapes[name][axis]
        going = set(order[choice.gone].flatten().tolist())
        take = [n for n in range(old) if n not in going]
        at = {n: k for k, n in enumerate(take)}
        add = [
            (at[int(order[i, p])], int(order[j, p]), float(choice.mix[a, b]))
            for a, j in enumerate(choice.gone)
            for b, i in enumerate(choice.kept)
            for p in range(order.shape[1])
            if choice.mix[a, b] != 0
        ]
        plain = Map(torch.tensor(take), torch.ones(len(take)))
        out.append(Rewrite(name, axis, "outgoing", replace(plain, add=tuple(add)), plain, old))
    return out


def _dropped(wiring: Wiring, name: str, axis: int, role: str, gone: Sequence[int]) -> Rewrite:
    old = wiring.shapes[name][axis]
    take = torch.tensor([n for n in range(old) if n not in set(gone)])
    plain = Map(take, torch.ones(len(take)))
    return Rewrite(name, axis, role, plain, plain, old)  # type: ignore[arg-type]


def _undisturbed(
    plan: Plan,
    wiring: Wiring,
    readers: Mapping[str, Tensor],
    choice: Choice,
    reads: Sequence[Read],
) -> None:
    """Raises ``UsageError`` if what stays is read otherwise than before: the bound speaks of what goes alone."""
    small = duplicate(plan.model)
    carry_out(small, plan.edits, plan.attributes)
    after = Wiring(small, plan.inputs)
    later = after.values()
    width = len(choice.kept) + len(choice.gone)
    for name, units in readers.items():
        axis, order = positions(name, units, width)
        going = set(order[choice.gone].flatten().tolist())
        take = [n for n in range(wiring.shapes[name][axis]) if n not in going]
        before = values_along(reads, wiring, (name, axis))[take]
        now = values_along(later, after, (name, axis))
        if before.shape != now.shape or bool(
            ((before - now).abs() > SAME * before.abs().max()).any()
        ):
            raise UsageError(
                f"{name} would read what stays otherwise, too (a norm takes a mean over these units, or layers behind "
                "one another read them), so no bound can be given; units that are certified equal can be merged"
            )


def _bound(start: Plan, readers: dict[str, Tensor], choice: Choice) -> float:
    """Sum over the units that go of what is left of them times the norm of what reads them."""
    tensors = dict(start.model.named_parameters())
    width = len(choice.kept) + len(choice.gone)
    worst = 0.0
    for name, units in readers.items():
        axis, order = positions(name, units, width)
        columns = tensors[name].detach().double().movedim(axis, 0)[order[choice.gone]]
        # Of one output of the reader: its weights for the unit, all positions and taps of a filter together.
        weight = columns.abs().sum(tuple(n for n in range(1, columns.dim()) if n != 2))
        worst = max(worst, float((choice.left[:, None] * weight).sum(0).max()))
    return worst
