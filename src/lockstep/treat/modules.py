"""Whole modules that are one for ever: members of an ensemble, experts behind a router.

One member of each class stays in its ``ModuleList``. What combines the members has to weigh it for all m of its class:

* a mean over equal members needs nothing;
* a softmax over a router's logits gives the class m times the weight of one if ``log m`` is added to the logit (to the
  bias, or a constant one is given to a router that has none; classes of one size need nothing, since a softmax
  ignores a common shift);
* in a plain sum, or behind a sigmoid, the member's last linear layer is multiplied by m.

Which of these a forward does is tried: a way is taken if the function and the training that follows are the same.
Gradients with respect to what a class is computed from, the router's row too, add up over the class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..types import Audit
from . import function
from .edits import BIAS, MEMBERS, Attribute, Edit, Map, Rewrite, carry_out
from .plan import Plan, Refusal
from .trajectory import follows
from .wiring import doubled, duplicate

Counts = dict[str, tuple[Tensor, Tensor]]
NAMED = (
    "whole modules are taken out of a ModuleList only; these are called by their names in the code of forward. Untie "
    "them, or recycle with redraw="
)


@dataclass(frozen=True)
class Members:
    """The list at ``path``: ``gone`` member → the one that stays."""

    path: str
    count: int
    gone: Mapping[int, int]

    @property
    def kept(self) -> list[int]:
        """Members that stay."""
        return [n for n in range(self.count) if n not in self.gone]

    def size(self, member: int) -> int:
        """How many members ``member`` stands for."""
        return 1 + sum(stays == member for stays in self.gone.values())


def without_copies(plan: Plan, report: Audit) -> Plan:
    """``plan`` with every locked member of a list taken out that something can stand in for; the rest refused."""
    found, refused = lists(plan.model, report)
    for members in found:
        try:
            plan = _without(plan, members)
        except UsageError as error:
            names = " = ".join(
                f"{members.path}.{n}" for n in sorted({*members.gone, *members.gone.values()})
            )
            refused.append(Refusal(names, (), str(error)))
    return replace(plan, refused=(*plan.refused, *refused))


def lists(model: nn.Module, report: Audit) -> tuple[list[Members], list[Refusal]]:
    """Locked groups of modules by the ``ModuleList`` that holds them; those that no list holds are refused."""
    gone: dict[str, dict[int, int]] = {}
    refused = []
    for group in report.locked:
        if isinstance(group.where, str):
            continue
        paths = [group.where[u] for u in group.units]
        above = {path.rpartition(".")[0] for path in paths}
        owner = model.get_submodule(above.pop()) if len(above) == 1 else None
        if type(owner) is not nn.ModuleList:
            refused.append(Refusal(" = ".join(paths), (), NAMED))
            continue
        numbers = [int(path.rpartition(".")[2]) for path in paths]
        gone.setdefault(paths[0].rpartition(".")[0], {}).update(
            dict.fromkeys(numbers[1:], numbers[0])
        )
    found = [Members(path, len(model.get_submodule(path)), one) for path, one in gone.items()]  # type: ignore[arg-type]
    return found, refused


def _without(plan: Plan, members: Members) -> Plan:
    reasons = []
    for edits, attributes, counts in _ways(plan.model, members):
        try:
            return _tried(plan, members, edits, attributes, counts)
        except UsageError as error:
            reasons.append(str(error))
    raise UsageError(
        f"what combines them does not weigh the one that stays for all of its class ({reasons[0]}); nor does it with "
        "fewer rows of a router, a larger bias or larger outputs. Untie them, or recycle with redraw="
    )


def _tried(
    plan: Plan, members: Members, edits: list[Edit], attributes: list[Attribute], counts: Counts
) -> Plan:
    """The plan with this way added; ``UsageError`` if function or training would be others."""
    inputs = doubled(plan.inputs)
    renamed = _renaming(members)
    together = replace(
        plan,
        edits=(*plan.edits, *edits),
        attributes=(*plan.attributes, *attributes),
        counts={renamed(n): c for n, c in {**plan.counts, **counts}.items()},
        uneven=tuple(map(renamed, plan.uneven)),
    )
    big, small = duplicate(plan.model), duplicate(plan.model)
    try:
        carry_out(small, together.edits, together.attributes)
        tolerance = max(function.precision(big, inputs), function.EXACT)
        found = function.change(
            function.outputs(big, inputs), function.outputs(small, inputs), tolerance
        )
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"the changed model does not run ({type(error).__name__}: {error})"
        ) from error
    if not found.kept:
        raise UsageError(f"the function would not be kept ({found})")
    note = follows(big, small, inputs, together.rates)
    kept = len(members.kept)
    return replace(
        together,
        what=(*plan.what, f"{members.path}: {kept} of {members.count} modules stay"),
        refused=tuple(r for r in plan.refused if r.where not in _touched(edits, members)),
        notes=(*(n for n in plan.notes if not n.startswith("training")), note),
    )


def _touched(edits: Sequence[Edit], members: Members) -> set[str]:
    """Modules beside the list that are treated with it: what was refused of their units is done."""
    paths = {edit.name.rpartition(".")[0] for edit in edits}
    return {path for path in paths if not path.startswith(f"{members.path}.")}


def _ways(
    model: nn.Module, members: Members
) -> Iterator[tuple[list[Edit], list[Attribute], Counts]]:
    """Candidates: edits, attributes, counts."""
    removal = Attribute(members.path, MEMBERS, tuple(range(members.count)), tuple(members.kept))
    numbers = _numbers(model, members)
    routers = _routers(model, members)
    for scaled in (False, True):
        edits, counts = _of_members(model, members, scaled)
        for sizes in ([], numbers) if numbers else ([],):
            yield edits, [*sizes, removal], counts
        for path in routers:
            for shifted in (False, True):
                even = len({members.size(n) for n in members.kept}) == 1
                if shifted and even:
                    continue
                rows, row_counts, bias = _of_router(model, members, path, shifted)
                size = Attribute(path, "out_features", members.count, len(members.kept))
                for sizes in ([], numbers) if numbers else ([],):
                    yield [*edits, *rows], [*sizes, *bias, size, removal], {**counts, **row_counts}


def _of_members(model: nn.Module, members: Members, scaled: bool) -> tuple[list[Edit], Counts]:
    """Of those that stay: gradients add up; where outputs are scaled, the last layer reads the class."""
    edits: list[Edit] = []
    counts: Counts = {}
    for member in members.kept:
        size = members.size(member)
        path = f"{members.path}.{member}"
        parameters = dict(model.get_submodule(path).named_parameters())
        last = _last_layer(model.get_submodule(path)) if scaled else None
        for name, p in parameters.items():
            full = f"{path}.{name}"
            if size == 1 or not p.dim():
                continue
            is_last = last is not None and name.rpartition(".")[0] == last
            ones = torch.ones(p.shape, dtype=torch.double)
            counts[full] = (ones, ones * size) if is_last else (ones * size, ones)
            take = torch.arange(len(p))
            plain, times = (
                Map(take, torch.ones(len(p))),
                Map(take, torch.full((len(p),), float(size))),
            )
            edits.append(
                Rewrite(full, 0, "outgoing", times, plain, len(p))
                if is_last
                else Rewrite(full, 0, "own", plain, times, len(p))
            )
    return edits, counts


def _last_layer(module: nn.Module) -> str | None:
    """The path of the last linear layer, in the order of definition."""
    found = [name for name, m in module.named_modules() if isinstance(m, nn.Linear)]
    return found[-1] if found else None


def _routers(model: nn.Module, members: Members) -> list[str]:
    """Linear layers beside the list with one output for each member."""
    above = members.path.rpartition(".")[0]
    return [
        path
        for path, m in model.named_modules()
        if isinstance(m, nn.Linear)
        and m.out_features == members.count
        and (not above or path.startswith(f"{above}."))
        and not path.startswith(f"{members.path}.")
    ]


def _of_router(
    model: nn.Module, members: Members, path: str, shifted: bool
) -> tuple[list[Edit], Counts, list[Attribute]]:
    """Rows of the members that go are dropped; ``shifted``: the others' biases grow by the logarithm of their size."""
    edits: list[Edit] = []
    counts: Counts = {}
    sizes = torch.tensor([members.size(n) for n in members.kept], dtype=torch.double)
    logarithms = tuple(sizes.log().tolist())
    take = torch.tensor(members.kept)
    parameters = dict(model.get_submodule(path).named_parameters())
    for key, p in parameters.items():
        shift = logarithms if shifted and key == "bias" else ()
        values = Map(take, torch.ones(len(take)), shift=shift)
        edits.append(Rewrite(f"{path}.{key}", 0, "own", values, Map(take, sizes), members.count))
        written = sizes.reshape(-1, *[1] * (p.dim() - 1)).expand(len(take), *p.shape[1:]).clone()
        counts[f"{path}.{key}"] = (written, torch.ones_like(written))
    constant = shifted and "bias" not in parameters
    return edits, counts, [Attribute(path, BIAS, None, logarithms)] if constant else []


def _numbers(model: nn.Module, members: Members) -> list[Attribute]:
    """Integers of the modules above that equal the number of members."""
    above = members.path.rpartition(".")[0]
    owner = model.get_submodule(above)
    return [
        Attribute(above, name, value, len(members.kept))
        for name, value in owner.__dict__.items()
        if type(value) is int and value == members.count and not name.startswith("_")
    ]


def _renaming(members: Members):  # type: ignore[no-untyped-def]
    """Name of a parameter before → after the others have moved up."""
    pattern = re.compile(rf"{re.escape(members.path)}\.(\d+)\.")
    place = {n: k for k, n in enumerate(members.kept)}

    def renamed(name: str) -> str:
        found = pattern.match(name)
        if found is None or int(found[1]) not in place:
            return name
        return f"{members.path}.{place[int(found[1])]}.{name[found.end() :]}"

    return renamed
