"""Sums, means, variances, products and norms over dimensions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from ..running import powered
from .largest import extreme
from .operands import axes, count, need_finite, residues
from .piecewise import absolute
from .powers import constant_power, root
from .predicates import truth

Dims = Any


@rule("sum", "nansum")
def sum_(
    f: Field, x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    return f.sum(residues(f, x), axes(x, dim), keepdim) if x.dim() else residues(f, x).clone()


@rule("mean", "nanmean")
def mean(
    f: Field, x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    return average(f, x, axes(x, dim), keepdim)


def average(f: Field, x: Tensor, dims: tuple[int, ...], keepdim: bool = False) -> Tensor:
    if not dims:
        return x.clone()
    return f.scale(f.sum(x, dims, keepdim), f.quotient(max(1, count(x, dims))))


def average_product(f: Field, a: Tensor, b: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The mean of ``a * b``, dimensions kept."""
    return f.scale(f.dot(a, b, dims, True), f.quotient(max(1, count(a, dims))))


@rule("trace")
def trace(f: Field, x: Tensor) -> Tensor:
    return f.sum(x.diagonal(), (0,))


def variance(
    f: Field, x: Tensor, dims: tuple[int, ...], keepdim: bool, correction: float
) -> tuple[Tensor, Tensor]:
    """(sum of squared gaps) / (n - correction), and the mean."""
    gap, centre = gaps(f, x, dims)
    spread = squared(f, gap, dims, keepdim, correction)
    return spread, centre if keepdim else average(f, x, dims, False)


def gaps(f: Field, x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(x - mean, mean), dimensions kept."""
    centre = average(f, x, dims, True)
    return f.sub(x, centre), centre


def squared(
    f: Field, gap: Tensor, dims: tuple[int, ...], keepdim: bool, correction: float
) -> Tensor:
    """(sum of squares) / (n - correction)."""
    powered(2)
    degrees = count(gap, dims) - correction
    spread = f.dot(gap, gap, dims, keepdim)
    return f.mul(spread, f.inverse(torch.tensor(float(f.scalar(degrees)))))


def _statistics(
    f: Field, x: Tensor, args: tuple[Any, ...], more: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Sort out the three overloads: (unbiased), (dim, unbiased, keepdim), (dim, *, correction, keepdim)."""
    dim, unbiased, keepdim = None, None, more.get("keepdim", False)
    if args and isinstance(args[0], bool):
        unbiased = args[0]
    elif args:
        dim = args[0]
        unbiased = args[1] if len(args) > 1 else None
        keepdim = args[2] if len(args) > 2 else keepdim
    unbiased = more.get("unbiased", unbiased)
    correction = more.get("correction")
    if correction is None:
        correction = 1.0 if unbiased in (None, True) else 0.0
    return variance(f, x, axes(x, dim), keepdim, float(correction))


@rule("var", degree="sum")
def var(f: Field, x: Tensor, *args: Any, **more: Any) -> Tensor:
    return _statistics(f, x, args, more)[0]


@rule("var_mean", degree="sum")
def var_mean(f: Field, x: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
    return _statistics(f, x, args, more)


@rule("std", degree="one")
def std(f: Field, x: Tensor, *args: Any, **more: Any) -> Tensor:
    return root(f, _statistics(f, x, args, more)[0])


@rule("std_mean", degree="one")
def std_mean(f: Field, x: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
    spread, centre = _statistics(f, x, args, more)
    return root(f, spread), centre


@rule("linalg_vector_norm", "norm", degree="one", infinite=True)  # the order may be infinite
def vector_norm(
    f: Field,
    x: Tensor,
    order: Any = 2,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Tensor:
    need_finite("a norm", x)
    return norm(f, x, 2.0 if order is None else float(order), axes(x, dim), keepdim)


def norm(f: Field, x: Tensor, order: float, dims: tuple[int, ...], keepdim: bool = False) -> Tensor:
    """``(sum |x|^p)^(1/p)``; the largest or smallest ``|x|``; how many are not zero."""
    if order == 2:
        return root(f, _total(f, f.mul(x, x), dims, keepdim))
    if order in (torch.inf, -torch.inf):
        return extreme(f, absolute(f, x), dims, keepdim, order < 0)
    if order == 0:
        return _total(f, residues(f, truth(f, x)), dims, keepdim)
    total = _total(f, constant_power(f, absolute(f, x), order), dims, keepdim)
    return constant_power(f, total, 1 / order)


def _total(f: Field, x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    return f.sum(x, dims, keepdim) if dims else x


@rule("prod", degree="sum")
def prod(
    f: Field, x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    x = residues(f, x).reshape(-1) if dim is None else residues(f, x)
    d = 0 if dim is None else dim % max(x.dim(), 1)
    if x.dim() == 0:
        return x.clone()
    powered(x.shape[d])
    out = torch.ones(x.shape[:d] + x.shape[d + 1 :])
    for part in x.unbind(d):
        out = f.mul(out, part)
    return out.unsqueeze(d) if keepdim and dim is not None else out


@rule("count_nonzero", gives=torch.int64)
def count_nonzero(f: Field, x: Tensor, dim: Dims = None) -> Tensor:
    """Of floats a true integer; of predicates a symbolic one."""
    c = truth(f, x)
    return torch.count_nonzero(c, dim) if c.dtype is torch.bool else f.sum(c, axes(x, dim))
