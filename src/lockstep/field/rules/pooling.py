"""Pooling: windows are gathered by index; a maximum picks an element as in ``reductions.py``."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .reductions import pick


def _each(x: Any, n: int) -> list[int]:
    values = [x] if isinstance(x, int) else list(x)
    return values * n if len(values) == 1 else values


class Windows:
    """Flat indices (positions, window) into the trailing ``n`` dimensions, and which of them are inside."""

    def __init__(
        self, sizes: list[int], out: list[int], kernel: Any, stride: Any, padding: Any, dilation: Any
    ) -> None:
        n = len(sizes)
        kernel, padding, dilation = _each(kernel, n), _each(padding, n), _each(dilation, n)
        stride = _each(stride, n) if stride else kernel
        flat, inside = torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool)
        for size, o, k, s, p, d in zip(sizes, out, kernel, stride, padding, dilation, strict=True):
            at = (torch.arange(o) * s - p)[:, None] + torch.arange(k)[None] * d
            ok = (at >= 0) & (at < size)
            flat = _outer(flat * size, at.clamp(0, size - 1), torch.add)
            inside = _outer(inside, ok, torch.logical_and)
        self.flat, self.inside, self.out, self.total = flat, inside, out, prod(sizes)

    def gather(self, x: Tensor, blank: float) -> Tensor:
        """(N.., positions, window); outside entries are ``blank``."""
        values = x.reshape(-1, self.total)[:, self.flat]
        return values.masked_fill(~self.inside, blank)

    def scatter(self, f: Field, grad: Tensor, shape: torch.Size) -> Tensor:
        """Adjoint of :meth:`gather`."""
        g = (grad.double() * self.inside).reshape(grad.shape[0], -1)
        zero = torch.zeros(grad.shape[0], self.total, dtype=torch.float64)
        return f.reduce(zero.index_add_(1, self.flat.reshape(-1), g)).reshape(shape)


def _outer(a: Tensor, b: Tensor, op: Any) -> Tensor:
    """Combine (P, K) with (p, k) into (P p, K k)."""
    joined = op(a[:, None, :, None], b[None, :, None, :])
    return joined.reshape(a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])


def _output(name: str, n: int, x: Tensor, *settings: Any) -> list[int]:
    meta = torch.empty(x.shape, device="meta")
    result = getattr(torch.nn.functional, f"{name}{n}d")(meta, *settings)
    return list(result.shape[-n:])


def _max_pool(n: int) -> Any:
    def max_pool(
        f: Field, x: Tensor, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
        ceil: bool = False,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        stride = stride or kernel
        out = _output("max_pool", n, x, kernel, stride, padding, dilation, ceil)
        windows = Windows(list(x.shape[-n:]), out, kernel, stride, padding, dilation)
        value, index = pick(f, windows.gather(x, -torch.inf), -1)
        flat = windows.flat.expand(value.shape[0], -1, -1).gather(-1, index)
        shape = (*x.shape[:-n], *out)
        return value.reshape(shape), flat.reshape(shape)

    return max_pool


def _max_pool_backward(n: int) -> Any:
    def backward(f: Field, grad: Tensor, x: Tensor, *settings: Any) -> Tensor:
        return spread(f, grad, settings[-1], x.shape, n)

    return backward


def spread(f: Field, grad: Tensor, index: Tensor, shape: torch.Size, n: int) -> Tensor:
    """Adds each gradient to the position that was picked."""
    flat = torch.zeros(*shape[:-n], prod(shape[-n:]), dtype=torch.float64)
    flat.scatter_add_(-1, index.flatten(-n), grad.double().flatten(-n))
    return f.reduce(flat).reshape(shape)


for _n in (2, 3):
    rule(f"max_pool{_n}d_with_indices", infinite=True)(_max_pool(_n))
    rule(f"max_pool{_n}d_with_indices_backward")(_max_pool_backward(_n))


def _divisors(w: Windows, x: Tensor, n: int, kernel: Any, stride: Any, padding: Any, include: bool) -> Tensor:
    """How many entries each window averages: inside the input, or inside the padded input."""
    if not include:
        return w.inside.sum(1)
    count = torch.ones(1, dtype=torch.long)
    geometry = zip(x.shape[-n:], w.out, _each(kernel, n), _each(stride, n), _each(padding, n), strict=True)
    for size, o, k, s, p in geometry:
        start = torch.arange(o) * s - p
        length = (start + k).clamp(max=size + p) - start
        count = (count[:, None] * length[None]).reshape(-1)
    return count


def _average_settings(n: int, x: Tensor, settings: tuple[Any, ...]) -> tuple[Windows, Tensor]:
    defaults: list[Any] = [None, (), 0, False, True, None]
    kernel, stride, padding, ceil, include, override = [*settings, *defaults[len(settings) :]]
    stride = stride or kernel
    sizes = [*_each(kernel, n)], [*_each(stride, n)], [*_each(padding, n)]
    out = _output("avg_pool", n, x, *sizes, ceil, include)
    windows = Windows(list(x.shape[-n:]), out, *sizes, 1)
    if override:
        return windows, torch.full((windows.flat.shape[0],), override)
    return windows, _divisors(windows, x, n, *sizes, include)


def _avg_pool(n: int) -> Any:
    def avg_pool(f: Field, x: Tensor, *settings: Any) -> Tensor:
        windows, count = _average_settings(n, x, settings)
        total = f.sum(windows.gather(x, 0.0), (-1,))
        return f.mul(total, f.inverse(f.embed(count))).reshape(*x.shape[:-n], *windows.out)

    return avg_pool


def _avg_pool_backward(n: int) -> Any:
    def backward(f: Field, grad: Tensor, x: Tensor, *settings: Any) -> Tensor:
        windows, count = _average_settings(n, x, settings)
        share = f.mul(grad.reshape(-1, windows.flat.shape[0]), f.inverse(f.embed(count)))
        spreading = share[:, :, None].expand(-1, -1, windows.flat.shape[1])
        return windows.scatter(f, spreading, x.shape)

    return backward


for _n in (1, 2, 3):
    rule(f"avg_pool{_n}d")(_avg_pool(_n))
    if _n > 1:
        rule(f"avg_pool{_n}d_backward")(_avg_pool_backward(_n))


def averaging(f: Field, size: int, out: int) -> Tensor:
    """(out, size) residues of the matrix that adaptive pooling applies along one dimension."""
    matrix = torch.zeros(out, size)
    for o in range(out):
        start, end = o * size // out, -((-(o + 1) * size) // out)
        matrix[o, start:end] = float(f.quotient(end - start))
    return matrix


def along(f: Field, x: Tensor, matrix: Tensor, dim: int) -> Tensor:
    """Multiply dimension ``dim`` by ``matrix`` (out, in)."""
    moved = x.movedim(dim, -1)
    flat = f.matmul(moved.reshape(-1, moved.shape[-1]), matrix.t())
    return flat.reshape(*moved.shape[:-1], matrix.shape[0]).movedim(-1, dim)


def _adaptive(n: int) -> Any:
    def adaptive(f: Field, x: Tensor, out: list[int]) -> Tensor:
        for d, size in enumerate(_each(out, n)):
            x = along(f, x, averaging(f, x.shape[d - n], size), d - n)
        return x.contiguous()

    return adaptive


def _adaptive_backward(n: int) -> Any:
    def backward(f: Field, grad: Tensor, x: Tensor) -> Tensor:
        for d in range(n):
            grad = along(f, grad, averaging(f, x.shape[d - n], grad.shape[d - n]).t(), d - n)
        return grad.contiguous()

    return backward


for _n, _prefix in ((2, "_"), (3, "_")):
    rule(f"{_prefix}adaptive_avg_pool{_n}d")(_adaptive(_n))
    rule(f"{_prefix}adaptive_avg_pool{_n}d_backward")(_adaptive_backward(_n))
rule("adaptive_avg_pool1d")(_adaptive(1))
