"""Train the real model in float64 on random data and random losses; see which units stayed together.

What it believes: nothing about partitions, primes or gradients of particular layers. A deep copy is
trained for a few steps with each of several optimizers; before every step fresh random inputs and a
fresh random loss

    J = sum_o c_o out_o + d_o out_o^2 / 2,     c, d ~ N(0, 1) for every element of every floating output,

are drawn. Afterwards the units' activations on fresh inputs are compared, layer by layer:

* units are *together* if under every optimizer their activations agree to ``EQUAL`` relative to the layer;
* they are *apart* if under some optimizer they differ by more than ``APART``;
* anything between is a gap report, not an answer: :meth:`Observed.assert_clear` raises.

A parameter entry is *still* if its gradient, at every step, is below ``STILL`` of that step's largest.

Tolerances. float64 rounding is 1e-16; a handful of steps through a tiny net multiplies it by some 1e3,
hence EQUAL = 1e-11. Rounding differences grow with the steps (a balanced lock is lost to rounding after
a hundred), so steps are few. Adam's usual epsilon makes some true separations as small as 1e-9, and
turns a rounding gradient into motion: the Adams here use epsilon 1e-2, and ``arbitrary`` has no such
blind spot, hence APART = 1e-8.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

EQUAL, APART, STILL, MOVES = 1e-11, 1e-8, 1e-12, 1e-10
CLIP = 5.0  # norm of all gradients together: one factor for all entries, so it keeps every relation
FLOOR = 1e-3  # a layer, or a gradient, that is smaller everywhere is measured against this instead of itself


class OracleUnclear(AssertionError):
    """The measured gaps do not fall clearly on either side; the case is outside the oracle's reach."""


class Arbitrary(torch.optim.Optimizer):
    """theta' = H(g, theta) elementwise: H smooth, odd in (g, theta), and no more special."""

    def __init__(self, params: Iterable, lr: float = 0.03) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    g = torch.nan_to_num(p.grad)
                    moved = g / (1 + 0.3 * g.abs()) * (1 + 0.5 * p.square()) + 0.2 * p * p.abs()
                    p.sub_(group["lr"] * moved)


Make = Callable[[Iterable], torch.optim.Optimizer]
_sgd = functools.partial(torch.optim.SGD, lr=0.05)
_adam = functools.partial(torch.optim.Adam, lr=0.01, eps=1e-2)
_adamw = functools.partial(torch.optim.AdamW, lr=0.01, eps=1e-2, weight_decay=0.1)
_adam_l2 = functools.partial(torch.optim.Adam, lr=0.01, eps=1e-2, weight_decay=0.1)

ADDITIVE: dict[str, Make] = {"sgd": _sgd, "adam": _adam, "adamw": _adamw}
ANY: dict[str, Make] = {**ADDITIVE, "adam+l2": _adam_l2, "arbitrary": Arbitrary}


@dataclass(frozen=True)
class Units:
    """Largest gaps of a layer over all optimizers: ``minus`` of a_i - a_j, ``plus`` of a_i + a_j."""

    minus: torch.Tensor
    plus: torch.Tensor
    size: torch.Tensor  # largest |a_i|

    @property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        seen: dict[int, tuple[int, ...]] = {}
        for i in range(len(self.minus)):
            seen.setdefault(
                i, tuple(j for j in range(len(self.minus)) if self.minus[i, j] <= EQUAL)
            )
        return tuple(dict.fromkeys(seen.values()))

    @property
    def mirrors(self) -> set[tuple[int, int]]:
        pairs = (self.plus <= EQUAL).nonzero().tolist()
        return {(i, j) for i, j in pairs if i < j and self.size[i] > APART}

    def unclear(self) -> list[float]:
        gaps = torch.cat([self.minus.flatten(), self.plus.flatten()])
        return gaps[(gaps > EQUAL) & (gaps < APART)].tolist()


