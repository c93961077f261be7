"""Which entries of a model's parameters read which units: found by trying, not from tables of modules.

A copy of the model runs twice in float64 with random weights, the second time with other incoming weights for the
units in question. Below autograd every product of data with a weight is met as a plain matrix product or a
convolution, whatever module or function it came from. There the operands of both runs are compared: the columns of
the weight whose operand changed *read* the units. The product then continues with the operand of the first run, so
that nothing travels past the first weight. Elementwise products and sums with a parameter (gains, biases, the
running statistics of a norm) change within the units themselves: these entries are the units' *own*. A statistic
over units (the mean square of a norm written out in Python) is taken of the first run: it would carry every unit into
every other, as the statistics of PyTorch's own norms would.

Values decide nothing here but which numbers differ, hence random weights: a dead unit or a zero weight would hide a
wire. What is derived here is a proposal; the plan that uses it is verified on the model's function (``plan.py``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from ..errors import UsageError
from ..symbolic.places import Place, places
from ..symbolic.subject import call_with, quarters

Unit = tuple[str, int]

MOVES = frozenset(
    "t transpose permute view _unsafe_view reshape expand slice select split split_with_sizes unbind squeeze "
    "unsqueeze cat stack clone alias detach chunk narrow repeat flip roll index_select contiguous unfold diagonal "
    "as_strided _reshape_alias lift_fresh view_as expand_as movedim constant_pad_nd".split()
)
"""Ops that move entries and change none: done to a table of entry numbers, they say where each entry went."""

PRODUCTS = frozenset("mm addmm bmm baddbmm mv addmv dot convolution".split())
STATISTICS = frozenset("mean sum var std var_mean std_mean linalg_vector_norm amax".split())
CHANGED = 1e-11
SEED = 20_240_229


@dataclass(frozen=True)
class Taint:
    """``reads`` and ``owns``: tensor → boolean mask of its shape; only tensors with a True in it."""

    reads: dict[str, Tensor]
    owns: dict[str, Tensor]


@dataclass
class Read:
    """One product: ``entries`` (K, M) numbers of the weight's entries, ``values`` (K, S) of what they read."""

    entries: Tensor
    values: Tensor


@dataclass
class _Notes:
    """What one run leaves behind."""

    operands: list[tuple[str, Tensor]] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    read: list[Tensor] = field(default_factory=list)
    own: list[Tensor] = field(default_factory=list)


