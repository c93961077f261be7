"""Maxima and minima: a mixture where a value is asked for (``largest.py``), one element where an integer is.

That element is picked by a pseudo-random order of the gaps to the mean, which a common shift does not change; ties go
to the lower index.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import STORE, Field
from ..blurred import Blurred
from ..registry import rule
from ..running import active, choosing
from .choices import maximum, minimum
from .largest import extreme, mixed, shares
from .operands import any_infinite, axes, finite

Dims = Any


def order(f: Field, x: Tensor, dim: int) -> Tensor:
    """Pseudo-random ranks along ``dim``; invariant under a common shift, infinities at the ends.

    Equal symbols have equal rank, and opposite ones opposite ranks.
    """
    choosing()
    if isinstance(f, Blurred) and x.shape[dim] > 1:
        ordered = x.sort(dim)[0]
        low, high = (ordered.narrow(dim, n, x.shape[dim] - 1) for n in (0, 1))
        f.note((low == high) & torch.isfinite(low))
    if not any_infinite(x):
        centre = f.scale(f.sum(x, (dim,), True), f.quotient(x.shape[dim]))
        return active().chosen(f.rank(f.sub(x, centre)))
    count = torch.isfinite(x).sum(dim, keepdim=True).clamp_(min=1)
    centre = f.mul(f.sum(finite(x), (dim,), True), f.inverse(f.embed(count)))
    ranks = f.rank(f.sub(finite(x), centre))
    return active().chosen(torch.where(torch.isinf(x), x.sign().to(ranks.dtype) * f.LAST, ranks))


def pick(f: Field, x: Tensor, dim: int, largest: bool = True) -> tuple[Tensor, Tensor]:
    """(value, index) of the chosen element, ``dim`` kept; ties to the lower index."""
    index = first_of(order(f, x, dim) if largest else -order(f, x, dim), dim)
    return x.gather(dim, index), index


def first_of(ranks: Tensor, dim: int) -> Tensor:
    """The index of the highest rank, ``dim`` kept; the first of several."""
    top, count = ranks.amax(dim, keepdim=True), ranks.shape[dim]
    exact = STORE if count < 1 << 24 else torch.float64  # floats are compared quickest
    left = torch.arange(count, 0, -1, dtype=exact)
    left = left.view(-1, *[1] * (ranks.dim() - 1 - dim % ranks.dim()))
    highest = torch.eq(ranks, top, out=torch.empty(ranks.shape, dtype=exact))
    return count - highest.mul_(left).amax(dim, keepdim=True).long()


@rule("amax", degree="more", infinite=True)
def amax(f: Field, x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return extreme(f, x, axes(x, dim), keepdim, False)


@rule("amin", degree="more", infinite=True)
def amin(f: Field, x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return extreme(f, x, axes(x, dim), keepdim, True)


@rule("aminmax", "_aminmax", degree="more", infinite=True)
def aminmax(
    f: Field, x: Tensor, *, dim: Any = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    return amin(f, x, dim, keepdim), amax(f, x, dim, keepdim)


@rule("max", degree="more", infinite=True)
def max_(f: Field, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return maximum(f, x, dim) if isinstance(dim, Tensor) else _along(f, x, dim, keepdim, True)


@rule("min", degree="more", infinite=True)
def min_(f: Field, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return minimum(f, x, dim) if isinstance(dim, Tensor) else _along(f, x, dim, keepdim, False)


def _along(f: Field, x: Tensor, dim: int | None, keepdim: bool, largest: bool) -> Any:
    if dim is None:
        return extreme(f, x, axes(x, None), False, not largest)
    if x.dim() == 0:
        return x.clone(), torch.zeros((), dtype=torch.long)
    index = pick(f, x, dim, largest)[1]
    c = _to_first(f, x, shares(f, x, (dim,), largest), dim)
    value = mixed(f, x, c, (dim,), not largest)
    index = index if keepdim else index.squeeze(dim)
    active().share(index, c)
    return (value, index) if keepdim else (value.squeeze(dim), index)


def _to_first(f: Field, x: Tensor, c: Tensor, dim: int) -> Tensor:
    """Of equal elements the first takes the shares of all: an index names one of them, ``amax`` shares out."""
    values, index = torch.sort(x, dim=dim, stable=True)
    place = torch.arange(x.shape[dim]).view(
        [-1 if d == dim % x.dim() else 1 for d in range(x.dim())]
    )
    fresh = torch.ones_like(values, dtype=torch.bool)
    fresh.narrow(dim, 1, x.shape[dim] - 1).copy_(
        values.narrow(dim, 1, x.shape[dim] - 1) != values.narrow(dim, 0, x.shape[dim] - 1)
    )
    start = torch.where(fresh, place, 0).cummax(dim)[0]
    first = index.gather(dim, start)
    share = c.expand(x.shape).gather(dim, index).double()
    return f.reduce(torch.zeros(x.shape, dtype=torch.float64).scatter_add(dim, first, share))


@rule("argmax", infinite=True)
def argmax(f: Field, x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return _arg(f, x, dim, keepdim, True)


@rule("argmin", infinite=True)
def argmin(f: Field, x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return _arg(f, x, dim, keepdim, False)


def _arg(f: Field, x: Tensor, dim: int | None, keepdim: bool, largest: bool) -> Tensor:
    if dim is None:
        index = pick(f, x.reshape(-1), 0, largest)[1]
        return index.reshape([1] * x.dim()) if keepdim else index.reshape(())
    index = pick(f, x, dim, largest)[1]
    return index if keepdim else index.squeeze(dim)
