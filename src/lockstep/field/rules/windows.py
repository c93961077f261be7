"""Windows of pooling: which entries of the input each output looks at, as flat indices."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field

AT_ONCE = 1 << 17
"""Entries of windows that are looked at together."""

Table = tuple[Tensor, Tensor]
"""Of one dimension: (outputs, window) positions, and which of them are inside the input."""


def each(x: Any, n: int) -> list[int]:
    """One number for each of ``n`` dimensions."""
    values = [x] if isinstance(x, int) else list(x)
    return values * n if len(values) == 1 else values


def sliding(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> Table:
    """Window columns that lie outside for every output are left out: kernels may be far larger than the input."""
    at = (torch.arange(out) * stride - padding)[:, None] + torch.arange(kernel)[None] * dilation
    inside = (at >= 0) & (at < size)
    kept = inside.any(0) if bool(inside.any()) else torch.arange(kernel) < 1
    return at[:, kept], inside[:, kept]


def adaptive(size: int, out: int) -> Table:
    """From ``floor(o size / out)`` to ``ceil((o + 1) size / out)``; windows differ in length."""
    start = torch.arange(out) * size // out
    end = -((-(torch.arange(out) + 1) * size) // out)
    at = start[:, None] + torch.arange(int((end - start).max()) if out else 1)[None]
    return at, at < end[:, None]


class Windows:
    """Flat indices (positions, window) into the trailing dimensions ``sizes``, and which of them count."""

    def __init__(self, sizes: Sequence[int], tables: Sequence[Table]) -> None:
        flat, inside = torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool)
        for size, (at, ok) in zip(sizes, tables, strict=True):
            flat = _outer(flat * size, at.clamp(0, size - 1), torch.add)
            inside = _outer(inside, ok, torch.logical_and)
        self.flat, self.inside, self.total = flat, inside, prod(sizes)
        self.out = [at.shape[0] for at, _ in tables]

    def planes(self, x: Tensor) -> tuple[Tensor, ...]:
        """``x`` as planes (N, entries), a few at a time: windows overlap, so they hold far more numbers than planes."""
        return x.reshape(-1, self.total).split(max(1, AT_ONCE // max(1, self.flat.numel())))

    def gather(self, x: Tensor, blank: float) -> Tensor:
        """(N.., positions, window); entries that do not count are ``blank``."""
        values = x.reshape(-1, self.total)[:, self.flat]
        return values if bool(self.inside.all()) else values.masked_fill_(~self.inside, blank)

    def scatter(self, f: Field, grad: Tensor, shape: torch.Size) -> Tensor:
        """Adjoint of :meth:`gather`."""
        g = (grad.double() * self.inside).reshape(grad.shape[0], -1)
        zero = torch.zeros(grad.shape[0], self.total, dtype=torch.float64)
        return f.reduce(zero.index_add_(1, self.flat.reshape(-1), g)).reshape(shape)


def _outer(a: Tensor, b: Tensor, op: Any) -> Tensor:
    """Combine (P, K) with (p, k) into (P p, K k)."""
    joined = op(a[:, None, :, None], b[None, :, None, :])
    return joined.reshape(a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])
