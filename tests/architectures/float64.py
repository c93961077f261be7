"""Gradients of the real model in float64, over a few steps of training: the reference for frozen entries.

It shares nothing with the engine. Models cast to float32 inside (norms, rotary tables, softmax); there float32
means float64 here, or rounding would hide which gradients are zero.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

STILL = 1e-12
"""Gradients this small, relative to the largest of their step, are rounding."""

CACHES = ("past_key_values", "cache_params", "mems", "past_buckets_states", "state")


class AllDouble(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        args = tuple(torch.float64 if x is torch.float32 else x for x in args)
        named = {k: torch.float64 if x is torch.float32 else x for k, x in (kwargs or {}).items()}
        return func(*args, **named)


def gradients(
    model: nn.Module, inputs: Mapping[str, Tensor], steps: int = 3, seed: int = 0
) -> tuple[dict[str, Tensor], nn.Module]:
    """Largest relative gradient of each entry over ``steps``, and the model after them.

    Before every step fresh data and a fresh random loss; the update is an arbitrary odd function of gradient and
    weight, the same for all entries.
    """
    net = copy.deepcopy(model)
    if hasattr(net, "set_experts_implementation"):
        net.set_experts_implementation("eager")  # the grouped kernel knows no float64
    net = net.double()
    found: dict[str, Tensor] = {}
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(seed)
    try:
        with AllDouble():
            for _ in range(steps):
                _step(net, inputs, found)
    finally:
        torch.set_default_dtype(default)
    return found, net


def _step(net: nn.Module, inputs: Mapping[str, Tensor], found: dict[str, Tensor]) -> None:
    net.zero_grad()
    outputs = net(
        **{k: torch.randn(x.shape) if x.is_floating_point() else x for k, x in inputs.items()}
    )
    loss = torch.zeros(())
    for out in _floats(outputs):
        c, d = torch.randn(2, *out.shape)
        loss = loss + (c * out + d * out.square() / 2).nan_to_num(0.0, 0.0, 0.0).sum()
    loss.backward()
    trainable = {n: p for n, p in net.named_parameters() if p.requires_grad}
    sizes = {
        n: torch.zeros_like(p) if p.grad is None else p.grad.abs() for n, p in trainable.items()
    }
    top = max(float(g.max()) for g in sizes.values() if g.numel())
    with torch.no_grad():
        for name, p in trainable.items():
            found[name] = torch.maximum(found.get(name, torch.zeros_like(p)), sizes[name] / top)
            if p.grad is not None:
                g = 5 * p.grad / top
                p.sub_(0.03 * (g / (1 + 0.3 * g.abs()) * (1 + 0.5 * p * p) + 0.2 * p * p.abs()))


def _floats(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.requires_grad:
            yield value
    elif isinstance(value, Mapping):
        yield from _floats([v for k, v in value.items() if k not in CACHES])
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _floats(item)
    elif dataclasses.is_dataclass(value):
        yield from _floats({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
