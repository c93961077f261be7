"""``tie``: makes chosen units equal, in what they read, in what is read of them, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lockstep.errors import UsageError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
How = Literal["mean", "first"] | Tensor


@dataclass(frozen=True, eq=False)
class Change:
    """Entries of one parameter (or buffer) that now agree between the units.

    ``role`` is ``"incoming"`` or ``"outgoing"``; ``before`` and ``after`` have shape (units, entries).
    """

    parameter: str
    role: Literal["incoming", "outgoing"]
    before: Tensor
    after: Tensor

    def __str__(self) -> str:
        moved = float((self.after - self.before).abs().max()) if self.before.numel() else 0.0
        per = self.before.shape[1]
        return f"{self.role} {self.parameter}: {per} entries a unit, moved by at most {moved:.4g}"


@dataclass(frozen=True, eq=False)
class Tied:
    """What :func:`tie` did: the layer, the units, and every change."""

    layer: str
    units: tuple[int, ...]
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        units = ", ".join(map(str, self.units))
        return "\n".join(
            [f"units {units} of {self.layer!r} tied:", *(f"  {c}" for c in self.changes)]
        )


def tie(
    model: nn.Module,
    layer: str,
    units: Sequence[int],
    *,
    incoming: bool = True,
    outgoing: bool | str = True,
    how: How = "mean",
) -> Tied:
    """Sets the weights of some units of a layer equal, in place, and returns what it changed.

    ``layer`` is the path of a ``Linear`` (O, I) or ``Conv`` (O, I, …) module. ``incoming`` ties rows and
    biases (with those of a norm that follows), ``outgoing`` the columns of the next layer, in the order
    in which layers are registered; give its path instead of True where the order is another. ``how``:
    the ``"mean"``, the ``"first"`` unit's values, or a tensor with one unit's incoming weights.

    Shapes: the layer's weight (O, I), as (O, I, …) of a convolution; ``how`` as a tensor (I,) or (I, …).

    Source: ``docs/theory.md``: units equal in both directions are twins.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    >>> _ = tie(net, "0", [0, 1])
    >>> bool((net[0].weight[0] == net[0].weight[1]).all() and net[2].weight[0, 0] == net[2].weight[0, 1])
    True

    Raises :class:`~lockstep.errors.UsageError` for an unknown layer, units outside it, or a next layer
    that cannot be found; nothing is changed then.
    """
    weight = layer_called(model, layer).get_parameter("weight")
    width = int(weight.shape[0])
    chosen = checked_units(layer, units, width)
    plan: list[tuple[str, Literal["incoming", "outgoing"], Tensor, int]] = []
    norms, reader = what_follows(model, layer, width, outgoing)
    if incoming:
        plan += [
            (f"{layer}.{n}", "incoming", p, 0)
            for n, p in model.get_submodule(layer).named_parameters(recurse=False)
        ]
        plan += [(name, "incoming", tensor, 0) for name, tensor in norms]
    if outgoing:
        if reader is None:
            raise UsageError(no_reader(layer, width))
        plan += [(name, "outgoing", p, 1) for name, p in reader]
    if not isinstance(how, Tensor) and how not in ("mean", "first"):
        raise UsageError(
            f"how must be 'mean', 'first' or a tensor with one unit's incoming weights, got {how!r}."
        )
    if isinstance(how, Tensor) and how.numel() != weight[0].numel():
        shape = tuple(weight.shape[1:])
        raise UsageError(
            f"how has shape {tuple(how.shape)}, but one unit of {layer!r} reads {shape}."
        )
    with torch.no_grad():
        changes = [
            tied_entries(
                name,
                role,
                tensor,
                axis,
                width,
                chosen,
                how if name == f"{layer}.weight" else None,
                how,
            )
            for name, role, tensor, axis in plan
        ]
    return Tied(layer, chosen, tuple(changes))


def tied_entries(
    name: str,
    role: Literal["incoming", "outgoing"],
    tensor: Tensor,
    axis: int,
    width: int,
    units: tuple[int, ...],
    given: How | None,
    how: How,
) -> Change:
    """Writes one common value to the units' entries along ``axis`` (in blocks, after a flatten)."""
    flat = tensor.data.movedim(axis, 0)
    block = flat.shape[0] // width
    views = [flat[u * block : (u + 1) * block] for u in units]
    before = torch.stack([v.reshape(-1).clone() for v in views])
    if isinstance(given, Tensor):
        common = given.to(tensor).reshape(views[0].shape)
    elif isinstance(how, str) and how == "first":
        common = views[0].clone()
    else:
        common = torch.stack(views).mean(0)
    for view in views:
        view.copy_(common)
    return Change(name, role, before, torch.stack([v.reshape(-1).clone() for v in views]))


