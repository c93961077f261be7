"""``scatter_reduce`` and ``index_reduce``: many sources meet at one place."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..mixing import stable_key
from ..registry import rule
from ..running import active, choosing
from .embedding import need_integers
from .operands import any_infinite, finite, need_finite


@rule("scatter_reduce", degree="sum", infinite=True)
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
    if reduce not in ("amax", "amin"):
        need_finite(f"scatter_reduce by {reduce}", x, source)
    if reduce == "prod":
        return _product(f, x if include_self else x.scatter(dim, index, 1.0), dim, index, source)
    if reduce in ("amax", "amin"):
        return _extreme(f, x, dim, index, source, include_self, 1 if reduce == "amax" else -1)
    total = _add(f, x if include_self else x.scatter(dim, index, 0.0), dim, index, source)
    if reduce == "sum":
        return total
    return f.mul(total, f.inverse(f.embed(_count(x, dim, index, include_self).clamp_(min=1))))


@rule("index_reduce", degree="sum", infinite=True)
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
    """The mixture of ``largest.py`` over whatever meets at a place; ``==`` with it will give the predicates.

    Infinities (a start at minus infinity) take no share, or decide.
    """
    choosing()
    touched = torch.zeros(x.shape, dtype=torch.bool).scatter(dim, index, True)
    stays = torch.ones_like(touched) if include_self else ~touched
    mine, theirs = stays & torch.isfinite(x), torch.isfinite(source)
    a, b = finite(x), finite(source)
    number = mine.long().scatter_add(dim, index, theirs.long())
    centre = f.mul(_add(f, a * mine, dim, index, b), f.inverse(f.embed(number.clamp(min=1))))
    key = stable_key("largest")
    own = f.function(f.sub(a, centre) * sign, key) * mine
    others = f.function(f.sub(b, centre.gather(dim, index)) * sign, key) * theirs
    scale = f.inverse(_add(f, own, dim, index, others), drawn=True)
    own, others = f.mul(own, scale), f.mul(others, scale.gather(dim, index))
    result = _add(f, f.mul(own, a), dim, index, f.mul(others, b))
    if any_infinite(x, source):
        best, worst = sign * torch.inf, -sign * torch.inf
        wins = (stays & (x == best)).long().scatter_add(dim, index, (source == best).long()) > 0
        result = torch.where(number == 0, worst, result).masked_fill(wins, best)
    active().meetings += [(x, result, own), (source, result.gather(dim, index), others)]
    return result


def _add(f: Field, x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    return f.reduce(x.double().scatter_add(dim, index, source.double()))