@dataclass
class Observed:
    """What the training showed. ``layers`` as named in the design; ``gradient`` is relative."""

    layers: dict[str, Units] = field(default_factory=dict)
    gradient: dict[str, torch.Tensor] = field(default_factory=dict)
    parameters: list[dict[str, torch.Tensor]] = field(default_factory=list)  # after each optimizer

    def classes(self, layer: str) -> tuple[tuple[int, ...], ...]:
        return self.layers[layer].classes

    def still(self, parameter: str) -> torch.Tensor:
        return self.gradient[parameter] <= STILL

    def still_counts(self) -> dict[str, int]:
        counts = {name: int(self.still(name).sum()) for name in self.gradient}
        return {name: count for name, count in counts.items() if count}

    def assert_clear(self) -> None:
        gaps = {name: units.unclear() for name, units in self.layers.items()}
        grads = {name: g[(g > STILL) & (g < MOVES)].tolist() for name, g in self.gradient.items()}
        unclear = {k: v[:4] for k, v in [*gaps.items(), *grads.items()] if v}
        if unclear:
            raise OracleUnclear(f"gaps between {EQUAL} and {APART} or gradients near 0: {unclear}")


def observe(
    model: nn.Module,
    inputs,
    *,
    optimizers: Mapping[str, Make] = ANY,
    steps: int = 4,
    seed: int = 0,
    loss: Callable | None = None,
) -> Observed:
    """Train copies of ``model`` and report. Of ``inputs`` only shapes and integers count."""
    seen = Observed()
    with torch.random.fork_rng(devices=[]):
        for number, make in enumerate(optimizers.values()):
            torch.manual_seed(1000 * seed + number)
            net = copy.deepcopy(model).double()
            trainable = [p for p in net.parameters() if p.requires_grad]
            if trainable:
                optimizer = make(trainable)
                for _ in range(steps):
                    _step(net, optimizer, inputs, loss, seen)
            _compare(net, inputs, seen)
            state = {name: p.detach().clone() for name, p in net.named_parameters()}
            seen.parameters.append(state)
    return seen


def _step(net, optimizer, inputs, loss, seen) -> None:
    optimizer.zero_grad()
    output = call(net, fresh(inputs))
    (random_loss(output) if loss is None else loss(output)).backward()
    grads = {name: _size(p) for name, p in net.named_parameters() if p.requires_grad}
    top = max(*(float(g.max()) for g in grads.values()), FLOOR)
    for name, g in grads.items():
        seen.gradient[name] = torch.maximum(seen.gradient.get(name, g / top), g / top)
    nn.utils.clip_grad_norm_(net.parameters(), CLIP)
    optimizer.step()


