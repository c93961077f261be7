"""Sorting and top-k: true integers, chosen by a pseudo-random order of the values; ties to the lower index."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .extremes import order


def _ranked(f: Field, x: Tensor, dim: int, descending: bool) -> Tensor:
    rank = order(f, x, dim)
    return torch.sort(-rank if descending else rank, dim=dim, stable=True)[1]


@rule("sort", infinite=True)
def sort(f: Field, x: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
    """(dim, descending), or (*, stable, dim, descending)."""
    given = [a for a in args if not isinstance(a, bool)]
    flags = [a for a in args if isinstance(a, bool)]
    dim = more.get("dim", given[0] if given else -1)
    index = _ranked(f, x, dim, more.get("descending", flags[-1] if flags else False))
    return x.gather(dim, index), index


@rule("argsort", infinite=True)
def argsort(f: Field, x: Tensor, *args: Any, **more: Any) -> Tensor:
    return sort(f, x, *args, **more)[1]


@rule("topk", infinite=True)
def topk(
    f: Field, x: Tensor, k: int, dim: int = -1, largest: bool = True, is_sorted: bool = True
) -> tuple[Tensor, Tensor]:
    index = _ranked(f, x, dim, largest).narrow(dim, 0, k)
    return x.gather(dim, index), index


@rule("kthvalue", infinite=True)
def kthvalue(
    f: Field, x: Tensor, k: int, dim: int = -1, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    index = _ranked(f, x, dim, False).narrow(dim, k - 1, 1)
    value = x.gather(dim, index)
    return (value, index) if keepdim else (value.squeeze(dim), index.squeeze(dim))


@rule("median", "nanmedian", infinite=True)
def median(f: Field, x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    if dim is None:
        return kthvalue(f, x.reshape(-1), (x.numel() + 1) // 2, 0)[0]
    return kthvalue(f, x, (x.shape[dim] + 1) // 2, dim, keepdim)
