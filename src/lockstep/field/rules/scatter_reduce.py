"""``scatter_reduce`` and ``index_reduce``: many sources meet at one place."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .embedding import need_integers
from .extremes import rank


@rule("scatter_reduce", degree="sum")
def scatter_reduce(
    f: Field,
    x: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """Places that no source reaches keep what they had, with or without ``include_self``."""
    need_integers(index)
    source = source[tuple(slice(0, n) for n in index.shape)]
    if reduce == "prod":
        return _product(f, x if include_self else x.scatter(dim, index, 1.0), dim, index, source)
    if reduce in ("amax", "amin"):
        return _extreme(f, x, dim, index, source, include_self, 1 if reduce == "amax" else -1)
    base = x if include_self else x.scatter(dim, index, 0.0)
    total = f.reduce(base.double().scatter_add(dim, index, source.double()))
    if reduce == "sum":
        return total
    return f.mul(total, f.inverse(f.embed(_count(x, dim, index, include_self).clamp_(min=1))))


@rule("index_reduce", degree="sum")
def index_reduce(
    f: Field,
    x: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    need_integers(index)
    shape = [1] * x.dim()
    shape[dim] = -1
    everywhere = index.view(shape).expand(source.shape)
    return scatter_reduce(f, x, dim, everywhere, source, reduce, include_self=include_self)


def _count(x: Tensor, dim: int, index: Tensor, include_self: bool) -> Tensor:
    return torch.full(x.shape, int(include_self)).scatter_add(dim, index, torch.ones_like(index))


def _product(f: Field, x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """One position of the source after the other: within one, no two go to the same place."""
    for n in range(index.shape[dim]):
        place, factor = index.narrow(dim, n, 1), source.narrow(dim, n, 1)
        x = x.scatter(dim, place, f.mul(x.gather(dim, place), factor))
    return x


def _extreme(
    f: Field, x: Tensor, dim: int, index: Tensor, source: Tensor, include_self: bool, sign: int
) -> Tensor:
    """The element that ranks highest by its gap to the mean of those that meet: see ``extremes.py``."""
    base = x if include_self else x.scatter(dim, index, 0.0)
    total = f.reduce(base.double().scatter_add(dim, index, source.double()))
    count = _count(x, dim, index, include_self).clamp_(min=1)
    centre = f.mul(total, f.inverse(f.embed(count)))
    own = rank(f, f.sub(x, centre)) * sign
    ranks = rank(f, f.sub(source, centre.gather(dim, index))) * sign
    if not include_self:
        own = own.scatter(dim, index, -(1 << 62))
    top = own.scatter_reduce(dim, index, ranks, "amax")
    winner = ranks == top.gather(dim, index)
    # Losers write to one place more at the end, which is cut off; winners of equal rank are equal.
    spare = x.shape[dim]
    wide = torch.cat([x, x.narrow(dim, 0, 1)], dim)
    chosen = wide.scatter(dim, torch.where(winner, index, spare), source).narrow(dim, 0, spare)
    return torch.where(own == top, x, chosen)
