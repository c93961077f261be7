"""Sums, means, variances, norms and maxima.

A maximum is one of its elements, picked by a pseudo-random order of ``x - mean(x)``: any order will do,
since which element is largest depends on the data, but this one keeps ``max(x + c) = max(x) + c``, which
makes the shift invariance of a hand-written softmax visible. Ties go to the lower index.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field, mix, stable_key
from ..registry import rule
from .operands import finite, residues

Dims = Any


def axes(x: Tensor, dim: Dims) -> tuple[int, ...]:
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return tuple(range(x.dim()))
    return tuple(d % max(x.dim(), 1) for d in ([dim] if isinstance(dim, int) else dim)) if x.dim() else ()


@rule("sum", "nansum")
def sum_(f: Field, x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    return f.sum(residues(f, x), axes(x, dim), keepdim) if x.dim() else residues(f, x).clone()


@rule("mean", "nanmean")
def mean(f: Field, x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    return average(f, x, axes(x, dim), keepdim)


def average(f: Field, x: Tensor, dims: tuple[int, ...], keepdim: bool = False) -> Tensor:
    if not dims:
        return x.clone()
    count = max(1, int(torch.Size(x.shape[d] for d in dims).numel()))
    return f.scale(f.sum(x, dims, keepdim), f.quotient(count))


def variance(
    f: Field, x: Tensor, dims: tuple[int, ...], keepdim: bool, correction: float
) -> tuple[Tensor, Tensor]:
    centre = average(f, x, dims, True)
    gap = f.sub(x, centre)
    count = int(torch.Size(x.shape[d] for d in dims).numel()) - int(correction)
    spread = f.scale(f.sum(f.mul(gap, gap), dims, keepdim), f.quotient(max(count, 1)))
    return spread, centre if keepdim else average(f, x, dims, False)


def _correction(unbiased: Any, correction: Any) -> float:
    if correction is not None:
        return float(correction)
    return 1.0 if unbiased in (None, True) else 0.0


def _statistics(f: Field, x: Tensor, args: tuple[Any, ...], more: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Sort out the three overloads: (unbiased), (dim, unbiased, keepdim), (dim, *, correction, keepdim)."""
    dim, unbiased, keepdim = None, None, more.get("keepdim", False)
    if args and isinstance(args[0], bool):
        unbiased = args[0]
    elif args:
        dim = args[0]
        unbiased = args[1] if len(args) > 1 else None
        keepdim = args[2] if len(args) > 2 else keepdim
    unbiased = more.get("unbiased", unbiased)
    correction = _correction(unbiased, more.get("correction"))
    return variance(f, x, axes(x, dim), keepdim, correction)


@rule("var", degree="sum")
def var(f: Field, x: Tensor, *args: Any, **more: Any) -> Tensor:
    return _statistics(f, x, args, more)[0]