class Wiring:
    """The parameters and float buffers of a model, their entries numbered, and what reads what.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    >>> wiring = Wiring(net, torch.randn(4, 2))
    >>> wiring.taint([("0", 1)]).reads["2.weight"]
    tensor([[False,  True, False]])
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        self.inputs = doubled(inputs)
        self.model = duplicate(model)
        canonical = {id(p): n for n, p in model.named_parameters()}
        self.places = {
            place.name: place
            for found in places(model, canonical)
            if (place := _with_gates(model, found, canonical)).slices
        }
        self.trainable = {n for n, p in model.named_parameters() if p.requires_grad}
        self.grouped = {
            canonical[id(m.weight)]
            for m in model.modules()
            if isinstance(m, nn.modules.conv._ConvNd) and m.groups > 1 and id(m.weight) in canonical
        }
        """Weights of convolutions in which a group of inputs is read by a group of outputs alone."""
        self.shapes: dict[str, torch.Size] = {}
        self.first: dict[str, int] = {}
        total = 0
        for name, t in named(self.model):
            self.first[name], self.shapes[name] = total, t.shape
            total += t.numel()
        self.total = total
        self._taints: dict[frozenset[Unit], Taint] = {}

    def incoming(self, layer: str, units: Iterable[int]) -> Iterator[tuple[str, Tensor]]:
        """``(parameter, mask)`` of the entries that a layer's units are computed from."""
        place = self.places[layer]
        for name, axis in place.slices:
            mask = torch.zeros(self.shapes[name], dtype=torch.bool)
            mask.movedim(axis, 0)[self.positions(place, name, axis, units)] = True
            yield name, mask

    def positions(self, place: Place, name: str, axis: int, units: Iterable[int]) -> list[int]:
        """Where along ``axis`` of the parameter the units' entries lie; gates are stacked blocks."""
        if place.source == "projection":
            return [place.rows[0] + u for u in units]
        blocks = self.shapes[name][axis] // place.width
        return [b * place.width + u for b in range(blocks) for u in units]

    def taint(self, units: Iterable[Unit]) -> Taint:
        """Entries that read any of ``units``, and entries of gains and statistics that are theirs."""
        chosen = frozenset(units)
        if chosen not in self._taints:
            self._taints[chosen] = self._tainted(
                [entry for layer, unit in sorted(chosen) for entry in self.incoming(layer, [unit])]
            )
        return self._taints[chosen]

    def behind(self, name: str, axis: int, positions: Iterable[int]) -> dict[str, Tensor]:
        """Entries that read what these positions of a gain or shift go into."""
        mask = torch.zeros(self.shapes[name], dtype=torch.bool)
        mask.movedim(axis, 0)[list(positions)] = True
        return self._tainted([(name, mask)]).reads

    def readers(self, layer: str) -> dict[str, Tensor]:
        """Tensor → the unit of ``layer`` that each entry reads; -1 for none, -2 for several.

        Each unit has a binary number; a run for each bit changes the units that have it, another the rest.
        """
        width = self.places[layer].width
        bits = max(1, (width - 1).bit_length())
        found: dict[str, Tensor] = {}
        mixed: dict[str, Tensor] = {}
        for bit in range(bits):
            ones = [(layer, u) for u in range(width) if u >> bit & 1]
            rest = [(layer, u) for u in range(width) if not u >> bit & 1]
            one, zero = (self.taint(units).reads if units else {} for units in (ones, rest))
            for name in one.keys() | zero.keys():
                blank = torch.zeros(self.shapes[name], dtype=torch.bool)
                has, lacks = one.get(name, blank), zero.get(name, blank)
                number = found.setdefault(name, torch.zeros(self.shapes[name], dtype=torch.long))
                number += has.long() << bit
                mixed[name] = mixed.get(name, blank) | (has & lacks)
                number[~(has | lacks)] = -1
        return {n: torch.where(mixed[n], -2, numbers) for n, numbers in found.items()}

    def values(self, seed: int = SEED) -> list[Read]:
        """What every weight of the model itself reads, in float64, norms as they are."""
        notes = _Notes()
        model = copy.deepcopy(self.model)  # forward may keep something from call to call
        with _Probe(self, model, notes, None, values=True):
            self._run(model, seed)
        return notes.reads

    def numbers(self, name: str) -> Tensor:
        """The numbers of a tensor's entries, in its shape."""
        shape = self.shapes[name]
        return torch.arange(shape.numel()).reshape(shape) + self.first[name]

    def masks(self, numbers: list[Tensor]) -> dict[str, Tensor]:
        """Tensor → mask, from entry numbers."""
        hit = torch.zeros(self.total, dtype=torch.bool)
        for found in numbers:
            hit[found[found >= 0]] = True
        out = {}
        for name, shape in self.shapes.items():
            mask = hit[self.first[name] : self.first[name] + shape.numel()].reshape(shape)
            if bool(mask.any()):
                out[name] = mask
        return out

    def _tainted(self, changed: Sequence[tuple[str, Tensor]]) -> Taint:
        read: list[Tensor] = []
        own: list[Tensor] = []
        for seed in (SEED, SEED + 1):  # a unit may be silent for one draw of the weights
            model = copy.deepcopy(self.model)
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for _, p in model.named_parameters():
                    p.copy_(_generic(p, generator))
            before = _Notes()
            first = copy.deepcopy(model)
            with _Probe(self, first, before, None):
                self._run(first, seed)
            tensors = dict(model.named_parameters())
            with torch.no_grad():
                for name, mask in changed:
                    draw = torch.randn(int(mask.sum()), generator=generator, dtype=torch.double)
                    tensors[name][mask] = 0.5 * tensors[name][mask] + draw.to(tensors[name])
            after = _Notes()
            with _Probe(self, model, after, before):
                self._run(model, seed)
            read += after.read
            own += after.own
        return Taint(self.masks(read), self.masks(own))

    def _run(self, model: nn.Module, seed: int) -> None:
        with quarters(), torch.no_grad():
            torch.manual_seed(seed)
            state = {n: b.clone() for n, b in model.named_buffers()}
            try:
                call_with(model, self.inputs)
            except UsageError:
                raise
            except Exception as error:
                raise UsageError(
                    f"the model could not be followed in float64 with random weights: {type(error).__name__}: "
                    f"{error}. Its units cannot be treated then."
                ) from error
            for n, b in model.named_buffers():
                if n in state and b.shape == state[n].shape:
                    b.copy_(state[n])


