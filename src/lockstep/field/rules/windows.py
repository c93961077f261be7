"""Windows of pooling: which entries of the input each output looks at, as flat indices."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field

AT_ONCE = 1 << 20
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
    """Flat indices (window, positions) into the trailing dimensions ``sizes``, and which of them count.

    Numbers of windows are (window, positions, planes): planes come last, so that whole rows of them are gathered and
    added up.
    """

    def __init__(self, sizes: Sequence[int], tables: Sequence[Table]) -> None:
        flat, inside = torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool)
        for size, (at, ok) in zip(sizes, tables, strict=True):
            flat = _outer(flat * size, at.clamp(0, size - 1), torch.add)
            inside = _outer(inside, ok, torch.logical_and)
        self.flat, self.inside = flat.t().contiguous(), inside.t().contiguous()
        self.total = prod(sizes)
        self.out = [at.shape[0] for at, _ in tables]

    @property
    def positions(self) -> int:
        return self.flat.shape[1]

    def planes(self, x: Tensor) -> tuple[Tensor, ...]:
        """``x`` as (entries, planes), a few at a time: windows overlap, so they hold far more numbers than planes."""
        columns = x.reshape(-1, self.total).t()
        return columns.split(max(1, AT_ONCE // max(1, self.flat.numel())), 1)

    def gather(self, planes: Tensor, blank: float) -> Tensor:
        """(entries, planes) → (window, positions, planes); entries that do not count are ``blank``."""
        values = planes.contiguous().index_select(0, self.flat.view(-1))
        values = values.view(*self.flat.shape, planes.shape[1])
        if bool(self.inside.all()):
            return values
        if blank == 0.0:
            return values.mul_(self.inside[:, :, None].to(values.dtype))
        return values.masked_fill_(self.outside, blank)

    @property
    def outside(self) -> Tensor:
        """(window, positions, 1): entries that do not count."""
        return ~self.inside[:, :, None]

    def scatter(self, f: Field, terms: Tensor, shape: torch.Size) -> Tensor:
        """Adjoint of :meth:`gather`, of all planes, to ``shape``: float64 ``terms``, 0 where an entry does not count.

        An entry is in a window once at most, so they may be products as long as there are ``TERMS`` positions at most.
        """
        zero = torch.zeros(self.total, terms.shape[2], dtype=torch.float64)
        total = zero.index_add_(0, self.flat.view(-1), terms.flatten(0, 1))
        return planes_first(f.reduce(total), shape)


def planes_first(x: Tensor, shape: Sequence[int]) -> Tensor:
    """(entries, planes) → ``shape``, in the usual layout whatever size-1 dimensions make of strides."""
    return x.t().clone(memory_format=torch.contiguous_format).view(shape)


def _outer(a: Tensor, b: Tensor, op: Any) -> Tensor:
    """Combine (P, K) with (p, k) into (P p, K k)."""
    joined = op(a[:, None, :, None], b[None, :, None, :])
    return joined.reshape(a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])