@rule("var_mean", degree="sum")
def var_mean(f: Field, x: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
    return _statistics(f, x, args, more)


@rule("std", degree="one")
def std(f: Field, x: Tensor, *args: Any, **more: Any) -> Tensor:
    return f.function(_statistics(f, x, args, more)[0], stable_key("sqrt"), zero=True)


@rule("std_mean", degree="one")
def std_mean(f: Field, x: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
    spread, centre = _statistics(f, x, args, more)
    return f.function(spread, stable_key("sqrt"), zero=True), centre


@rule("linalg_vector_norm", "norm", degree="one")
def vector_norm(
    f: Field, x: Tensor, order: Any = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    dims = axes(x, dim)
    if order in (None, 2):
        return f.function(f.sum(f.mul(x, x), dims, keepdim), stable_key("sqrt"), zero=True)
    if order in (torch.inf, -torch.inf):
        size = f.mul(x, f.function(x, stable_key("sign"), parity=1))
        return extreme(f, size, dims, keepdim, order < 0)
    if order == 1:
        return f.sum(f.mul(x, f.function(x, stable_key("sign"), parity=1)), dims, keepdim)
    powers = f.function(x, stable_key("abs pow", float(order)), parity=-1, zero=True)
    return f.function(f.sum(powers, dims, keepdim), stable_key("root", float(order)), zero=True)


@rule("prod", degree="sum")
def prod(f: Field, x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    x = x.reshape(-1) if dim is None else x
    d = 0 if dim is None else dim
    out = torch.ones_like(x.select(d, 0)) if x.shape[d] else torch.ones(x.shape[:d] + x.shape[d + 1 :])
    for part in x.unbind(d):
        out = f.mul(out, part)
    return out.unsqueeze(d) if keepdim and dim is not None else out


# -- maxima -----------------------------------------------------------------------------------------


def order(f: Field, x: Tensor, dim: int, largest: bool = True) -> Tensor:
    """Pseudo-random ranks (int64) along ``dim``; invariant under a common shift, infinities at the ends.

    Equal symbols have equal rank. ``largest=False`` reverses the order, so that ``min(x) = -max(-x)``.
    """
    solid = finite(x)
    count = torch.isfinite(x).sum(dim, keepdim=True).clamp_(min=1)
    total = f.sum(solid, (dim,), True)
    centre = f.mul(total, f.inverse(f.embed(count)))
    gap = f.sub(solid, centre).long()
    rank = mix(gap.abs(), stable_key("order", f.seed)) >> 1
    rank = torch.where(gap < 0, -rank, rank) * (gap != 0)
    end = (x > 0).long() * (1 << 62) - (x < 0).long() * (1 << 62)
    rank = torch.where(torch.isinf(x), end, rank >> 2)
    return rank if largest else -rank


def pick(f: Field, x: Tensor, dim: int, largest: bool = True) -> tuple[Tensor, Tensor]:
    """(value, index) of the chosen element, ``dim`` kept; ties to the lower index."""
    rank = order(f, x, dim, largest)
    top = rank.amax(dim, keepdim=True)
    index = (rank == top).to(torch.uint8).argmax(dim, keepdim=True)
    return x.gather(dim, index), index


def extreme(f: Field, x: Tensor, dims: tuple[int, ...], keepdim: bool, smallest: bool) -> Tensor:
    """Over several dimensions at once: they are joined, so the order is taken over all of them."""
    if not dims or x.dim() == 0:
        return x.clone()
    rest = [d for d in range(x.dim()) if d not in dims]
    joined = x.permute(*rest, *dims).reshape(*(x.shape[d] for d in rest), -1)
    value = pick(f, joined, -1, not smallest)[0].squeeze(-1)
    for d in sorted(dims) if keepdim else ():
        value = value.unsqueeze(d)
    return value


@rule("amax", infinite=True)
def amax(f: Field, x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return extreme(f, x, axes(x, dim), keepdim, False)


@rule("amin", infinite=True)
def amin(f: Field, x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    return extreme(f, x, axes(x, dim), keepdim, True)


@rule("aminmax", infinite=True)
def aminmax(f: Field, x: Tensor, *, dim: Any = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return extreme(f, x, axes(x, dim), keepdim, True), extreme(f, x, axes(x, dim), keepdim, False)


def _max(f: Field, x: Tensor, dim: Any, keepdim: bool, largest: bool) -> Any:
    if isinstance(dim, Tensor):
        from .compare import maximum, minimum

        return maximum(f, x, dim) if largest else minimum(f, x, dim)
    if dim is None:
        return extreme(f, x, tuple(range(x.dim())), False, not largest)
    value, index = pick(f, x, dim, largest)
    return (value, index) if keepdim else (value.squeeze(dim), index.squeeze(dim))


@rule("max", infinite=True)
def max_(f: Field, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return _max(f, x, dim, keepdim, True)


@rule("min", infinite=True)
def min_(f: Field, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    return _max(f, x, dim, keepdim, False)


@rule("argmax", infinite=True)
def argmax(f: Field, x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return _arg(f, x, dim, keepdim, True)


@rule("argmin", infinite=True)
def argmin(f: Field, x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return _arg(f, x, dim, keepdim, False)


def _arg(f: Field, x: Tensor, dim: int | None, keepdim: bool, largest: bool) -> Tensor:
    index = pick(f, x.reshape(-1) if dim is None else x, -1 if dim is None else dim, largest)[1]
    return index if keepdim else index.squeeze(-1 if dim is None else dim)


@rule("logsumexp", degree="one", infinite=True)
def logsumexp(f: Field, x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """``m + log sum exp(x - m)`` with the mean of the finite entries as ``m``."""
    from .normalise import exponentials, shift

    dims = axes(x, dim)
    centre = shift(f, x, dims)
    total = f.function(f.sum(exponentials(f, x, centre), dims, True), stable_key("log"))
    out = f.add(centre, total)
    for d in sorted(dims, reverse=True) if not keepdim else ():
        out = out.squeeze(d)
    return out
