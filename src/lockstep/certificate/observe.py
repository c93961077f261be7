"""Units of a running model, seen from outside: hooks on the modules that a claim names.

A layer's name is the path of a module, ``path[l0_reverse]`` inside a recurrent one, ``path[q]`` or
``path[heads]`` inside ``nn.MultiheadAttention``, or a bare parameter. What these hooks cannot see is
said, not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.types import Layer

Read = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Tensor | None]
"""(module, positional, named, output) → (U, S) activations of its units, or None."""


class Watch:
    """Collects the activations of ``layers``; ``blind`` names those that no hook can see."""

    def __init__(self, net: nn.Module, layers: Iterable[Layer]) -> None:
        self._net, self._modules = net, dict(net.named_modules())
        self._parameters = dict(net.named_parameters())
        self._seen: dict[str, list[Tensor]] = {}
        self._readers: dict[str, tuple[nn.Module, Read]] = {}
        self._bare: dict[str, Tensor] = {}
        self._widths = {layer.name: layer.width for layer in layers}
        for name, width in self._widths.items():
            found = self._find(name, width)
            if found is not None:
                self._readers[name] = found
            elif name in self._parameters and name != "weight":
                self._bare[name] = self._parameters[name]

    @property
    def blind(self) -> list[str]:
        return [n for n in self._widths if n not in self._seen and n not in self._bare]

    @contextmanager
    def watching(self) -> Iterator[dict[str, Tensor]]:
        """What the units do inside the body: layer → (U, S), filled in when it ends."""
        calls: dict[str, list[Tensor]] = {}
        found: dict[str, Tensor] = {}
        handles = [
            module.register_forward_hook(self._hook(name, read, calls), with_kwargs=True)
            for name, (module, read) in self._readers.items()
        ]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()
        self._seen |= calls
        found |= {name: torch.cat(parts, 1) for name, parts in calls.items()}
        found |= {name: p.detach().reshape(len(p), -1).clone() for name, p in self._bare.items()}

    def _hook(self, name: str, read: Read, calls: dict[str, list[Tensor]]) -> Any:
        def see(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            with torch.no_grad():
                units = read(module, args, kwargs, output)
                if units is not None and len(units) == self._widths[name]:
                    calls.setdefault(name, []).append(units.detach().clone())

        return see

    def _find(self, name: str, width: int) -> tuple[nn.Module, Read] | None:
        inside = re.fullmatch(r"(.*)\[(\w+)\]", name)
        path = inside[1] if inside else name
        # A root module has no path: its class gives the layer's name.
        root = path not in self._modules and path == type(self._net).__name__
        module = self._net if root else self._modules.get(path)
        if module is None:
            return None
        if inside is None:
            return module, _output_reader(width)
        if isinstance(module, nn.RNNBase):
            return module, _recurrent_reader(inside[2])
        if isinstance(module, nn.MultiheadAttention):
            return module, _attention_reader(inside[2])
        return None


def units_along(x: Tensor, axis: int) -> Tensor:
    return x.movedim(axis, 0).reshape(x.shape[axis], -1)


def _output_reader(width: int) -> Read:
    def read(module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> Tensor | None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if not isinstance(first, Tensor):
            return None
        axis = _axis(module, first, width)
        return None if axis is None else units_along(first, axis)

    return read


def _axis(module: nn.Module, out: Tensor, width: int) -> int | None:
    """Where the units of an output lie; of an unknown module, only if the width leaves no choice."""
    if isinstance(
        module, nn.Linear | nn.Bilinear | nn.Embedding | nn.EmbeddingBag | nn.RNNCellBase
    ):
        return -1
    if isinstance(module, nn.modules.conv._ConvNd):
        return -1 - len(module.kernel_size)
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return -len(module.normalized_shape)
    if isinstance(module, nn.modules.instancenorm._InstanceNorm):
        return out.dim() - 1 - int(type(module).__name__[-2])
    if isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.PReLU):
        return 1
    fitting = [axis for axis in range(out.dim()) if out.shape[axis] == width]
    return fitting[0] if len(fitting) == 1 else None


def _recurrent_reader(part: str) -> Read:
    """Last hidden states; of the top layer, those of every time step too."""
    number, _, reverse = part.removeprefix("l").partition("_")

    def read(module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> Tensor | None:
        assert isinstance(module, nn.RNNBase)
        hidden = output[1][0] if isinstance(output[1], tuple) else output[1]
        directions, layer = 1 + module.bidirectional, int(number)
        if module.proj_size:
            return None  # what comes out is the projection, not the hidden units
        last = units_along(hidden[layer * directions + bool(reverse)], -1)
        if layer < module.num_layers - 1 or not isinstance(output[0], Tensor):
            return last
        every = output[0].chunk(directions, -1)[bool(reverse)]
        return torch.cat([last, units_along(every, -1)], 1)

    return read


def _attention_reader(part: str) -> Read:
    """The projections again from the module's inputs; heads where no mask or extra key joins in."""

    def read(module: nn.Module, args: Any, kwargs: Any, _output: Any) -> Tensor | None:
        assert isinstance(module, nn.MultiheadAttention)
        names = ("query", "key", "value")
        given = [args[i] if i < len(args) else kwargs[name] for i, name in enumerate(names)]
        q, k, v = _projected(module, given)
        if part != "heads":
            return units_along({"q": q, "k": k, "v": v}[part], -1)
        masks = [*args[3:4], *args[5:6], kwargs.get("key_padding_mask"), kwargs.get("attn_mask")]
        if (
            any(m is not None for m in (*masks, module.bias_k))
            or module.add_zero_attn
            or q.dim() < 3
        ):
            return None
        if not module.batch_first:
            q, k, v = (x.movedim(0, -2) for x in (q, k, v))
        split = [x.unflatten(-1, (module.num_heads, -1)).movedim(-2, 0) for x in (q, k, v)]
        return F.scaled_dot_product_attention(*split).reshape(module.num_heads, -1)

    return read


def _projected(module: nn.MultiheadAttention, given: list[Tensor]) -> list[Tensor]:
    if module._qkv_same_embed_dim:
        weights = list(module.in_proj_weight.chunk(3))
    else:
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    packed: Tensor | None = module.in_proj_bias  # annotated as never None, and None without biases
    biases = [None] * 3 if packed is None else list(packed.chunk(3))
    return [F.linear(x, w, b) for x, w, b in zip(given, weights, biases, strict=True)]