class _Probe(TorchDispatchMode):
    """Notes every product of data with parameters; given ``before``, says what changed and holds it back."""

    def __init__(
        self,
        wiring: Wiring,
        model: nn.Module,
        notes: _Notes,
        before: _Notes | None,
        values: bool = False,
    ) -> None:
        super().__init__()
        self.notes, self.before, self.values = notes, before, values
        self.table: dict[int, tuple[Tensor, Tensor]] = {
            id(t): (t, wiring.numbers(name)) for name, t in named(model)
        }

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._overloadpacket.__name__
        if not self.values and _is_norm(name):
            return self._norm(name, func, args, kwargs)
        if not self.values and name in STATISTICS:
            args = self._statistic(name, func, args, kwargs)
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        known = [id(t) in self.table for t in tensors]
        if not any(known):
            return func(*args, **kwargs)
        if all(known):
            return self._weights_only(name, func, args, kwargs)
        if name in PRODUCTS:
            return self._product(name, func, args, kwargs)
        if torch.Tag.pointwise in func.tags or name == "_prelu_kernel":
            self._elementwise(name, tensors)
        return func(*args, **kwargs)

    def _numbers(self, t: Any) -> Tensor | None:
        return self.table[id(t)][1] if isinstance(t, Tensor) and id(t) in self.table else None

    def _weights_only(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        out = func(*args, **kwargs)
        if name in MOVES:
            moved = func(*tree_map(self._or_number, args), **tree_map(self._or_number, kwargs))
        elif name == "_to_copy" or (torch.Tag.pointwise in func.tags and len(_tensors(args)) == 1):
            moved = self._numbers(_tensors(args)[0])
        else:
            return out
        for t, numbers in zip(_as_list(out), _as_list(moved), strict=True):
            if isinstance(t, Tensor) and t.shape == numbers.shape:
                self.table[id(t)] = (t, numbers)
        return out

    def _or_number(self, value: Any) -> Any:
        numbers = self._numbers(value)
        return value if numbers is None else numbers

    def _product(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        found = _operands(name, args, self._numbers)
        if found is None:
            return func(*args, **kwargs)
        at, values, entries, passes = found
        if self.values:
            self.notes.reads.append(Read(entries, values.clone()))
            return func(*args, **kwargs)
        self.notes.operands.append((name, args[at].clone()))
        if self.before is None:
            return func(*args, **kwargs)
        held = list(args)
        held[at] = self._then(args[at])
        was = _operands(name, tuple(held), self._numbers)
        assert was is not None
        changed = (values - was[1]).abs().amax(1) > CHANGED if values.numel() else values.any(1)
        if passes:  # a filter of one channel alone: the unit goes on behind it
            self.notes.own.append(entries[changed].reshape(-1))
            return func(*args, **kwargs)
        self.notes.read.append(entries[changed].reshape(-1))
        return func(*held, **kwargs)

    def _then(self, now: Tensor) -> Tensor:
        """What the first run had in place of the operand that was noted last."""
        assert self.before is not None
        at = len(self.notes.operands) - 1
        name = self.notes.operands[at][0]
        if at >= len(self.before.operands):
            raise UsageError(DIVERGED)
        other, then = self.before.operands[at]
        if other != name or then.shape != now.shape:
            raise UsageError(DIVERGED)
        return then

    def _elementwise(self, name: str, tensors: list[Tensor]) -> None:
        data = [t for t in tensors if id(t) not in self.table and t.is_floating_point()]
        if not data:
            return
        shape = torch.broadcast_shapes(*(t.shape for t in tensors))
        mask = torch.zeros(shape, dtype=torch.bool)
        for t in data:
            self.notes.operands.append((name, t.clone()))
            if self.before is not None:
                mask |= _differ(t, self._then(t))
        for t in tensors:
            numbers = self._numbers(t)
            if numbers is not None and self.before is not None:
                self.notes.own.append(numbers.expand(shape)[mask])

    def _statistic(
        self, name: str, func: Any, args: tuple[Any, ...], kwargs: Any
    ) -> tuple[Any, ...]:
        """The operand of a reduction that keeps its axes; that of the first run if it goes over the changed units.

        It does if the change is confined to some positions of an axis that is reduced, and of no other axis.
        """
        given = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        x, dims = args[0], given.get("dim")
        if not given.get("keepdim") or id(x) in self.table or not x.is_floating_point():
            return args
        self.notes.operands.append((name, x.clone()))
        if self.before is None:
            return args
        then = self._then(x)
        changed = _differ(x, then)
        reduced = range(x.dim()) if not dims else [d % x.dim() for d in _as_list(dims)]
        confined = (
            [
                d
                for d in range(x.dim())
                if 0 < int(changed.movedim(d, 0).flatten(1).any(1).sum()) < x.shape[d]
            ]
            if x.dim() > 1
            else []
        )
        over_units = bool(confined) and set(confined) <= set(reduced)
        return (then, *args[1:]) if over_units else args

    def _norm(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        """A norm becomes its gains and shifts: its statistics would carry every unit into every other."""
        x = args[0]
        per_channel = not ("layer" in name or "rms" in name)
        shape = [1, -1] + [1] * (x.dim() - 2) if per_channel else [1] * x.dim()
        self.notes.operands.append((name, x.clone()))
        mask = None
        if self.before is not None:
            mask = _differ(x, self._then(x))
        out = x.clone()
        affine = [t for t in tree_leaves((args[1:], kwargs)) if isinstance(t, Tensor) and t.numel()]
        for n, t in enumerate(affine):
            numbers = self._numbers(t)
            spread = t.reshape(shape) if per_channel else t
            if numbers is not None and t.requires_grad:
                out = out * spread if n == 0 else out + spread
            if numbers is not None and mask is not None:
                laid = numbers.reshape(shape) if per_channel else numbers
                self.notes.own.append(laid.expand(x.shape)[mask])
        rest = [torch.zeros(0, dtype=x.dtype) for _ in func._schema.returns[1:]]
        return (out, *rest) if rest else out


DIVERGED = (
    "the course of the computation depends on the values of these units (another number of products, or other "
    "shapes, after a change of their weights): what reads them cannot be told. So it is with a router that picks the "
    "top k experts: with one of several equal ones gone it would pick others, and the function would be another"
)


def _is_norm(name: str) -> bool:
    return "backward" not in name and (
        "batch_norm" in name
        or name in ("native_layer_norm", "native_group_norm", "_fused_rms_norm")
    )


Found = tuple[int, Tensor, Tensor, bool]


def _operands(
    name: str, args: tuple[Any, ...], numbers: Callable[[Any], Tensor | None]
) -> Found | None:
    """Which argument is data, its rows by the summed index, the weight's entries by the same, passes on."""
    if name == "convolution":
        entries = numbers(args[1])
        return None if entries is None else _convolved(args, entries)
    left = 1 if name.startswith(("add", "badd")) else 0
    a, b = args[left], args[left + 1]
    na, nb = numbers(a), numbers(b)
    if (na is None) == (nb is None):
        return None
    if nb is not None:  # data (..., N, K) times weight (..., K, M); a vector is (K,)
        rows = a[:, None] if a.dim() == 1 else a.transpose(-1, -2)
        rows = rows.flatten(0, -2)
        return left, rows, nb.reshape(len(rows), nb.numel() // max(1, len(rows))), False
    assert na is not None
    rows = (b[:, None] if b.dim() == 1 else b).flatten(0, -2)
    na = na[None] if na.dim() == 1 else na
    return left + 1, rows, na.transpose(-1, -2).reshape(len(rows), -1), False


def _convolved(args: tuple[Any, ...], entries: Tensor) -> Found:
    x, transposed, groups = args[0], args[6], args[8]
    channels = x.shape[1]
    rows = x.transpose(0, 1).reshape(channels, -1)
    per = channels // groups
    if transposed:
        return 0, rows, entries.reshape(channels, -1), groups > 1 and entries.shape[1] == 1
    by_group = entries.reshape(groups, -1, *entries.shape[1:]).transpose(1, 2)
    return 0, rows, by_group.reshape(channels, -1), groups > 1 and per == 1


def _with_gates(model: nn.Module, place: Place, canonical: Mapping[int, str]) -> Place:
    """The units of a recurrent cell own a row in every gate; audits look at its states only."""
    module = model.get_submodule(place.module)
    if not isinstance(module, nn.RNNCellBase):
        return place
    return replace(place, slices=tuple((canonical[id(p)], 0) for p in module.parameters()))


def _differ(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).nan_to_num().abs() > CHANGED


def named(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Floating parameters and buffers, each once."""
    yield from ((n, p) for n, p in model.named_parameters() if p.is_floating_point())
    yield from ((n, b) for n, b in model.named_buffers() if b.is_floating_point())


def duplicate(model: nn.Module) -> nn.Module:
    """A float64 copy with dropout off; raises ``UsageError`` if the model cannot be copied."""
    try:
        twin = copy.deepcopy(model).double()
    except Exception as error:
        raise UsageError(
            f"the model cannot be copied, and a treatment is tried on a copy first: "
            f"{type(error).__name__}: {error}. Give it a __deepcopy__, or remove what cannot be copied."
        ) from error
    if hasattr(
        twin, "set_experts_implementation"
    ):  # of transformers: the grouped product knows no float64
        twin.set_experts_implementation("eager")  # type: ignore[operator]
    for module in twin.modules():
        if "Dropout" in type(module).__name__:
            module.eval()
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0  # type: ignore[assignment]
    return twin


def doubled(value: Any) -> Any:
    """Floating tensors in float64, and never constant: all samples alike would hide differences."""
    if isinstance(value, Mapping):
        return {key: doubled(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(doubled(item) for item in value)
    if isinstance(value, Tensor) and value.is_floating_point():
        value = value.detach().double().clone()  # a copy: it may be an inference tensor
        if value.numel() > 1 and bool((value == value.flatten()[0]).all()):
            generator = torch.Generator().manual_seed(SEED)
            value = torch.randn(value.shape, generator=generator, dtype=torch.double)
    return value


def _generic(p: Tensor, generator: torch.Generator) -> Tensor:
    """Random values of the size that keeps activations of size one."""
    draw = torch.randn(p.shape, generator=generator, dtype=torch.double).to(p)
    return draw / max(1, p.numel() // max(1, p.shape[0])) ** 0.5 if p.dim() > 1 else 1 + 0.3 * draw


def _tensors(args: Any) -> list[Tensor]:
    return [t for t in tree_leaves(args) if isinstance(t, Tensor)]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]
