"""``untie``: the smallest push that lets locked units differentiate.

Random noise mostly *raises* the loss and is slow: a random direction has little of the ones that grow. The default
moves the copies apart along the direction in which the loss falls fastest to second order (``curvature.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..pipeline import audit
from ..transverse import lowest
from ..types import Audit
from .curvature import Landscape, pieces, spread
from .edits import Write
from .fitting import require_module
from .plan import Plan, Refusal, auditor
from .wiring import Wiring, doubled, duplicate

Direction = Literal["fastest", "random"]
Entries = list[tuple[str, Tensor]]


@dataclass(frozen=True)
class Copies:
    """Units (or modules) that are one: for each, the entries in an order that makes them correspond, and a sign."""

    where: str
    units: tuple[int, ...]
    entries: tuple[Entries, ...]
    signs: tuple[float, ...]

    @property
    def size(self) -> int:
        """Entries of one copy."""
        return sum(len(at) for _, at in self.entries[0])

    def gather(self, tensors: dict[str, Tensor], rank: int) -> Tensor:
        """(size,) the entries of one copy."""
        parts = [tensors[n].detach().reshape(-1)[at] for n, at in self.entries[rank]]
        return torch.cat([part.double() for part in parts])


@torch.inference_mode(False)
def untie(
    model: nn.Module,
    inputs: Any,
    *,
    loss: Callable[..., Any] | None = None,
    targets: Any = None,
    layers: Sequence[str] | None = None,
    direction: Direction | None = None,
    size: float = 0.01,
    relative: bool = True,
    optimizer: Any = None,
    update: Any = None,
    seed: int = 0,
) -> Plan:
    """A plan that moves locked units apart by a little, so that training can separate them.

    ``direction="fastest"`` (default where a ``loss`` is given) is the one along which the loss falls fastest to
    second order at this point; ``"random"`` draws it. The copies of a class move by ``size`` times coefficients
    from 1 to -1 that sum to zero (two copies: +size and -size), ``size`` relative to the norm of one unit's
    weights, or absolute with ``relative=False``. The receipt's ``measured`` holds the predicted and the measured
    change of the loss. Units, mirror pairs, and locked modules (heads, experts, branches) alike.

    Shapes: ``inputs`` (N, …), N four or more; ``targets`` as the loss takes them.

    Source: Liu, Wu and Wang, arXiv 1910.02366, for the direction; see ``docs/treat.md``.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    >>> for p in net.parameters():
    ...     _ = nn.init.constant_(p, 0.5)
    >>> receipt = untie(net, torch.randn(4, 2)).apply()
    >>> receipt.after.locked
    ()

    Raises :class:`~lockstep.errors.UsageError` for a direction or size that makes no sense, and what ``audit`` raises.
    """
    require_module(model)
    direction = direction or ("random" if loss is None else "fastest")
    if direction not in ("fastest", "random"):
        raise UsageError(f"direction={direction!r}: give 'fastest' or 'random'")
    if direction == "fastest" and loss is None:
        raise UsageError("the fastest direction is one of a loss: give loss= and targets=")
    if not size > 0:
        raise UsageError(f"size={size}: give a positive number; 0.01 moves units by a percent")
    options = {
        "loss": loss, "targets": targets, "optimizer": optimizer, "update": update, "seed": seed,
    }  # fmt: skip
    report = audit(model, inputs, **options)
    plan = Plan(
        "untie", model, inputs, report.digest, keeps=False,
        before=report, again=auditor(inputs, options),
    )  # fmt: skip
    groups, refused = copies_of(model, inputs, report, layers)
    generator = torch.Generator().manual_seed(seed)
    land = (
        None
        if loss is None
        else Landscape(duplicate(model), doubled(inputs), loss, doubled(targets))
    )
    tensors: dict[str, Tensor] = dict(model.named_parameters())
    total = {n: torch.zeros(p.shape, dtype=torch.double) for n, p in tensors.items()}
    what = []
    for group in groups:
        if direction == "fastest" and land is not None:
            value, v = lowest(_across(land, group), group.size, generator)
            said = f"lowest curvature {value:.4g}"
        else:
            v, said = _random(group, generator), "random direction"
        norm = float(
            torch.stack([group.gather(tensors, r).norm() for r in range(len(group.units))]).mean()
        )
        step = size * (norm if relative and norm > 0 else 1.0)
        for c, sign, entries in zip(
            spread(len(group.units)), group.signs, group.entries, strict=True
        ):
            for name, at, part in pieces(entries, v):
                total[name].view(-1)[at] += step * float(c) * sign * part
        units = ", ".join(map(str, group.units))
        what.append(f"{group.where} {{{units}}}: moved by up to {step:.4g}, {said}")
    edits = tuple(
        Write(n, "moved", d != 0, (tensors[n].detach().double() + d.to(tensors[n].device))[d != 0])
        for n, d in total.items()
        if bool((d != 0).any())
    )
    predicted = 0.0 if land is None or not edits else _second_order(land, total)
    return replace(
        plan,
        edits=edits,
        what=tuple(what),
        refused=tuple(refused),
        measure=None if land is None else _measure(land, predicted, inputs, loss, targets),
    )


def copies_of(
    model: nn.Module, inputs: Any, report: Audit, layers: Sequence[str] | None
) -> tuple[list[Copies], list[Refusal]]:
    """Locked groups with the entries of each member; heads and gates with all that belongs to them."""
    found: list[Copies] = []
    refused: list[Refusal] = []
    bare = dict(model.named_parameters())
    names = {id(p): n for n, p in bare.items()}
    wiring: Wiring | None = None
    nodes: list[tuple[str, tuple[int, ...], tuple[float, ...]]] = []
    for group in report.locked:
        if isinstance(group.where, str):
            if layers is None or group.where in layers:
                signs = tuple(float(s) for s in group.signs) or (1.0,) * len(group.units)
                nodes.append((group.where, group.units, signs))
            continue
        paths = [group.where[u] for u in group.units]
        if layers is not None and not set(paths) & set(layers):
            continue
        entries: list[Entries] = [
            [
                (names[id(p)], torch.arange(p.numel()))
                for p in ([bare[path]] if path in bare else model.get_submodule(path).parameters())
            ]
            for path in paths
        ]
        found.append(Copies(" = ".join(paths), group.units, tuple(entries), (1.0,) * len(paths)))
    nodes = [node for node in nodes if not node[0].endswith("[heads]")]
    if nodes:
        wiring = Wiring(model, inputs)
        placed = [node for node in nodes if node[0] in wiring.places]
        try:
            found += [_of_units(wiring, model, tandem) for tandem in _tandems(wiring, placed)]
        except UsageError as error:
            refused += [Refusal(name, units, str(error)) for name, units, _ in placed]
        refused += [
            Refusal(name, units, "no parameter of its own holds these units")
            for name, units, _ in nodes
            if name not in wiring.places
        ]
    return [copies for copies in found if copies.size], refused


def _reads(wiring: Wiring, units: Sequence[tuple[str, int]]) -> dict[str, Tensor]:
    """What reads the units; nothing where that cannot be told (routers): they are moved by their own weights then."""
    try:
        return wiring.taint(units).reads
    except UsageError:
        return {}


Node = tuple[str, tuple[int, ...], tuple[float, ...]]


def _tandems(wiring: Wiring, nodes: Sequence[Node]) -> list[list[Node]]:
    """Classes of one size whose members are read by the same entries: rows of a head, a value and its gate."""
    groups: list[tuple[list[Node], dict[str, Tensor]]] = []
    for node in nodes:
        layer, units, _ = node
        mine, masks = [node], dict(_reads(wiring, [(layer, u) for u in units[1:]]))
        rest = []
        for others, seen in groups:
            meets = any(bool((masks[n] & seen[n]).any()) for n in masks.keys() & seen.keys())
            if meets and len(others[0][1]) == len(units):
                mine = [*others, *mine]
                for n, mask in seen.items():
                    masks[n] = masks[n] | mask if n in masks else mask
            else:
                rest.append((others, seen))
        groups = [*rest, (mine, masks)]
    return [members for members, _ in groups]


def _of_units(wiring: Wiring, model: nn.Module, tandem: Sequence[Node]) -> Copies:
    """Incoming and outgoing entries of the r-th members of all classes, in the order of the tensors."""
    parameters = {n for n, _ in model.named_parameters()}
    count = len(tandem[0][1])
    masks: list[dict[str, Tensor]] = []
    for rank in range(count):
        mine: dict[str, Tensor] = {}
        chosen = [(layer, units[rank]) for layer, units, _ in tandem]
        for layer, unit in chosen:
            for name, mask in wiring.incoming(layer, [unit]):
                mine[name] = mine[name] | mask if name in mine else mask
        for name, mask in _reads(wiring, chosen).items():
            mine[name] = mine[name] | mask if name in mine else mask
        masks.append({n: m for n, m in mine.items() if n in parameters})
    common = [n for n in masks[0] if all(n in m for m in masks)]
    entries: list[Entries] = [[] for _ in range(count)]
    for name in common:
        several = torch.stack([m[name] for m in masks]).sum(0) > 1
        alone = [(m[name] & ~several).reshape(-1).nonzero().flatten() for m in masks]
        if len({len(at) for at in alone}) == 1 and len(alone[0]):
            for rank in range(count):
                entries[rank].append((name, alone[rank]))
    layer, units, signs = tandem[0]
    where = layer if len(tandem) == 1 else f"{layer} and {len(tandem) - 1} with it"
    return Copies(where, units, tuple(entries), signs)


def _across(land: Landscape, group: Copies) -> Callable[[Tensor], Tensor]:
    """v (size,) → H_t v: the Hessian between displacements ``c_r * v`` of the copies, c of length one."""
    c = spread(len(group.units))
    c = c / c.norm()

    def product(v: Tensor) -> Tensor:
        moved = {n: torch.zeros(p.shape, dtype=torch.double) for n, p in land.parameters.items()}
        for weight, sign, entries in zip(c, group.signs, group.entries, strict=True):
            for name, at, part in pieces(entries, v):
                moved[name].view(-1)[at] += float(weight) * sign * part
        image = land.hessian_times(moved)
        back = torch.zeros_like(v)
        for weight, sign, entries in zip(c, group.signs, group.entries, strict=True):
            parts = [image[n].reshape(-1)[at].double() for n, at in entries]
            back += float(weight) * sign * torch.cat(parts)
        return back

    return product


def _random(group: Copies, generator: torch.Generator) -> Tensor:
    v = torch.randn(group.size, generator=generator, dtype=torch.double)
    return v / v.norm()


def _second_order(land: Landscape, total: dict[str, Tensor]) -> float:
    image = land.hessian_times(total)
    return 0.5 * sum(float((image[n].double() * d).sum()) for n, d in total.items() if n in image)


def _measure(
    land: Landscape, predicted: float, inputs: Any, loss: Any, targets: Any
) -> Callable[[nn.Module], dict[str, float]]:
    before = float(land.value().detach())

    def measure(treated: nn.Module) -> dict[str, float]:
        after = Landscape(duplicate(treated), doubled(inputs), loss, doubled(targets))
        change = float(after.value().detach()) - before
        return {
            "loss before": before,
            "loss change predicted": predicted,
            "loss change measured": change,
        }

    return measure
