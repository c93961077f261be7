"""What a treatment does to one tensor, and to what an optimizer remembers about it.

A :class:`Rewrite` replaces an axis of a tensor by a linear map of it: units are dropped, doubled, summed. Gradients
transform by the dual map, so that moments of a merged unit are *summed* over what the units are computed from
(each copy's gradient is a part of the whole) and *averaged* over what is read of them (each copy's gradient is the
whole). A :class:`Write` gives entries other values in place; their moments are kept or reset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError

CLASS, MEMBERS, BIAS = "__class__", "members", "bias"
"""Attributes that are none: what a module is, the entries of a ``ModuleList``, a constant bias where there was none."""
Role = Literal["incoming", "outgoing", "own"]
SQUARES = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum")
LINEAR = ("exp_avg", "momentum_buffer", "grad_avg", "prev")
LARGEST = ("exp_inf",)
"""Of gradients: mean squares, means, and the largest absolute value."""
WEIGHTS = ("ax",)
STEPS = ("step_size",)
SQUARED_STEPS = ("acc_delta",)
"""Of weights: their means, and how far they move."""
KNOWN = (*SQUARES, *LINEAR, *LARGEST, *WEIGHTS, *STEPS, *SQUARED_STEPS)


def dimension(key: str, optimizer: torch.optim.Optimizer) -> tuple[int, int]:
    """Powers of the gradient and of the weight in one tensor of an optimizer's memory.

    >>> dimension("exp_avg_sq", torch.optim.Adam([nn.Parameter(torch.ones(1))]))
    (2, 0)
    """
    if key == "momentum_buffer" and isinstance(optimizer, torch.optim.RMSprop):
        return 0, 0  # of gradients in units of their own size
    if key in SQUARES:
        return 2, 0
    if key in SQUARED_STEPS:
        return 0, 2
    return (0, 1) if key in (*WEIGHTS, *STEPS) else (1, 0)


@dataclass(frozen=True, eq=False)
class Map:
    """New position n of an axis is ``scale[n] * old[take[n]]``, plus ``coefficient * old[source]`` for each
    ``(n, source, coefficient)`` of ``add``, plus ``shift[n]`` if there is one."""

    take: Tensor
    scale: Tensor
    add: tuple[tuple[int, int, float], ...] = ()
    shift: tuple[float, ...] = ()

    def of(self, tensor: Tensor, axis: int, power: int = 1, *, sizes: bool = False) -> Tensor:
        """The mapped tensor; ``power=2`` for mean squares, which add up as their roots do; ``sizes`` have no sign."""
        old = tensor.detach().movedim(axis, 0)
        old = old.sqrt() if power == 2 else old
        sizes = sizes or power == 2
        new = old[self.take]
        scale = self.scale.abs() if sizes else self.scale
        if not bool((scale == 1).all()):
            new = new * scale.to(new).reshape(-1, *[1] * (new.dim() - 1))
        if self.add:
            columns = [list(column) for column in zip(*self.add, strict=True)]
            at, source = torch.tensor(columns[0]), torch.tensor(columns[1])
            coefficient = torch.tensor(columns[2], dtype=torch.double)
            weight = (coefficient.abs() if sizes else coefficient).to(new)
            new = new.index_add(0, at, old[source] * weight.reshape(-1, *[1] * (new.dim() - 1)))
        if self.shift:
            new = new + torch.tensor(self.shift, dtype=torch.double).to(new).reshape(
                -1, *[1] * (new.dim() - 1)
            )
        new = new.square() if power == 2 else new
        return new.movedim(0, axis).contiguous()

    def average(self) -> Map:
        """Of what belongs to each copy and does not add up: the mean with the signs of this map."""
        count = torch.ones(len(self.take), dtype=torch.double)
        for at, _, _ in self.add:
            count[at] += 1
        sign = tuple(
            (at, source, (1 if c > 0 else -1) / float(count[at])) for at, source, c in self.add
        )
        return Map(self.take, self.scale.sign() / count, sign)


@dataclass(frozen=True, eq=False)
class Rewrite:
    """``values`` maps the tensor along ``axis``, ``gradients`` what is remembered of its gradients."""

    name: str
    axis: int
    role: Role
    values: Map
    gradients: Map

    def __str__(self) -> str:
        if self.new == self.old:
            return f"{self.role} {self.name}: stands for several"
        return f"{self.role} {self.name}: axis {self.axis} from {self.old} to {self.new}"

    old: int = 0

    @property
    def new(self) -> int:
        """Length of the axis afterwards."""
        return len(self.values.take)


@dataclass(frozen=True, eq=False)
class Write:
    """``values`` for the entries where ``mask`` is True; an optimizer forgets those where ``reset`` is."""

    name: str
    role: Literal["incoming", "outgoing", "own", "moved"]
    mask: Tensor
    values: Tensor
    reset: Tensor | None = None

    def __str__(self) -> str:
        return f"{self.role} {self.name}: {int(self.mask.sum())} entries"


@dataclass(frozen=True)
class Attribute:
    """A size that a module keeps beside its tensors."""

    module: str
    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        where = f"{self.module}." if self.module else ""
        before, after = (
            [round(x, 4) for x in v] if self.name == BIAS and v else getattr(v, "__name__", v)
            for v in (self.before, self.after)
        )
        return f"{where}{self.name}: {before} -> {after}"

    def set_on(self, model: nn.Module) -> None:
        """The new value, on a model that has the old one."""
        owner = model.get_submodule(self.module)
        if self.name == MEMBERS:
            kept = [owner._modules[str(n)] for n in self.after]
            owner._modules = {str(n): member for n, member in enumerate(kept)}
        elif self.name == CLASS:
            owner.__class__ = self.after
        elif self.name == BIAS:
            bias = torch.tensor(self.after, dtype=torch.double).to(owner.get_parameter("weight"))
            owner._parameters[BIAS] = nn.Parameter(bias, requires_grad=False)
        else:  # what a property of the class computes is not stored; a plain attribute is
            owner.__dict__[self.name] = self.after

    def kept(self, model: nn.Module) -> Callable[[], None]:
        """A function that puts the present value back."""
        owner = model.get_submodule(self.module)
        if self.name == CLASS:
            return partial(setattr, owner, CLASS, type(owner))
        if self.name == MEMBERS:
            return partial(setattr, owner, "_modules", owner._modules)
        if self.name == BIAS:
            return partial(owner._parameters.__setitem__, BIAS, None)
        if self.name in owner.__dict__:
            return partial(owner.__dict__.__setitem__, self.name, owner.__dict__[self.name])
        return partial(owner.__dict__.pop, self.name, None)


Edit = Rewrite | Write


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, tied ones once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def carry_out(model: nn.Module, edits: tuple[Edit, ...], attributes: tuple[Attribute, ...]) -> None:
    """All edits, in place. The tensors keep their identity, so optimizers go on with the same objects."""
    tensors = tensors_of(model)
    with torch.no_grad():
        for edit in edits:
            t = tensors[edit.name]
            if isinstance(edit, Rewrite):
                t.data = edit.values.of(t.data, edit.axis)
                t.grad = None
            else:
                new = t.data.clone()
                new[edit.mask.to(t.device)] = edit.values.to(t)
                t.data = new
    for attribute in sorted(attributes, key=lambda a: a.name == MEMBERS):  # these rename modules
        attribute.set_on(model)


def carry_state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], edits: tuple[Edit, ...]
) -> None:
    """The optimizer's memory of each edited parameter, found by the parameter's identity.

    ``parameters`` have the names that the edits use.
    """
    for edit in edits:
        p = parameters.get(edit.name)
        state = optimizer.state.get(p) if p is not None else None
        for key, value in (state or {}).items():
            if isinstance(value, Tensor) and value.dim() and state is not None:
                state[key] = carried(key, value, edit, optimizer)


def carried(key: str, value: Tensor, edit: Edit, optimizer: torch.optim.Optimizer) -> Tensor:
    """One tensor of an optimizer's memory after one edit."""
    if isinstance(edit, Rewrite):
        of_gradients, of_weights = dimension(key, optimizer)
        sizes = key in (*LARGEST, *STEPS)
        if of_weights:
            return edit.values.of(value, edit.axis, of_weights, sizes=sizes)
        if of_gradients:
            return edit.gradients.of(value, edit.axis, of_gradients, sizes=sizes)
        return edit.gradients.average().of(value, edit.axis)
    if edit.reset is None:
        return value
    fresh = value.clone()
    fresh[edit.reset.to(value.device)] = 0.0
    return fresh