def _size(p: nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(p) if p.grad is None else p.grad.detach().abs()


def random_loss(output) -> torch.Tensor:
    """A random linear functional plus a random diagonal square of every floating element of the output."""
    total = torch.zeros((), dtype=torch.float64)
    for out in leaves(output):
        if out.is_floating_point() and out.requires_grad:
            c, d = torch.randn(2, *out.shape, dtype=out.dtype)
            total = total + (c * out).sum() + (d * out.square()).sum() / 2
    return total


def fresh(inputs):
    """The same structure with new N(0, 1) numbers for floats; integers and booleans stay."""
    if isinstance(inputs, torch.Tensor):
        floating = inputs.is_floating_point()
        return torch.randn(inputs.shape, dtype=torch.float64) if floating else inputs
    if isinstance(inputs, Mapping):
        return {key: fresh(value) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(fresh(value) for value in inputs)
    return inputs


def call(net: nn.Module, inputs):
    if isinstance(inputs, Mapping):
        return net(**inputs)
    return net(*inputs) if isinstance(inputs, (tuple, list)) else net(inputs)


def leaves(output) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        return [leaf for value in output.values() for leaf in leaves(value)]
    if isinstance(output, (tuple, list)):
        return [leaf for value in output for leaf in leaves(value)]
    if dataclasses.is_dataclass(output):
        return leaves([getattr(output, f.name) for f in dataclasses.fields(output)])
    return []


# -- units, by layer name -------------------------------------------------------------------------


def activations(net: nn.Module, inputs) -> dict[str, torch.Tensor]:
    """One forward pass: layer name -> (units, samples)."""
    found: dict[str, list[torch.Tensor]] = {}
    handles = [
        module.register_forward_hook(
            functools.partial(_record, found, path), with_kwargs=True, always_call=False
        )
        for path, module in net.named_modules()
        if any(True for _ in module.parameters(recurse=True)) and _reader(module)
    ]
    with torch.no_grad():
        call(net, inputs)
    for handle in handles:
        handle.remove()
    bare = {
        name: p.detach().reshape(len(p), -1)
        for name, p in net.named_parameters()
        if _is_bare(net, name) and p.dim() > 0
    }
    return {**{name: torch.cat(parts, dim=1) for name, parts in found.items()}, **bare}


def _is_bare(net: nn.Module, name: str) -> bool:
    owner = net.get_submodule(name.rpartition(".")[0])
    return not type(owner).__module__.startswith("torch.nn")


def _record(found, path, module, args, kwargs, output) -> None:
    for suffix, units in _reader(module)(module, args, kwargs, output).items():
        found.setdefault(path + suffix, []).append(units.detach())


def _units(x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.movedim(axis, 0).reshape(x.shape[axis], -1)


def _last(module, args, kwargs, output):
    return {"": _units(output, -1)}


def _channels(module, args, kwargs, output):
    return {"": _units(output, 1)}


def _cell(module, args, kwargs, output):
    return {"": _units(output[0] if isinstance(output, tuple) else output, -1)}


def _recurrent(module, args, kwargs, output):
    """Top layer: every time step; layers below: their last hidden state."""
    full, hidden = output[0], output[1][0] if isinstance(output[1], tuple) else output[1]
    directions = 2 if module.bidirectional else 1
    found = {}
    for k in range(module.num_layers * directions):
        layer, reverse = divmod(k, directions)
        name = f"[l{layer}{'_reverse' if reverse else ''}]"
        found[name] = _units(hidden[k], -1)
        if layer == module.num_layers - 1:
            found[name] = torch.cat(
                [found[name], _units(full.chunk(directions, -1)[reverse], -1)], 1
            )
    return found


def _attention(module: nn.MultiheadAttention, args, kwargs, output):
    """q, k, v again from the projections; heads as the columns of the mixed values before ``out_proj``."""
    names = ("query", "key", "value")
    given = [kwargs.get(n, args[i] if i < len(args) else None) for i, n in enumerate(names)]
    if module.in_proj_weight is not None:
        weights = module.in_proj_weight.chunk(3)
    else:
        weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    q, k, v = (
        nn.functional.linear(x, w, b) for x, w, b in zip(given, weights, biases, strict=True)
    )
    found = {f"[{n}]": _units(x, -1) for n, x in zip("qkv", (q, k, v), strict=True)}
    mask = kwargs.get("attn_mask", args[5] if len(args) > 5 else None)
    plain = mask is None and kwargs.get("key_padding_mask") is None and module.bias_k is None
    if plain and not module.add_zero_attn and module.num_heads > 1:
        if not module.batch_first:
            q, k, v = (x.movedim(0, -2) for x in (q, k, v))
        split = [x.unflatten(-1, (module.num_heads, -1)).movedim(-2, 0) for x in (q, k, v)]
        heads = nn.functional.scaled_dot_product_attention(*split)
        found["[heads]"] = heads.reshape(module.num_heads, -1)
    return found


_CONVS = (nn.modules.conv._ConvNd,)
_LAST = (nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag)


def _reader(module: nn.Module):
    if isinstance(module, _LAST):
        return _last
    if isinstance(module, _CONVS):
        return _channels
    if isinstance(module, nn.RNNBase):
        return _recurrent
    if isinstance(module, nn.RNNCellBase):
        return _cell
    if isinstance(module, nn.MultiheadAttention):
        return _attention
    return _last if type(module).__name__ == "Conv1D" else None


def _compare(net, inputs, seen: Observed) -> None:
    for name, units in activations(net, fresh(inputs)).items():
        units = units / max(float(units.abs().max()), FLOOR)
        minus = torch.stack([(units - u).abs().amax(1) for u in units])
        plus = torch.stack([(units + u).abs().amax(1) for u in units])
        size = units.abs().amax(1)
        old = seen.layers.get(name)
        if old is not None:
            minus, plus = torch.maximum(minus, old.minus), torch.maximum(plus, old.plus)
            size = torch.maximum(size, old.size)
        seen.layers[name] = Units(minus, plus, size)