def layer_called(model: nn.Module, layer: str) -> nn.Module:
    """The layer, or an error that lists the layers there are."""
    kinds = (nn.Linear, *CONVOLUTIONS)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, kinds)}
    if layer not in layers:
        by_hand = entries_of(model, layer)
        found = ", ".join(f"{n!r} ({type(m).__name__})" for n, m in layers.items()) or "none"
        raise UsageError(
            f"there is no Linear or Conv layer {layer!r} to tie units of. Layers: {found}. {by_hand}"
        )
    return layers[layer]


def entries_of(model: nn.Module, layer: str) -> str:
    """What to set equal by hand, under torch.no_grad(), where units are spread over several parameters."""
    if hasattr(model, "stateless_call"):
        return (
            "In Keras units are the last axis of a kernel: make columns i and j of this layer's kernel and "
            "bias equal, and rows i and j of the next layer's kernel, with layer.set_weights."
        )
    path = layer.partition("[")[0]
    module = dict(model.named_modules()).get(path)
    if isinstance(module, nn.RNNBase):
        gates = module.get_parameter("weight_ih_l0").shape[0] // module.hidden_size
        rows = ", ".join(f"i + {g} * {module.hidden_size}" if g else "i" for g in range(gates))
        return (
            f"{path!r} is recurrent: unit i owns rows {rows} of every {path}.weight_ih, weight_hh and bias, "
            f"and is read by column i of {path}.weight_hh and of the next layer. Copy those of i to j."
        )
    if isinstance(module, nn.MultiheadAttention):
        each = module.head_dim
        return (
            f"{path!r} is attention: head h owns rows h * {each} to (h + 1) * {each} - 1 of the query, key and "
            f"value parts of in_proj (weight and bias), and is read by these columns of {path}.out_proj.weight. "
            "Copy those of one head to the other."
        )
    return "For other modules, copy the entries of their parameters yourself."


def checked_units(layer: str, units: Sequence[int], width: int) -> tuple[int, ...]:
    """At least two different units of the layer."""
    chosen = tuple(dict.fromkeys(int(u) for u in units))
    if len(chosen) < 2 or any(not 0 <= u < width for u in chosen):
        raise UsageError(
            f"units {list(units)} cannot be tied: {layer!r} has units 0 to {width - 1}, and at least two "
            "different ones are needed."
        )
    return chosen


Named = list[tuple[str, Tensor]]


def what_follows(
    model: nn.Module, layer: str, width: int, outgoing: bool | str
) -> tuple[Named, Named | None]:
    """Norms right after the layer, and the weights of the next layer, whose columns read its units."""
    modules = [
        (n, m) for n, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))
    ]
    after = modules[[n for n, _ in modules].index(layer) + 1 :]
    norms: Named = []
    if isinstance(outgoing, str):
        named = dict(modules).get(outgoing)
        return norms, None if named is None else columns(outgoing, named, width)
    for name, module in after:
        if not isinstance(module, NORMS):
            return norms, columns(name, module, width)
        for entry, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.dim() == 1 and tensor.shape[0] == width:
                norms.append((f"{name}.{entry}", tensor))
    return norms, None


def columns(name: str, module: nn.Module, width: int) -> Named | None:
    """The weights of ``module`` that read ``width`` units along axis 1; None if they do not fit."""
    if isinstance(module, nn.RNNBase):
        fits = module.input_size == width
        return (
            [
                (f"{name}.{n}", p)
                for n, p in module.named_parameters()
                if "_ih_l0" in n and p.dim() == 2
            ]
            if fits
            else None
        )
    if isinstance(module, (nn.Linear, *CONVOLUTIONS)) and getattr(module, "groups", 1) == 1:
        whole = isinstance(module, nn.Linear) or module.weight.shape[1] == width
        return (
            [(f"{name}.weight", module.weight)]
            if whole and module.weight.shape[1] % width == 0
            else None
        )
    return None


def no_reader(layer: str, width: int) -> str:
    """Why the outgoing weights could not be tied."""
    return (
        f"the weights that read the {width} units of {layer!r} were not found: the parameters registered "
        "next do not fit, or are of another kind. Name the layer: outgoing='path', or use outgoing=False."
    )
