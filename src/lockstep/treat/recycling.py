"""``recycle``: units that do nothing, or nothing of their own, start afresh, and the function stays.

*Dormant* units (Sokar et al., arXiv 2302.12902: mean absolute activation at most ``tau`` times the layer's mean) get
new incoming weights and zero outgoing ones (ReDo). *Duplicates*, locked units, give their outgoing weights to the one
that stays, then the same. Nothing changes shape, so this also works where ``merge`` cannot. *Copied modules*
(upcycled experts) keep what they know but for a share of their hidden units, which is redrawn in each copy by itself
(Drop-Upcycling, arXiv 2502.19261): from a normal distribution of the mean and spread that the redrawn entries had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..pipeline import audit
from . import function
from .components import Component, components, located, not_followed, values_along
from .edits import Edit, Write, carry_out
from .fitting import require_module
from .merging import certified, moved_reads, partners
from .plan import Plan, Refusal, auditor
from .wiring import Read, Wiring, doubled, duplicate

GAINS = ("weight", "running_var")
WHOLE = "whole modules are recycled in part: redraw=0.5 draws half of the hidden units of each copy anew"


@torch.inference_mode(False)
def recycle(
    model: nn.Module,
    inputs: Any,
    *,
    layers: Sequence[str] | None = None,
    dormant: float | None = 0.0,
    duplicates: bool = True,
    redraw: float | None = None,
    loss: Callable[..., Any] | None = None,
    targets: Any = None,
    optimizer: Any = None,
    update: Any = None,
    seed: int = 0,
) -> Plan:
    """A plan that redraws dormant and duplicate units; the moments of their entries are reset.

    ``dormant`` is Sokar's tau on these ``inputs`` (0: only units that are silent on all of them; None: none).
    The function is kept on these inputs for tau 0, and on all inputs for duplicates; for a larger tau the receipt
    says how much it changes. New incoming weights are uniform in ``±1/sqrt(fan in)``, PyTorch's default. ``redraw`` is
    the share of their hidden units that locked modules (all but the first of a class) get redrawn; .5 is what the
    source found best. That changes the function, by as much as the receipt says.

    Shapes: ``inputs`` (N, …), N four or more; a unit's activation is averaged over all axes but its own.

    Source: Sokar et al., arXiv 2302.12902.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> with torch.no_grad():
    ...     _ = net[0].bias.copy_(torch.tensor([2.0, -100.0, 2.0]))
    >>> receipt = recycle(net, torch.rand(8, 2)).apply()
    >>> receipt.plan.what, receipt.function.kept, float(net[2].weight.data[0, 1])
    (('0 {1}: dormant, redrawn',), True, 0.0)

    Raises :class:`~lockstep.errors.UsageError` for layers that do not exist, and what ``audit`` raises.
    """
    require_module(model)
    if dormant is not None and dormant < 0:
        raise UsageError(f"dormant={dormant}: give tau, 0 or more, or None")
    if redraw is not None and not 0 < redraw <= 1:
        raise UsageError(
            f"redraw={redraw}: give the share of hidden units to redraw, above 0 and up to 1"
        )
    options = {
        "loss": loss, "targets": targets, "optimizer": optimizer, "update": update, "seed": seed,
    }  # fmt: skip
    report = audit(model, inputs, **options)
    wiring = Wiring(model, inputs)
    if layers is not None and set(layers) - set(report.layers):
        raise UsageError(
            f"no layer {', '.join(sorted(set(layers) - set(report.layers)))}; the layers are "
            f"{', '.join(report.layers)}"
        )
    start = Plan(
        "recycle", model, inputs, report.digest,
        before=report, again=auditor(inputs, options),
    )  # fmt: skip
    jobs = _Jobs(start, wiring, torch.Generator().manual_seed(seed))
    if duplicates:
        twins = {
            n: sorted(c.gone) for n, c in certified(report, layers).items() if n in wiring.places
        }
        jobs.duplicates(twins)
        for group in report.locked:
            if not isinstance(group.where, str) and layers is None:
                jobs.copies([group.where[u] for u in group.units], redraw)
    if dormant is not None:
        reads = wiring.values()
        silent: dict[str, list[int]] = {}
        for name in wiring.places:
            if (layers is None or name in layers) and _of_weights(wiring, name):
                try:
                    quiet = dormant_units(wiring, name, reads, dormant)
                except UsageError as error:
                    jobs.refused.append(Refusal(name, (), str(error)))
                    continue
                if quiet := [u for u in quiet if (name, u) not in jobs.done]:
                    silent[name] = quiet
        jobs.dormant(silent, exact=dormant == 0.0)
    return jobs.plan(keeps=not dormant and redraw is None)


def dormant_units(wiring: Wiring, layer: str, reads: Sequence[Read], tau: float) -> list[int]:
    """Units whose mean absolute value, as it is read, is at most ``tau`` times the layer's mean."""
    width = wiring.places[layer].width
    total, count = torch.zeros(width), torch.zeros(width)
    for name, readers in wiring.readers(layer).items():
        for read in reads:
            entry = read.entries[:, 0] - wiring.first[name]
            inside = (entry >= 0) & (entry < readers.numel())
            unit = readers.reshape(-1)[entry.clamp(0, readers.numel() - 1)]
            for k in (inside & (unit >= 0)).nonzero().flatten().tolist():
                values = read.values[k].abs()
                total[unit[k]] += float(values.sum())
                count[unit[k]] += values.numel()
    seen = count > 0
    if not bool(seen.any()):
        return []
    score = total / count.clamp(min=1)
    mean = float(score[seen].mean())
    return [u for u in range(width) if bool(seen[u]) and float(score[u]) <= tau * mean]