def refuse_unknown(
    optimizer: torch.optim.Optimizer, model: nn.Module, edits: tuple[Edit, ...]
) -> None:
    """All memories that cannot be carried, in one error; before anything is changed."""
    parameters = dict(model.named_parameters())
    ours = {id(p) for group in optimizer.param_groups for p in group["params"]}
    strange: dict[str, None] = {}
    for edit in edits:
        p = parameters.get(edit.name)
        if p is None or id(p) not in ours:
            continue
        for key, value in optimizer.state.get(p, {}).items():
            if isinstance(value, Tensor) and value.dim() and key not in KNOWN:
                strange[f"{key} of {edit.name}"] = None
    if strange:
        raise UsageError(
            f"{type(optimizer).__name__} keeps {', '.join(strange)}, and how that follows a treatment is not "
            "known: treat the model without the optimizer, and make a new one."
        )


def let_go(optimizer: torch.optim.Optimizer, gone: set[int]) -> Callable[[], None]:
    """Parameters that the model has no longer leave the optimizer; returns what brings them back."""
    before = [list(group["params"]) for group in optimizer.param_groups]
    states = {
        p: optimizer.state[p] for ps in before for p in ps if id(p) in gone and p in optimizer.state
    }
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in gone]
    for p in states:
        del optimizer.state[p]

    def back() -> None:
        for group, params in zip(optimizer.param_groups, before, strict=True):
            group["params"] = params
        optimizer.state.update(states)

    return back


def state_of(optimizer: torch.optim.Optimizer, names: Mapping[str, Tensor]) -> dict[str, Any]:
    """Copies of the memories of these parameters, to be put back by ``undo``."""
    return {
        name: {
            key: value.clone() if isinstance(value, Tensor) else value
            for key, value in optimizer.state[p].items()
        }
        for name, p in names.items()
        if p in optimizer.state
    }
