"""Distances between all pairs of rows: uninterpreted roots of exact sums, with ring gradients where they have them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arithmetic import Field
from ..registry import rule
from .largest import is_extreme
from .operands import need_finite
from .piecewise import absolute, sign
from .powers import constant_power
from .predicates import is_zero
from .reductions import norm


@rule("_cdist_forward", degree="one", infinite=True)  # the order may be infinite
def cdist(f: Field, a: Tensor, b: Tensor, p: float, _mode: int | None = None) -> Tensor:
    """(..., P, M), (..., R, M) → (..., P, R)."""
    need_finite("a distance", a, b)
    gap = f.sub(a.unsqueeze(-2), b.unsqueeze(-3))
    return norm(f, gap, p, (gap.dim() - 1,))


@rule("_euclidean_dist", degree="one")
def euclidean(f: Field, a: Tensor, b: Tensor) -> Tensor:
    return cdist(f, a, b, 2.0)


@rule("_cdist_backward", degree="sum", infinite=True)
def cdist_backward(
    f: Field, grad: Tensor, a: Tensor, b: Tensor, p: float, distance: Tensor
) -> Tensor:
    """The gradient for the first operand."""
    gap = f.sub(a.unsqueeze(-2), b.unsqueeze(-3))
    slopes = slope(f, gap, distance.unsqueeze(-1), p)
    return f.sum(f.mul(grad.unsqueeze(-1), slopes), (slopes.dim() - 2,))


def slope(f: Field, gap: Tensor, distance: Tensor, p: float) -> Tensor:
    """The derivative of the p-norm of ``gap`` (last dimension) in ``gap``; 0 where the distance is 0."""
    if p == 0:
        return torch.zeros_like(gap)
    if p == 1:
        return sign(f, gap)
    inverse = f.inverse(distance) * (distance != 0)
    if p == 2:
        return f.mul(gap, inverse)
    if p == torch.inf:
        size = absolute(f, gap)
        chosen = is_extreme(size, distance)
        chosen = is_zero(f, f.sub(size, distance)) if chosen is None else chosen
        return f.mul(sign(f, gap), chosen)
    steep = f.mul(sign(f, gap), constant_power(f, absolute(f, gap), p - 1))
    return f.mul(steep, constant_power(f, inverse, p - 1))


@rule("_pdist_forward", degree="one", infinite=True)  # the order may be infinite
def pdist(f: Field, x: Tensor, p: float = 2) -> Tensor:
    need_finite("a distance", x)
    i, j = torch.triu_indices(x.shape[0], x.shape[0], 1)
    return norm(f, f.sub(x[i], x[j]), p, (1,))


@rule("_pdist_backward", degree="sum", infinite=True)
def pdist_backward(f: Field, grad: Tensor, x: Tensor, p: float, distance: Tensor) -> Tensor:
    i, j = torch.triu_indices(x.shape[0], x.shape[0], 1)
    move = f.mul(grad.unsqueeze(1), slope(f, f.sub(x[i], x[j]), distance.unsqueeze(1), p))
    total = torch.zeros(x.shape, dtype=torch.float64)
    return f.reduce(total.index_add_(0, i, move.double()).index_add_(0, j, -move.double()))
