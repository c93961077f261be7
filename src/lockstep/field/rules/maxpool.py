"""Maximum pooling: each window picks one of its elements, as ``extremes.py`` does; gradients go to what was picked."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from ..arithmetic import STORE, Field
from ..registry import rule
from ..running import active
from .extremes import pick
from .windows import Windows, adaptive, each, sliding

Picked = tuple[Tensor, Tensor]


def _pick(f: Field, x: Tensor, windows: Windows) -> Picked:
    """(values, flat indices), both (..., *out)."""
    active().infinite = True  # what lies outside a window is minus infinity
    value, index = pick(f, windows.gather(x, -torch.inf), -1)
    flat = windows.flat.expand(value.shape[0], -1, -1).gather(-1, index)
    shape = (*x.shape[: x.dim() - len(windows.out)], *windows.out)
    return value.reshape(shape), flat.reshape(shape)


def spread(f: Field, grad: Tensor, index: Tensor, shape: torch.Size, n: int) -> Tensor:
    """Adds each gradient to the position that was picked."""
    flat = torch.zeros(*shape[:-n], prod(shape[-n:]), dtype=torch.float64)
    flat.scatter_add_(-1, index.flatten(-n), grad.double().flatten(-n))
    return f.reduce(flat).reshape(shape)


def _define(n: int) -> None:
    @rule(f"max_pool{n}d_with_indices", infinite=True)
    def max_pool(
        f: Field,
        x: Tensor,
        kernel: Any,
        stride: Any = (),
        padding: Any = 0,
        dilation: Any = 1,
        ceil: bool = False,
    ) -> Picked:
        settings = (kernel, stride or kernel, padding, dilation)
        out = output_shape(f"max_pool{n}d", x, *settings, ceil)[-n:]
        columns = zip(x.shape[-n:], out, *(each(s, n) for s in settings), strict=True)
        return _pick(f, x, Windows(x.shape[-n:], [sliding(*column) for column in columns]))

    @rule(f"max_pool{n}d_with_indices_backward")
    def max_pool_backward(f: Field, grad: Tensor, x: Tensor, *settings: Any) -> Tensor:
        return spread(f, grad, settings[-1], x.shape, n)

    @rule(f"adaptive_max_pool{n}d", infinite=True)
    def adaptive_pool(f: Field, x: Tensor, out: Any) -> Picked:
        tables = [adaptive(size, o) for size, o in zip(x.shape[-n:], each(out, n), strict=True)]
        return _pick(f, x, Windows(x.shape[-n:], tables))

    @rule(f"adaptive_max_pool{n}d_backward")
    def adaptive_backward(f: Field, grad: Tensor, x: Tensor, index: Tensor) -> Tensor:
        return spread(f, grad, index, x.shape, n)

    @rule(f"fractional_max_pool{n}d")
    def fractional(f: Field, x: Tensor, kernel: Any, out: Any, samples: Tensor) -> Picked:
        """``samples`` (N, C, n) is noise: the places it leads to are drawn by the residue of the sample."""
        kernel, out = each(kernel, n), each(out, n)
        planes = x.reshape(-1, 1, *x.shape[-n:])
        drawn = (samples.double() + f.half) / f.p
        values, indices = [], []
        for plane, sample in zip(planes, drawn.reshape(-1, n), strict=True):
            # PyTorch reads the samples from the last dimension to the first.
            columns = zip(x.shape[-n:], out, kernel, sample.flip(0).tolist(), strict=True)
            value, index = _pick(
                f, plane, Windows(x.shape[-n:], [_fractional(*c) for c in columns])
            )
            values.append(value)
            indices.append(index)
        shape = (*x.shape[:-n], *out)
        return torch.cat(values).reshape(shape), torch.cat(indices).reshape(shape)

    @rule(f"fractional_max_pool{n}d_backward")
    def fractional_backward(
        f: Field, grad: Tensor, x: Tensor, kernel: Any, out: Any, index: Tensor
    ) -> Tensor:
        return spread(f, grad, index, x.shape, n)


def _fractional(size: int, out: int, kernel: int, sample: float) -> tuple[Tensor, Tensor]:
    """Starts of Graham's pseudo-random intervals (arXiv 1412.6071), as PyTorch computes them."""
    starts = [0] * out
    if out > 1:
        alpha = (size - kernel) / (out - 1)
        starts = [int((i + sample) * alpha) - int(sample * alpha) for i in range(out)]
    if out > 0:
        starts[-1] = size - kernel
    at = torch.tensor(starts)[:, None] + torch.arange(kernel)[None]
    return at, torch.ones(at.shape, dtype=torch.bool)


def output_shape(name: str, x: Tensor, *settings: Any) -> list[int]:
    """The shape PyTorch would give."""
    meta = torch.empty(x.shape, device="meta", dtype=STORE)
    return list(getattr(torch.nn.functional, name)(meta, *settings).shape)


for _n in (2, 3):
    _define(_n)
