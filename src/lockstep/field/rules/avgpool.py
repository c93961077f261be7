"""Average pooling: exact sums over windows, times the exact inverse of their length."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .interpolate import along
from .maxpool import output_shape
from .windows import Windows, each, planes_first, sliding


def _windows(n: int, x: Tensor, settings: tuple[Any, ...]) -> tuple[Windows, Tensor]:
    """The windows, and by what each sum is divided."""
    defaults: list[Any] = [None, (), 0, False, True, None]
    kernel, stride, padding, ceil, include, override = [*settings, *defaults[len(settings) :]]
    geometry = each(kernel, n), each(stride or kernel, n), each(padding, n)
    out = output_shape(f"avg_pool{n}d", n, x, *geometry, ceil, include)
    columns = list(zip(x.shape[-n:], out, *geometry, strict=True))
    windows = Windows(x.shape[-n:], [sliding(*column, 1) for column in columns])
    if override:
        return windows, torch.full((windows.positions,), override)
    return windows, _padded_lengths(columns) if include else windows.inside.sum(0)


def _padded_lengths(columns: Iterable[tuple[int, ...]]) -> Tensor:
    """How many entries of the padded input each window covers."""
    count = torch.ones(1, dtype=torch.long)
    for size, out, kernel, stride, padding in columns:
        start = torch.arange(out) * stride - padding
        length = (start + kernel).clamp(max=size + padding) - start
        count = (count[:, None] * length[None]).reshape(-1)
    return count


def _define(n: int) -> None:
    @rule(f"avg_pool{n}d")
    def avg_pool(f: Field, x: Tensor, *settings: Any) -> Tensor:
        windows, count = _windows(n, x, settings)
        total = torch.cat([f.sum(windows.gather(p, 0.0), (0,)) for p in windows.planes(x)], 1)
        mean = f.mul(total, f.inverse(f.embed(count))[:, None])
        return planes_first(mean, (*x.shape[:-n], *windows.out))

    @rule(f"avg_pool{n}d_backward")
    def avg_pool_backward(f: Field, grad: Tensor, x: Tensor, *settings: Any) -> Tensor:
        windows, count = _windows(n, x, settings)
        columns = grad.reshape(-1, windows.positions).t()
        share = f.mul(columns, f.inverse(f.embed(count))[:, None])
        return windows.scatter(f, share.double() * windows.inside[:, :, None], x.shape)

    prefix = "" if n == 1 else "_"

    @rule(f"{prefix}adaptive_avg_pool{n}d")
    def adaptive(f: Field, x: Tensor, out: Any) -> Tensor:
        for d, size in enumerate(each(out, n)):
            x = along(f, x, averaging(f, x.shape[d - n], size), d - n)
        return x.contiguous()

    @rule(f"{prefix}adaptive_avg_pool{n}d_backward")
    def adaptive_backward(f: Field, grad: Tensor, x: Tensor) -> Tensor:
        for d in range(n):
            grad = along(f, grad, averaging(f, x.shape[d - n], grad.shape[d - n]).t(), d - n)
        return grad.contiguous()


def averaging(f: Field, size: int, out: int) -> Tensor:
    """(out, size): residues of the matrix that adaptive pooling applies along one dimension."""
    matrix = torch.zeros(out, size)
    for o in range(out):
        start, end = o * size // out, -((-(o + 1) * size) // out)
        matrix[o, start:end] = float(f.quotient(end - start))
    return matrix


for _n in (1, 2, 3):
    _define(_n)