class _Jobs:
    """Collects the writes of one plan, component by component; what fails is refused with its reason."""

    def __init__(self, start: Plan, wiring: Wiring, generator: torch.Generator) -> None:
        self.start, self.wiring, self.generator = start, wiring, generator
        self.tensors: dict[str, Tensor] = {
            **dict(start.model.named_parameters()),
            **dict(start.model.named_buffers()),
        }
        self.values = {n: t.detach().double().cpu().clone() for n, t in self.tensors.items()}
        self.touched: dict[str, Tensor] = {}
        self.fresh: dict[str, Tensor] = {}
        self.roles: dict[str, str] = {}
        self.done: set[tuple[str, int]] = set()
        self.what: list[str] = []
        self.refused: list[Refusal] = []

    def duplicates(self, wanted: Mapping[str, Sequence[int]]) -> None:
        if not wanted:
            return
        reads = moved_reads(self.wiring, self.start.model, self.start.inputs)
        self._each(wanted, "duplicate, redrawn", True, lambda found: self._give_away(found, reads))

    def dormant(self, wanted: Mapping[str, Sequence[int]], *, exact: bool) -> None:
        if wanted:
            self._each(wanted, "dormant, redrawn", exact, lambda found: None)

    def copies(self, paths: Sequence[str], redraw: float | None) -> None:
        """A share of the hidden units of every module but the first is drawn anew, its moments forgotten."""
        if redraw is None:
            self.refused.append(Refusal(" = ".join(paths), (), WHOLE))
            return
        for path in paths[1:]:
            count = 0
            chosen: dict[
                int, list[int]
            ] = {}  # a gate and the value it multiplies lose the same units
            for layer in self._hidden(path):
                width = self.wiring.places[layer].width
                if width not in chosen:
                    order = torch.randperm(width, generator=self.generator).tolist()
                    chosen[width] = sorted(order[: max(1, round(redraw * width))])
                try:
                    found = located(self.wiring, {layer: chosen[width]})
                except UsageError as error:
                    self.refused.append(Refusal(layer, tuple(chosen[width]), str(error)))
                    continue
                for (name, axis), gone in (
                    *found.incoming.items(),
                    *found.own.items(),
                    *found.outgoing.items(),
                ):
                    if not self._is_norm(name):
                        rows = self.values[name].movedim(axis, 0)
                        part = rows[list(gone)]
                        noise = torch.randn(
                            part.shape, generator=self.generator, dtype=torch.double
                        )
                        rows[list(gone)] = part.mean() + part.std(correction=0) * noise
                        self._touch((name, axis), gone, "incoming")
                count += len(chosen[width])
            if count:
                self.what.append(f"{path}: {count} hidden units redrawn")
            else:
                self.refused.append(
                    Refusal(path, (), "it has no hidden units of its own to redraw")
                )

    def _hidden(self, path: str) -> list[str]:
        """Layers inside a module whose units only weights inside it read."""
        found = []
        for name, place in self.wiring.places.items():
            inside = place.module == path or place.module.startswith(f"{path}.")
            if inside and _of_weights(self.wiring, name):
                reads = self.wiring.taint((name, u) for u in range(place.width)).reads
                if reads and all(n.startswith(f"{path}.") for n in reads):
                    found.append(name)
        return found

    def _each(
        self,
        wanted: Mapping[str, Sequence[int]],
        word: str,
        exact: bool,
        first: Callable[[Component], None],
    ) -> None:
        strange = not_followed(self.wiring, wanted)
        self.refused += [Refusal(n, tuple(wanted[n]), reason) for n, reason in strange.items()]
        wanted = {n: units for n, units in wanted.items() if n not in strange}
        for group in components(self.wiring, wanted):
            values = {n: t.clone() for n, t in self.values.items()}
            touched = {n: t.clone() for n, t in self.touched.items()}
            fresh = {n: t.clone() for n, t in self.fresh.items()}
            try:
                found = located(self.wiring, group)
                first(found)
                self._redraw(found)
                if exact:
                    self._verify()
            except UsageError as error:
                self.values, self.touched, self.fresh = values, touched, fresh
                self.refused += [Refusal(n, u, str(error)) for n, u in group.items()]
                continue
            self.done |= {(n, u) for n, units in group.items() for u in units}
            self.what += [f"{Refusal(n, u, word)}" for n, u in group.items()]

    def _give_away(self, found: Component, reads: Sequence[Read]) -> None:
        """What reads a duplicate is added to what reads its equal."""
        for key, gone in found.outgoing.items():
            values = values_along(reads, self.wiring, key)
            kept = [n for n in range(self.wiring.shapes[key[0]][key[1]]) if n not in set(gone)]
            columns = self.values[key[0]].movedim(key[1], 0)
            for source, (stays, sign) in partners(values, kept, gone, key).items():
                columns[stays] += sign * columns[source]
                self._touch(key, [stays], "outgoing", fresh=False)

    def _redraw(self, found: Component) -> None:
        if not found.outgoing:
            raise UsageError(
                "nothing that reads these units was found: they may be outputs of the model"
            )
        for key, gone in found.outgoing.items():
            self.values[key[0]].movedim(key[1], 0)[list(gone)] = 0.0
            self._touch(key, gone, "outgoing")
        fans = self._fans(found)
        for (name, axis), gone in (*found.incoming.items(), *found.own.items()):
            rows = self.values[name].movedim(axis, 0)
            part = rows[list(gone)]
            if self._is_norm(name):
                rows[list(gone)] = 1.0 if name.rpartition(".")[2] in GAINS else 0.0
            else:
                bound = fans.get(name.rpartition(".")[0], part[0].numel()) ** -0.5
                draw = torch.rand(part.shape, generator=self.generator, dtype=torch.double)
                rows[list(gone)] = (2 * draw - 1) * bound
                for other in (a for (n, a) in found.outgoing if n == name):
                    # A recurrent weight is read and written: what reads the new unit stays zero.
                    at = list(found.outgoing[name, other])
                    self.values[name].movedim(other, 0)[at] = 0.0
            self._touch((name, axis), gone, "incoming")

    def _fans(self, found: Component) -> dict[str, int]:
        """Module → inputs of one unit, from its weights of two and more dimensions."""
        fans: dict[str, int] = {}
        for name, axis in found.incoming:
            shape = self.wiring.shapes[name]
            if len(shape) > 1:
                path = name.rpartition(".")[0]
                fans[path] = max(fans.get(path, 1), shape.numel() // shape[axis])
        return fans

    def _is_norm(self, name: str) -> bool:
        module = self.start.model.get_submodule(name.rpartition(".")[0])
        kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
        return isinstance(module, kinds)

    def _touch(
        self, key: tuple[str, int], positions: Sequence[int], role: str, fresh: bool = True
    ) -> None:
        for masks in (self.touched, *([self.fresh] if fresh else [])):
            blank = torch.zeros(self.wiring.shapes[key[0]], dtype=torch.bool)
            masks.setdefault(key[0], blank).movedim(key[1], 0)[list(positions)] = True
        self.roles.setdefault(key[0], role)

    def edits(self) -> tuple[Edit, ...]:
        """One write a tensor. Only what was redrawn or emptied loses its moments; sums keep theirs."""
        return tuple(
            Write(n, self.roles[n], mask, self.values[n][mask], self.fresh.get(n))  # type: ignore[arg-type]
            for n, mask in self.touched.items()
        )

    def _verify(self) -> None:
        """On a float64 copy, the function is the same on these inputs."""
        inputs = doubled(self.start.inputs)
        before, after = duplicate(self.start.model), duplicate(self.start.model)
        carry_out(after, self.edits(), ())
        tolerance = max(function.precision(before, inputs), function.EXACT)
        changed = function.change(
            function.outputs(before, inputs), function.outputs(after, inputs), tolerance
        )
        if not changed.kept:
            raise UsageError(f"the function would not be kept ({changed})")

    def plan(self, *, keeps: bool) -> Plan:
        """The plan of everything that was collected."""
        return replace(
            self.start,
            edits=self.edits(),
            what=tuple(self.what),
            refused=tuple(self.refused),
            keeps=keeps,
        )


def _of_weights(wiring: Wiring, layer: str) -> bool:
    """Gains of a norm and biases alone are no units to redraw: their layer is the one in front."""
    return any(len(wiring.shapes[name]) > 1 for name, _ in wiring.places[layer].slices)
