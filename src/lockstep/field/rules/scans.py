"""Running sums, products and maxima along a dimension."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from ..running import active, powered
from .extremes import pick
from .largest import mixed, shares
from .operands import residues


@rule("cumsum")
def cumsum(f: Field, x: Tensor, dim: int, *, dtype: object = None) -> Tensor:
    x = residues(f, x)
    return f.reduce(torch.cumsum(x.double(), dim))


@rule("cumprod", degree="sum")
def cumprod(f: Field, x: Tensor, dim: int, *, dtype: object = None) -> Tensor:
    if x.dim() == 0 or x.shape[dim] == 0:
        return x.clone()
    powered(x.shape[dim])
    steps = list(residues(f, x).unbind(dim))
    for n in range(1, len(steps)):
        steps[n] = f.mul(steps[n - 1], steps[n])
    return torch.stack(steps, dim)


@rule("cummax", degree="more")
def cummax(f: Field, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _running(f, x, dim, True)


@rule("cummin", degree="more")
def cummin(f: Field, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _running(f, x, dim, False)


def _running(f: Field, x: Tensor, dim: int, largest: bool) -> tuple[Tensor, Tensor]:
    """Each entry is the extreme of those up to it, so none depends on what comes after; ties to the later index."""
    if x.dim() == 0:
        return x.clone(), torch.zeros((), dtype=torch.long)
    length = x.shape[dim]
    active().infinite = True
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    blank = -torch.inf if largest else torch.inf
    entries = (
        x.movedim(dim, -1)
        .unsqueeze(-2)
        .expand(*x.movedim(dim, -1).shape, length)
        .masked_fill(later, blank)
    )
    c = shares(f, entries, (-1,), largest)
    value = mixed(f, entries, c, (-1,), not largest).squeeze(-1)
    index = length - 1 - pick(f, entries.flip(-1), -1, largest)[1].squeeze(-1)
    index = index.movedim(-1, dim).contiguous()
    active().share(index, c)
    return value.movedim(-1, dim).contiguous(), index
